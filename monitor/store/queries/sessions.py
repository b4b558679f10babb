"""Sessions and samples: stored whole or not at all, and given back exactly as they were measured."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, func, insert
from sqlmodel import Session as Database
from sqlmodel import col, select

from monitor.domain import JUDGED_ARMS, Arm, Header, Margin, Role, Sample, SampleSet, Session
from monitor.errors import StoreError
from monitor.store.models import StoredSample, StoredSampleSet, StoredSession, Subject

_HEADER: TypeAdapter[Header] = TypeAdapter(Header)
_IDENTITY = ("check_digest", "project", "version", "artifact_sha256", "host")
"""What may not differ between two saves of a subject's sessions: other numbers would not be its own."""

AS_REFERENCE = (Role.SCREEN, Role.ONWARD)
"""The roles of what a later release is compared with: the judged sessions, and those after the verdict."""


def save(db: Database, run_id: int, subject: str, sample_set: SampleSet) -> None:
    """Keep the sessions of `sample_set`; a session that is stored already is left alone.

    Sets may be saved as they grow: the whole spool every time, or each part once. Numbers are unique over
    both roles. Of the header the last one counts.

    Raises:
        StoreError: when a stored session differs from the one saved under its number, a sample belongs to no
            session of the set, a number is not finite, or the header is another measurement's. Nothing of the
            set is written then.

    """
    _check(run_id, sample_set)
    owner = _owner(db, run_id, subject, sample_set.header)
    stored = {session.session: session for session in _sessions(db, owner)}
    given = _by_session(sample_set.samples)
    # Only what is given again is compared: a run of many sessions is saved one by one.
    again = [session.session for session in sample_set.sessions if session.session in stored]
    known = _by_session(_samples(db, owner, again))
    for session in sample_set.sessions:
        number = session.session
        if number in stored and (stored[number], known[number]) != (_plain(session), given[number]):
            raise StoreError(
                f"Run {run_id} already holds another session {number} of the {subject}.",
                kept="the session that was stored first",
                advice="a session has a number of its own; go on counting from the stored ones",
            )
    fresh = [session for session in sample_set.sessions if session.session not in stored]
    numbers = {session.session for session in fresh}
    samples = [sample for sample in sample_set.samples if sample.session in numbers]
    _insert(db, owner, fresh, samples)


def load(db: Database, run_id: int, subject: str, *roles: Role) -> SampleSet | None:
    """Return the sessions a run holds of a subject in some roles, with their samples, in the order of saving.

    None when there are none of these roles. What was saved comes back equal field by field.
    """
    owner = _find(db, run_id, subject)
    if owner is None:
        return None
    sessions = tuple(session for session in _sessions(db, owner) if session.role in roles)
    if not sessions:
        return None
    samples = _samples(db, owner, {session.session for session in sessions})
    return SampleSet(_HEADER.validate_python(owner.header), sessions, tuple(samples))


def count(db: Database, run_id: int) -> int:
    """Return how many sessions a run holds, of both subjects and roles."""
    rows = select(func.count(col(StoredSession.id))).join(StoredSampleSet)
    return db.exec(rows.where(StoredSampleSet.run_id == run_id)).one()


def compared_with(db: Database, run_id: int, reference_run_id: int | None) -> SampleSet | None:
    """Return what a run is compared with: sessions in turns with its own, else those of its reference."""
    in_turns = load(db, run_id, Subject.REFERENCE, Role.SCREEN)
    if in_turns is not None or reference_run_id is None:
        return in_turns
    return load(db, reference_run_id, Subject.CANDIDATE, *AS_REFERENCE)


def measured_on(db: Database, run_id: int) -> int | None:
    """Return to how many blocks of all judged arms a good release was measured on after its verdict.

    None where it was not, or where the first of these blocks was cut.
    """
    rows = (
        select(StoredSession.block, StoredSession.arm, StoredSession.role)
        .join(StoredSampleSet)
        .where(
            StoredSampleSet.run_id == run_id,
            StoredSampleSet.subject == Subject.CANDIDATE.value,
            col(StoredSession.role).in_([role.value for role in AS_REFERENCE]),
        )
    )
    found = db.exec(rows).all()
    arms = defaultdict(set)
    for block, arm, _ in found:
        arms[block].add(arm)
    whole = {block for block, measured in arms.items() if set(JUDGED_ARMS) <= measured}
    onward = {block for block, _, role in found if role == Role.ONWARD}
    return len(whole) if whole & onward else None


def discard(db: Database, run_id: int, role: Role | None = None, subject: str | None = None) -> int:
    """Forget the sessions of a run (of one role or subject), to be measured again; return their number."""
    sets = select(StoredSampleSet.id).where(StoredSampleSet.run_id == run_id)
    if subject is not None:
        sets = sets.where(StoredSampleSet.subject == str(subject))
    wanted = select(StoredSession.id).where(col(StoredSession.sample_set_id).in_(sets))
    if role is not None:
        wanted = wanted.where(StoredSession.role == role)
    numbers = db.exec(wanted).all()
    db.exec(delete(StoredSample).where(col(StoredSample.session_id).in_(numbers)))
    db.exec(delete(StoredSession).where(col(StoredSession.id).in_(numbers)))
    used = select(StoredSession.sample_set_id)
    empty = (col(StoredSampleSet.run_id) == run_id, col(StoredSampleSet.id).not_in(used))
    db.exec(delete(StoredSampleSet).where(*empty))
    return len(numbers)


# ---------------------------------------------------------------------------------------------
# Saving


def _check(run_id: int, sample_set: SampleSet) -> None:
    arms: dict[int, Arm] = {}
    for session in sample_set.sessions:
        if session.session in arms:
            raise StoreError(f"Session {session.session} of run {run_id} is given twice in one set.")
        arms[session.session] = session.arm
        name = f"session {session.session} of run {run_id}"
        _finite(session, name)
        for margin in session.margins or ():
            _finite(margin, f"margin of {name}")
    for sample in sample_set.samples:
        name = f"sample '{sample.prompt}' of session {sample.session} of run {run_id}"
        if arms.get(sample.session) is not sample.arm:
            raise StoreError(f"The {name} belongs to no complete session of its arm.")
        _finite(sample, name)


def _finite(value: Session | Sample | Margin, name: str) -> None:
    for item in fields(value):
        number = getattr(value, item.name)
        # SQLite would keep NaN as "unknown", without a word.
        if isinstance(number, float) and not math.isfinite(number):
            raise StoreError(f"`{item.name}` of the {name} is {number}, which is no measurement.")


def _find(db: Database, run_id: int, subject: str) -> StoredSampleSet | None:
    return db.exec(
        select(StoredSampleSet).where(
            StoredSampleSet.run_id == run_id, StoredSampleSet.subject == str(subject)
        )
    ).first()


def _owner(db: Database, run_id: int, subject: str, header: Header) -> StoredSampleSet:
    document = _json(_HEADER.dump_python(header, mode="python"))
    owner = _find(db, run_id, subject)
    if owner is None:
        owner = StoredSampleSet(run_id=run_id, subject=str(subject), header=document)
    for name in _IDENTITY:
        if owner.header[name] != document[name]:
            raise StoreError(
                f"Run {run_id} holds sessions of the {subject} with `{name}` {owner.header[name]!r}, "
                f"not {document[name]!r}.",
                kept="the sessions that were stored first",
                advice="what changes the measurement begins a run of its own",
            )
    owner.header = document
    db.add(owner)
    db.flush()
    return owner


def _insert(
    db: Database, owner: StoredSampleSet, sessions: Sequence[Session], samples: Sequence[Sample]
) -> None:
    if sessions:
        first = _next_position(db, owner, of_samples=False)
        db.execute(
            insert(StoredSession),
            [
                {**_values(session, without=("session",)), "number": session.session}
                | {"sample_set_id": owner.id, "position": position}
                for position, session in enumerate(sessions, first)
            ],
        )
    if samples:
        rows = select(StoredSession.number, StoredSession.id)
        ids = dict(db.exec(rows.where(StoredSession.sample_set_id == owner.id)).all())
        first = _next_position(db, owner, of_samples=True)
        db.execute(
            insert(StoredSample),
            [
                _values(sample, without=("session", "arm"))
                | {"session_id": ids[sample.session], "position": position}
                for position, sample in enumerate(samples, first)
            ],
        )


def _next_position(db: Database, owner: StoredSampleSet, *, of_samples: bool) -> int:
    column = StoredSample.position if of_samples else StoredSession.position
    rows = select(func.max(col(column))).select_from(StoredSession)
    if of_samples:
        rows = rows.join(StoredSample)
    last = db.exec(rows.where(StoredSession.sample_set_id == owner.id)).one()
    return 0 if last is None else int(last) + 1


# ---------------------------------------------------------------------------------------------
# Rows and values


def _sessions(db: Database, owner: StoredSampleSet) -> list[Session]:
    rows = select(StoredSession).where(StoredSession.sample_set_id == owner.id)
    return [
        Session(
            session=row.number,
            arm=Arm(row.arm),
            block=row.block,
            order=row.order,
            role=Role(row.role),
            started_at=row.started_at,
            startup_s=row.startup_s,
            gpu_memory_bytes=row.gpu_memory_bytes,
            energy_j=row.energy_j,
            effective=row.effective,
            gpu=row.gpu,
            margins=None if row.margins is None else tuple(Margin(**margin) for margin in row.margins),
        )
        for row in db.exec(rows.order_by(col(StoredSession.position)))
    ]


def _samples(db: Database, owner: StoredSampleSet, numbers: Iterable[int]) -> list[Sample]:
    rows = (
        select(StoredSample, StoredSession.number, StoredSession.arm)
        .join(StoredSession)
        .where(StoredSession.sample_set_id == owner.id, col(StoredSession.number).in_(list(numbers)))
    )
    return [
        Sample(
            session=number,
            arm=Arm(arm),
            workload=row.workload,
            prompt=row.prompt,
            repeat=row.repeat,
            n=row.n,
            n_first=row.n_first,
            ttft_s=row.ttft_s,
            decode_s=row.decode_s,
            prompt_tokens=row.prompt_tokens,
            drafted=row.drafted,
            accepted=row.accepted,
            steps=row.steps,
            accepted_per_position=_tuple(row.accepted_per_position),
            stop=row.stop,
            server_decode_tps=row.server_decode_tps,
            token_ids=_tuple(row.token_ids),
            tokens_sha256=row.tokens_sha256,
            correct=row.correct,
        )
        for row, number, arm in db.exec(rows.order_by(col(StoredSample.position)))
    ]


def _tuple(numbers: list[int] | None) -> tuple[int, ...] | None:
    return None if numbers is None else tuple(numbers)


def _by_session(samples: Iterable[Sample]) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.session].append(sample)
    return found


def _plain(session: Session) -> Session:
    """Return the session as it will come back: facts as JSON gives them."""
    values = {item.name: getattr(session, item.name) for item in fields(session)}
    return Session(**values | {"effective": _json(session.effective), "gpu": _json(session.gpu)})


def _values(value: Session | Sample, *, without: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(item, "value", item) for name, item in asdict(value).items() if name not in without}


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"A fact of a measurement cannot be kept: {error}.") from error
