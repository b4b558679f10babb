"""What the made-up station of `standins.web` has told, and how the parts of its service are doing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlmodel import Session as Db

from factory_values import HOSTILE, NOW, sha
from monitor.domain import (
    Action,
    Answer,
    BisectionState,
    Direction,
    Incident,
    IncidentState,
    IncidentStep,
    MessageType,
    RunState,
)
from monitor.steps.station import Station
from monitor.store.queries import (
    artifacts,
    beats,
    bisections,
    checks,
    incidents,
    judgements,
    outbox,
    polls,
    runs,
)


@dataclass
class Past:
    """Numbers of what the station holds."""

    runs: dict[str, int] = field(default_factory=dict)
    """Version → run of the main check."""
    regressed: int = 0
    working: int = 0
    waiting: int = 0
    hostile: int = 0
    open: int = 0
    acknowledged: int = 0
    resolved: int = 0
    dead: int = 0
    bisected: int = 0
    searching: int = 0


def days_ago(age: float) -> datetime:
    return NOW - timedelta(days=age)


def tell(db: Db, past: Past, epoch: int) -> None:
    bad = past.regressed
    judged = judgements.get(db, bad)
    assert judged is not None

    def told(run_id: int, state: IncidentState, headline: str, age: float) -> int:
        return _incident(db, run_id, state, epoch=epoch, headline=headline, when=days_ago(age))

    past.open = told(bad, IncidentState.OPEN, judged.headline, 2)
    past.acknowledged = told(past.hostile, IncidentState.ACKNOWLEDGED, HOSTILE, 2.9)
    past.resolved = told(past.runs["0.2.38"], IncidentState.RESOLVED, "0.2.38 does not start.", 19)
    told(past.runs["0.2.37"], IncidentState.FALSE_ALARM, "The first token came later.", 25)
    kinds = (MessageType.INCIDENT_OPENED, MessageType.RUN_FINISHED)
    for kind in kinds:
        outbox.write(db, kind, {"headline": judged.headline}, ["team", "pager"], now=days_ago(1))
    for _ in kinds:
        delivery, number = outbox.claim(db, ["team"], lease_s=60, now=days_ago(1)) or (None, 0)
        assert delivery is not None
        outbox.succeed(db, delivery.id, number, now=days_ago(1))
    delivery, number = outbox.claim(db, ["pager"], lease_s=60, now=days_ago(1)) or (None, 0)
    assert delivery is not None
    outbox.fail(db, delivery.id, number, f"410 gone: {HOSTILE}", retry_at=None, now=days_ago(1))
    past.dead = delivery.id


def search(db: Db, past: Past) -> None:
    """Let one bisection have found where the open incident began, and another go on."""
    ways = (("0.2.37", "0.2.38", "0.2.40", "0.2.41"), ("0.2.37", "0.2.41"))
    past.bisected, past.searching = (
        _begun(db, past, way, past.open if way is ways[0] else None) for way in ways
    )
    answers = (Answer.GOOD, Answer.SKIPPED, Answer.GOOD, Answer.BAD)
    for place, (version, answer) in enumerate(zip(ways[0], answers, strict=True)):
        run = runs.get(db, past.runs[version])
        assert run is not None
        bisections.set_run(db, past.bisected, run.artifact_sha256, run.id, own=place == 1)
        why = HOSTILE if answer is Answer.SKIPPED else "acceptance length the same, by counts"
        bisections.answer(db, past.bisected, run.artifact_sha256, answer, why=why, now=days_ago(1))
    bisections.end(db, past.bisected, BisectionState.FOUND, reason="0.2.41 is the first.", now=days_ago(1))


def _begun(db: Db, past: Past, versions: tuple[str, ...], incident: int | None) -> int:
    measured = [run for version in versions if (run := runs.get(db, past.runs[version])) is not None]
    check = checks.get(db, measured[0].check_digest)
    files = [artifacts.with_content(db, run.artifact_sha256) for run in measured]
    assert check is not None
    return bisections.create(
        db,
        check=check,
        machine_id=measured[0].host,
        tier=measured[0].tier,
        requested_by=HOSTILE,
        priority=0,
        incident_id=incident,
        stops=[bisections.Stop(file, "stable") for file in files if file is not None],
        now=days_ago(1.5),
    ).id


def _incident(db: Db, run_id: int, state: IncidentState, *, epoch: int, headline: str, when: datetime) -> int:
    run = runs.get(db, run_id)
    assert run is not None
    ended = state in {IncidentState.RESOLVED, IncidentState.FALSE_ALARM}
    opened = Incident(
        id=0,
        key=sha(f"{run_id}-{state}"),
        project=run.project,
        channel="stable",
        machine_id=run.host,
        check_id=run.check_id,
        epoch_id=epoch,
        direction=Direction.BROKEN if run.state is RunState.FAILED else Direction.REGRESSED,
        state=IncidentState.OPEN,
        signature="broken release" if run.state is RunState.FAILED else "acceptance drop",
        headline=headline,
        opened_at=when,
        changed_at=when,
        ended_at=None,
        first_bad_run_id=run_id,
        latest_bad_run_id=run_id,
        worst_run_id=run_id,
        fixed_by_run_id=None,
        snoozed_until=None,
        reminders=0,
        remind_at=when + timedelta(days=9),
    )
    step = IncidentStep(Action.OPENED, None, IncidentState.OPEN, "monitor", headline, (run_id,), when)
    kept = incidents.add(db, opened, step)
    if state is not IncidentState.OPEN:
        actions = {
            IncidentState.ACKNOWLEDGED: Action.ACKNOWLEDGED,
            IncidentState.RESOLVED: Action.RESOLVED,
            IncidentState.FALSE_ALARM: Action.FALSE_ALARM,
        }
        later = when + timedelta(hours=5)
        moved = replace(kept, state=state, changed_at=later, ended_at=later if ended else None)
        why = HOSTILE if state is IncidentState.ACKNOWLEDGED else "measured again by hand"
        incidents.change(
            db,
            moved,
            IncidentStep(actions[state], IncidentState.OPEN, state, "Ada", why, (run_id,), later),
        )
    return kept.id


def beat(db: Db) -> None:
    for part, age in (("poll", 4), ("work", 18), ("deliver", 1)):
        beats.begin(db, part, pid=1, now=NOW - timedelta(minutes=age))
        if part != "work":
            beats.end(db, part, now=NOW - timedelta(minutes=age, seconds=-3))
    for project, channel, error in (
        ("xllamacpp", "stable", ""),
        ("xllamacpp", "nightly", ""),
        ("vllm", "stable", f"The index answered 503: {HOSTILE}"),
    ):
        polls.note(
            db,
            project,
            channel,
            address=f"https://index.example/simple/{project}/",
            error=error,
            due_at=NOW + timedelta(minutes=11),
            now=NOW - timedelta(minutes=4),
        )


def write_logs(found: Station, past: Past) -> None:
    for run_id in (past.hostile, past.runs["0.2.38"]):
        folder = found.settings.logs_dir / f"run-{run_id}"
        folder.mkdir(parents=True)
        (folder / "candidate-0000-baseline.log").write_bytes(
            b"\x1b[31mloading\x1b[0m the model\n"
            + HOSTILE.encode("utf-8")
            + b"\nerror: \xff unknown tensor\n"
        )
