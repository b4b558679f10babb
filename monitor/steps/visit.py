"""Visit: one release of a bisection, compared with the good end as far as its answer needs."""

from __future__ import annotations

from monitor.domain import Judgement, Role, RunState, SampleSet, Verdict
from monitor.errors import EngineError
from monitor.judge.loss import Loss, has_loss, loss_of, step_policy
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge
from monitor.steps.confirm import Unconfirmable, confirm, unconfirmed
from monitor.steps.earlier import old_build, samples_of
from monitor.steps.measure import Bench, Build, confirm_slots, measure, screen_slots
from monitor.steps.states import enter
from monitor.store import Subject
from monitor.store.queries.runs import Run


def shown(bench: Bench, candidate: Build, good: Run) -> Judgement:
    """Compare the bad end with the good end, until it is known what was lost.

    What was counted is known without a confirmation. A loss in times alone is confirmed as any other.

    Raises:
        EngineError: when the release does not start or answer; complete sessions are kept.

    """
    policy = bench.policy()
    stored = _of_good_end(bench, good)
    found: list[Judgement] = []

    def decided(blocks: int) -> bool:
        if blocks < policy.blocks_min:
            return False
        enter(bench.station, bench.run, RunState.JUDGING)
        found.append(judge(stored, _own(bench)))
        lost = loss_of(found[-1])
        if (lost is not None and lost.by_counts) or _is_over(found[-1]):
            return True
        enter(bench.station, bench.run, RunState.MEASURING)
        return False

    enter(bench.station, bench.run, RunState.MEASURING)
    measure(bench, screen_slots(policy.blocks_max), (candidate,), decided)
    enter(bench.station, bench.run, RunState.JUDGING)
    lost = loss_of(found[-1])
    if lost is None or lost.by_counts:
        return found[-1]
    enter(bench.station, bench.run, RunState.CONFIRMING)
    try:
        return confirm(bench, old_build(bench, good), candidate, stored, _own(bench))
    except Unconfirmable as obstacle:
        return unconfirmed(found[-1], str(obstacle))


def _is_over(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.REGRESSED or not judgement.undecided


def compared(bench: Bench, candidate: Build, good: Run, loss: Loss) -> Judgement:
    """Compare a release with the good end until it is decided whether it has the loss.

    Where the loss shows in counts, one session of each arm decides, and some more when the text went another
    way. Otherwise, and when counts do not decide, the release and the good end take turns, now.

    Raises:
        EngineError: when the release does not start or answer; complete sessions are kept.

    """
    stored = _of_good_end(bench, good)
    found: list[Judgement] = []

    def counted(_: int) -> bool:
        enter(bench.station, bench.run, RunState.JUDGING)
        found.append(judge(stored, _own(bench)))
        if loss.by_counts and has_loss(loss, found[-1]) is not None:
            return True
        enter(bench.station, bench.run, RunState.MEASURING)
        return False

    enter(bench.station, bench.run, RunState.MEASURING)
    measure(bench, screen_slots(bench.policy().blocks_min if loss.by_counts else 1), (candidate,), counted)
    enter(bench.station, bench.run, RunState.JUDGING)
    if loss.by_counts and has_loss(loss, found[-1]) is not None:
        return found[-1]
    enter(bench.station, bench.run, RunState.CONFIRMING)
    try:
        return _in_turns(bench, candidate, old_build(bench, good), loss)
    except Unconfirmable:
        return found[-1]


def _of_good_end(bench: Bench, good: Run) -> SampleSet:
    stored = samples_of(bench.station, good)
    if stored is None:
        raise AssertionError(f"the good end's run {good.id} is done and has sessions")
    return stored


def _own(bench: Bench) -> SampleSet:
    own = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if own is None:
        raise AssertionError("judging begins when sessions are stored")
    return own


def _in_turns(bench: Bench, candidate: Build, old: Build, loss: Loss) -> Judgement:
    """Measure the good end and the release in turns until it is decided whether the release has the loss.

    Raises:
        EngineError: when the release does not answer; complete sessions are kept.
        Unconfirmable: when the good end does not answer any more.

    """
    policy = JudgingPolicy().with_overrides(candidate.header.judging)
    most = policy.confirm_blocks_max
    limits = step_policy(policy, loss, blocks=most)
    found: list[Judgement] = []

    def decided(_: int) -> bool:
        fresh = [bench.stored(subject, Role.CONFIRM) for subject in (Subject.REFERENCE, Subject.CANDIDATE)]
        if fresh[0] is None or fresh[1] is None:
            raise AssertionError("a block in turns holds sessions of both releases")
        found.append(judge(fresh[0], fresh[1], policy=limits))
        return found[-1].verdict is Verdict.INVALID or has_loss(loss, found[-1]) is not None

    try:
        measure(bench, confirm_slots(most), (old, candidate), decided)
    except EngineError as error:
        if error.subject != Subject.REFERENCE:
            raise
        raise Unconfirmable(f"the good end {old.header.version} {error.reason} now") from error
    return found[-1]
