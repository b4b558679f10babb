"""Measure: blocks of sessions of the arms in turn, spooled as they come, stored when complete.

A block holds one session of each arm; the arm that goes first alternates from block to block, so that a drift
of the machine does not always fall on the same one. A session is complete or void: what a killed monitor was
in the middle of is thrown away and measured again, everything before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from monitor import disk, host
from monitor.bench.margins import Inquiry
from monitor.bench.server import cannot_prepare
from monitor.bench.session import measure_session
from monitor.bench.spool import Spool
from monitor.checks.loader import select_prompts
from monitor.domain import (
    JUDGED_ARMS,
    Arm,
    Check,
    Divergence,
    Environment,
    Header,
    Role,
    Sample,
    SampleSet,
    Session,
    Tier,
    is_attached,
)
from monitor.engines import engine_for
from monitor.errors import EngineCrashError, EngineError, EngineStartError
from monitor.gpu.identity import roofline
from monitor.judge import margins
from monitor.judge.policy import JudgingPolicy
from monitor.steps import attached
from monitor.steps.gpu import watching
from monitor.steps.provision import Weights
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import arms, calibrations, sessions
from monitor.store.queries.runs import Run

TURN_NUMBERS = {Role.CONFIRM: 1000, Role.DRIFT: 2000, Role.ONWARD: 3000}
"""Where the session numbers of a role begin: numbers are unique over all roles of a subject."""
_NOTES = {Role.SCREEN: "", Role.ONWARD: " (measuring on)"}
_SESSION_TRIES = 2
_BESIDE_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Build:
    """One side of a measurement: an artifact, installed, with the header of its samples."""

    subject: str
    """A `Subject`, or the name of a sweep's cell."""
    environment: Environment
    header: Header


@dataclass(frozen=True, slots=True)
class Slot:
    """One session that is to be measured."""

    number: int
    arm: Arm
    block: int
    order: int
    role: Role
    subject: str


@dataclass(frozen=True, slots=True)
class Bench:
    """A run's measuring place: what is measured, with which weights and prompts."""

    station: Station
    run: Run
    check: Check
    weights: Weights
    tier: Tier

    def header(self, environment: Environment) -> Header:
        """Return what the samples of an environment have in common."""
        check = self.check
        limits = {
            "lossless_exact": check.lossless_exact,
            "min_speedup": check.expect.min_speedup,
            "min_acceptance": check.expect.min_acceptance,
        }
        return Header(
            check=check.id,
            check_digest=check.digest,
            project=environment.artifact.project,
            version=environment.artifact.version,
            artifact_sha256=environment.artifact.sha256,
            host=self.station.host.machine_id,
            hardware_class=self.station.host.hardware_class,
            draft_length=check.draft_length,
            concurrency=check.concurrency,
            sampling=dict(check.sampling),
            judging={name: value for name, value in limits.items() if value is not None} | check.judging,
            calibration=self._calibration(),
            model_sha256=self.weights.sha256,
            roofline_tokens_per_s=self._roofline(),
        )

    def _calibration(self) -> dict[str, Any] | None:
        """Return what was known of the check's noise when the run was planned: it may not change half-way."""
        with self.station.store.read() as db:
            return calibrations.newest(
                db,
                machine_id=self.station.host.machine_id,
                check_digest=self.check.digest,
                before=self.run.planned_at,
            )

    def _roofline(self) -> float | None:
        """Return what memory allows the baseline; several streams share a step, which is no limit then."""
        check = self.check
        if not check.requires.wants_gpu or check.concurrency > 1:
            return None
        return roofline(self.station.host.gpu, check.step_bytes)

    @property
    def takes_turns(self) -> bool:
        """Say whether days differ so much here that old and new are measured in turns from the start."""
        known = self._calibration()
        return bool(known and known.get("alternate"))

    def policy(self) -> JudgingPolicy:
        """Return the limits of the check's verdicts."""
        return JudgingPolicy().with_overrides(self.check.judging)

    def spool(self, subject: str, role: Role) -> Spool:
        """Return where the sessions of one side are kept until the run is done."""
        return Spool(self.station.settings.spool_dir / f"run-{self.run.id}" / f"{subject}-{role}")

    def stored(self, subject: str, role: Role) -> SampleSet | None:
        """Return the complete sessions of one side in a role."""
        with self.station.store.read() as db:
            return sessions.load(db, self.run.id, subject, role)


def screen_slots(blocks: int, beside: Iterable[Arm] = ()) -> Iterator[Slot]:
    """Yield the sessions of a screening, block by block; arms beside the judged ones in two blocks only."""
    beside = tuple(beside)
    width = len(JUDGED_ARMS) + len(beside)
    for block in range(blocks):
        arms = (*_judged_arms(block), *(beside if block < _BESIDE_BLOCKS else ()))
        for order, arm in enumerate(arms):
            yield Slot(width * block + order, arm, block, order, Role.SCREEN, Subject.CANDIDATE)


def onward_slots(done: int, blocks: int) -> Iterator[Slot]:
    """Yield the sessions of the judged arms that are missing from `done` blocks to `blocks`."""
    for block in range(done, blocks):
        number = TURN_NUMBERS[Role.ONWARD] + len(JUDGED_ARMS) * block
        for order, arm in enumerate(_judged_arms(block)):
            yield Slot(number + order, arm, block, order, Role.ONWARD, Subject.CANDIDATE)


def _judged_arms(block: int) -> tuple[Arm, ...]:
    return JUDGED_ARMS if block % 2 == 0 else JUDGED_ARMS[::-1]


def turn_slots(blocks: int, beside: Iterable[Arm] = ()) -> Iterator[Slot]:
    """Yield the same sessions with the reference's beside them: old, new, new, old in each block.

    The candidate's have the numbers and arms that `screen_slots` gives them. Each arm is measured in the
    order old, new in every other block and new, old in those between, so that a drift falls on both alike.
    Arms beside the judged ones are measured of the new release alone.
    """
    for block, group in groupby(screen_slots(blocks, beside), key=lambda slot: slot.block):
        first, second, *others = group
        turns = (
            (Subject.REFERENCE, first),
            (Subject.CANDIDATE, first),
            (Subject.CANDIDATE, second),
            (Subject.REFERENCE, second),
            *((Subject.CANDIDATE, slot) for slot in others),
        )
        for order, (subject, slot) in enumerate(turns):
            yield Slot(slot.number, slot.arm, block, order, Role.SCREEN, subject)


def confirm_slots(blocks: int, role: Role = Role.CONFIRM, old: str = Subject.REFERENCE) -> Iterator[Slot]:
    """Yield the sessions of a confirmation: old, new, new, old in each block, both arms each time."""
    number = TURN_NUMBERS[role]
    for block in range(blocks):
        turns = (old, Subject.CANDIDATE, Subject.CANDIDATE, old)
        for turn, subject in enumerate(turns):
            arms = (Arm.BASELINE, Arm.MTP) if turn % 2 == 0 else (Arm.MTP, Arm.BASELINE)
            for place, arm in enumerate(arms):
                yield Slot(number, arm, block, 2 * turn + place, role, subject)
                number += 1


def measure(
    bench: Bench,
    slots: Iterable[Slot],
    builds: Sequence[Build],
    decided: Callable[[int], bool],
) -> int:
    """Measure the slots that are not measured yet, block by block, until `decided(blocks done)` says stop.

    Returns the number of complete blocks. Each session is in the spool when its last sample came, and in the
    store right after; a block that is complete already is only looked at.

    Raises:
        EngineError: when the release does not start, answer or stay alive; what is complete is kept.
        GpuFaultError, GpuBusyError: when the GPU cannot be measured on, or not any more.

    """
    slots = tuple(slots)
    by_subject = {build.subject: build for build in builds}
    done = {
        (build.subject, session.session) for build in builds for session in _recovered(bench, build, slots)
    }
    blocks = 0
    given_up: set[Arm] = set()
    for _, group in groupby(slots, key=lambda slot: slot.block):
        for slot in group:
            if (slot.subject, slot.number) in done or slot.arm in given_up:
                continue
            try:
                measure_slot(bench, slot, by_subject[slot.subject], len(done), len(slots))
            except EngineError as error:
                if slot.arm in JUDGED_ARMS:
                    raise
                # What is only measured beside MTP does not break a release.
                given_up.add(slot.arm)
                bench.station.progress.stage(f"the arm {slot.arm} is left out: {error.what}")
                with bench.station.store.write() as db:
                    arms.leave_out(db, bench.run.id, slot.arm, error.what, now=bench.station.clock())
                continue
            done.add((slot.subject, slot.number))
        blocks += 1
        if decided(blocks):
            break
    return blocks


def measure_slot(bench: Bench, slot: Slot, build: Build, done: int, total: int) -> None:
    """Measure one session and store it; an engine that crashed gets one more try."""
    version = build.environment.artifact.version
    text = f"{version} {slot.arm}{_NOTES.get(slot.role, ' (confirming)')}"
    bench.station.progress.session(text, done, total)
    spool = bench.spool(slot.subject, slot.role)
    for attempt in range(1, _SESSION_TRIES + 1):
        try:
            session, samples = _measure_into(spool, bench, slot, build)
            break
        except EngineError as error:
            error.subject = str(slot.subject)
            # The kernel kills for memory now and then; a release that is broken breaks again.
            passing = isinstance(error, EngineCrashError | EngineStartError)
            if not passing or attempt == _SESSION_TRIES:
                raise
            bench.station.progress.stage(f"{version} {error.reason} ({slot.arm} session); one more try")
    with bench.station.store.write() as db:
        sessions.save(db, bench.run.id, slot.subject, SampleSet(build.header, (session,), samples))


def _measure_into(spool: Spool, bench: Bench, slot: Slot, build: Build) -> tuple[Session, tuple[Sample, ...]]:
    prompts = select_prompts(bench.check, bench.tier)
    asked = len(prompts) * bench.check.repeats
    answered = 0
    writer = spool.begin(build.header, slot.number)

    def keep(sample: Sample) -> None:
        nonlocal answered
        writer.sample(sample)
        answered += 1
        bench.station.progress.prompt(answered, asked)

    try:
        try:
            with watching(bench.station, bench.check) as watch:
                session, samples = measure_session(
                    check=bench.check,
                    engine=engine_for(bench.check.engine),
                    environment=build.environment,
                    model=bench.weights.model,
                    draft_model=bench.weights.draft_for(slot.arm),
                    arm=slot.arm,
                    number=slot.number,
                    block=slot.block,
                    order=slot.order,
                    role=slot.role,
                    prompts=prompts,
                    log=log_of(bench.station, bench.run.id, slot),
                    scratch=bench.station.settings.state / "scratch",
                    caches=bench.station.settings.caches_dir / build.environment.key,
                    on_sample=keep,
                    watch=watch,
                    inquiry=_inquiry(bench, slot),
                )
        except EngineError as error:
            # A server that its owner stopped or upgraded meanwhile says nothing about the release, nor does
            # one that found no room for its files.
            _confirm_unchanged(bench, build)
            if host.is_full(bench.station.settings.state):
                raise cannot_prepare(bench.station.settings.state, disk.no_room()) from error
            raise
        _confirm_unchanged(bench, build)
    except BaseException:
        writer.abandon()
        raise
    writer.complete(session)
    return session, samples


def _inquiry(bench: Bench, slot: Slot) -> Inquiry | None:
    """Return what a baseline session is asked for at its end: margins where texts of the run have parted.

    Nothing where a difference is an error anyway, or where chance chose the tokens. An old release is asked
    for nothing either: it is the new one whose text is judged.
    """
    policy, check = bench.policy(), bench.check
    is_old = slot.subject in (Subject.REFERENCE, Subject.FIRST)
    exact = check.lossless_exact or policy.lossless_exact
    if slot.arm is not Arm.BASELINE or is_old or exact or not _is_greedy(check):
        return None
    if policy.margins_max < 1:
        return None

    def divergences(samples: Sequence[Sample]) -> Sequence[Divergence]:
        stored = bench.stored(slot.subject, slot.role)
        earlier = (stored.samples, stored.sessions) if stored is not None else ((), ())
        return margins.unasked((*earlier[0], *samples), earlier[1], int(policy.margins_max))

    return Inquiry(divergences, policy.margins_time_s)


def _is_greedy(check: Check) -> bool:
    return check.sampling.get("temperature") == 0 or check.sampling.get("top_k") == 1


def _confirm_unchanged(bench: Bench, build: Build) -> None:
    artifact = build.environment.artifact
    if is_attached(artifact):
        attached.confirm_unchanged(bench.station.settings, artifact, bench.station.checks)


def log_of(station: Station, run_id: int, slot: Slot) -> Path:
    """Return where a session's engine log is kept."""
    return station.settings.logs_dir / f"run-{run_id}" / f"{slot.subject}-{slot.number:04d}-{slot.arm}.log"


def _recovered(bench: Bench, build: Build, slots: Sequence[Slot]) -> list[Session]:
    roles = {slot.role for slot in slots if slot.subject == build.subject}
    return [session for role in roles for session in recovered(bench, build, role)]


def recovered(bench: Bench, build: Build, role: Role) -> list[Session]:
    """Return the complete sessions of one side; those that only reached the spool are stored first."""
    spool = bench.spool(build.subject, role)
    spool.discard_cut()
    for sample_set in spool.complete():
        if sample_set.header == build.header:
            with bench.station.store.write() as db:
                sessions.save(db, bench.run.id, build.subject, sample_set)
    stored = bench.stored(build.subject, role)
    return list(stored.sessions) if stored is not None else []
