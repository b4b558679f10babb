"""Confirm: fresh sessions of old and new in alternation, before anyone is told of a loss."""

from __future__ import annotations

from monitor.domain import Judgement, Role, SampleSet, Verdict
from monitor.judge.verdict import judge
from monitor.steps.measure import Bench, Build, confirm_slots, measure
from monitor.store import Subject


def confirm(
    bench: Bench, reference: Build, candidate: Build, stored: SampleSet, screened: SampleSet
) -> Judgement:
    """Measure both releases in turns until the suspicion is decided, and return the final judgement.

    `stored` are the reference's samples that raised the suspicion, `screened` the candidate's.

    Raises:
        EngineError: when either release does not answer; complete sessions are kept.

    """
    most = bench.policy().confirm_blocks_max
    found: list[Judgement] = []

    def decided(_: int) -> bool:
        found.append(_judged(bench, stored, screened))
        return found[-1].verdict is not Verdict.INCONCLUSIVE

    measure(bench, confirm_slots(most), (reference, candidate), decided)
    return found[-1]


def _judged(bench: Bench, stored: SampleSet, screened: SampleSet) -> Judgement:
    fresh = [bench.stored(subject, Role.CONFIRM) for subject in (Subject.REFERENCE, Subject.CANDIDATE)]
    if fresh[0] is None or fresh[1] is None:
        raise RuntimeError("a block of a confirmation holds sessions of both releases")
    return judge(stored, screened, confirm=(fresh[0], fresh[1]))
