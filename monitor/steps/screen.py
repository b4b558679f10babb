"""Screen: measure ⇄ judge, until what gates is decided; in turns with the old release where days differ."""

from __future__ import annotations

from collections.abc import Callable

from monitor.domain import Judgement, Role, RunState, Verdict, is_attached
from monitor.errors import EngineError
from monitor.judge.verdict import judge
from monitor.steps.confirm import Unconfirmable
from monitor.steps.earlier import compared_with, old_build, samples_of
from monitor.steps.measure import Bench, Build, measure, screen_slots, turn_slots
from monitor.steps.states import enter
from monitor.store import Subject
from monitor.store.queries import sessions
from monitor.store.queries.runs import Run


def screen(bench: Bench, candidate: Build, reference: Run | None, *, whole: bool) -> Judgement:
    """Measure ⇄ judge: block after block, until what gates is decided or the last block is done."""
    policy = bench.policy()
    whole = whole or samples_of(bench.station, reference) is None
    found: list[Judgement] = []

    def decided(blocks: int) -> bool:
        if whole:  # a reference needs its sessions whatever they say, and so does an A/A run
            return blocks >= policy.blocks_reference
        if blocks < policy.blocks_min:
            return False
        enter(bench.station, bench.run, RunState.JUDGING)
        found.append(_judged(bench, reference))
        if found[-1].verdict is Verdict.REGRESSED or not found[-1].undecided:
            return True
        enter(bench.station, bench.run, RunState.MEASURING)
        return False

    enter(bench.station, bench.run, RunState.MEASURING)
    old = None if whole or reference is None else _in_turns(bench, candidate, reference)
    if old is None or not _measured_in_turns(bench, old, candidate, decided):
        most = policy.blocks_reference if whole else policy.blocks_max
        measure(bench, screen_slots(most, bench.check.beside), (candidate,), decided)
    enter(bench.station, bench.run, RunState.JUDGING)
    return found[-1] if found else _judged(bench, reference)


def _in_turns(bench: Bench, candidate: Build, reference: Run) -> Build | None:
    """Return the old release's build where days differ too much for its stored sessions; else None."""
    if not bench.takes_turns or is_attached(candidate.environment.artifact):
        return None
    try:
        return old_build(bench, reference)
    except Unconfirmable as obstacle:
        bench.station.progress.stage(f"{obstacle}; its stored sessions are compared with")
        return None


def _measured_in_turns(bench: Bench, old: Build, candidate: Build, decided: Callable[[int], bool]) -> bool:
    """Measure old and new in turns; False when the old release does not answer any more."""
    try:
        measure(bench, turn_slots(bench.policy().blocks_max, bench.check.beside), (old, candidate), decided)
    except EngineError as error:
        if error.subject != old.subject:
            raise
        bench.station.progress.stage(f"the old release {error.reason} now; its stored sessions count")
        with bench.station.store.write() as db:
            sessions.discard(db, bench.run.id, Role.SCREEN, old.subject)
        return False
    return True


def _judged(bench: Bench, reference: Run | None) -> Judgement:
    candidate = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if candidate is None:
        raise RuntimeError("judging begins when sessions are stored")
    bench.station.progress.stage("judging")
    return judge(compared_with(bench, reference), candidate)
