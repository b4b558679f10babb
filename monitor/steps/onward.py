"""Onward: a release that was found good is measured on, as what the next releases are compared with.

Its verdict was reached at a look, often after two blocks, and stays that look's. The sessions after it have a
role of their own: the release itself is never judged by them, so no error is spent on them, and what is
exported reaches the same verdict. They are optional, so whatever ends them early ends nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from monitor.domain import Basis, Judgement, Role, RunState, is_attached
from monitor.errors import MonitorError
from monitor.steps.measure import Bench, Build, measure, onward_slots
from monitor.steps.states import enter
from monitor.store import Subject
from monitor.store.queries import judgements, runs


def is_wanted(bench: Bench, candidate: Build, judgement: Judgement) -> bool:
    """Say whether later releases will be compared with a run's sessions, and it has too few for that.

    Not where old and new take turns, since stored sessions are not compared with there. A first measurement
    has as many as it needs, whatever it says.
    """
    in_turns = bench.takes_turns and not is_attached(candidate.environment.artifact)
    return (
        judgement.verdict in runs.GOOD
        and judgement.reference is not None
        and bench.run.against == runs.LAST_GOOD
        and not in_turns
        and _blocks(bench) < bench.policy().blocks_reference
    )


class Hold(Protocol):
    """Why another block may not be begun now."""

    @property
    def why(self) -> str:
        """In words."""


def measure_on(
    bench: Bench,
    candidate: Build,
    verdicts: Mapping[Basis, Judgement | None],
    held: Callable[[], Hold | None],
) -> None:
    """Measure a good release on, up to `blocks_reference` blocks, block by block while nothing holds it up.

    `verdicts` are what the run was found to be; they are safe before anything else. `held` says what holds
    another block up, None when nothing does. What fails here is told, and raised no further; the run is left
    in a state in which it can end.
    """
    with bench.station.store.write() as db:
        judgements.save_all(db, bench.run.id, verdicts, now=bench.station.clock())
    have, wanted = _blocks(bench), bench.policy().blocks_reference
    done, why = have, ""

    def is_over(blocks: int) -> bool:
        nonlocal done, why
        # A budget counts what has ended, so each block ends.
        enter(bench.station, bench.run, RunState.JUDGING)
        done = have + blocks
        if done == wanted:
            return True
        if (hold := held()) is not None:
            why = hold.why
            return True
        enter(bench.station, bench.run, RunState.MEASURING)
        return False

    if not is_over(0):
        try:
            measure(bench, onward_slots(have, wanted), (candidate,), is_over)
        except MonitorError as error:
            why = error.what
            enter(bench.station, bench.run, RunState.JUDGING)
    if done < wanted:
        bench.station.progress.stage(f"measured on to {done} of {wanted} blocks: {why}")


def _blocks(bench: Bench) -> int:
    own = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    return len({session.block for session in own.judged.sessions}) if own is not None else 0
