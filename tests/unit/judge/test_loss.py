"""What was lost, and whether another release has lost it too: only the rows of the loss count."""

from __future__ import annotations

from dataclasses import replace

from monitor.domain import Channel, Effect, Guard, Judgement, Metric, Verdict
from monitor.judge.loss import has_loss, loss_of, step_policy
from monitor.judge.policy import JudgingPolicy
from standins.messages import quiet_drop

EXACT, TIMED = Metric.ACCEPTANCE_LENGTH, Metric.STEP_TIME


def row(metric: Metric, verdict: Verdict, workload: str = "all", change: float = -0.2) -> Effect:
    channel = Channel.EXACT if metric is EXACT else Channel.TIMED
    known = quiet_drop().effects[0]
    return replace(
        known,
        metric=metric,
        workload=workload,
        channel=channel,
        gates=True,
        verdict=verdict,
        change_log=change,
    )


def judged(verdict: Verdict, *rows: Effect, guard: str = "") -> Judgement:
    guards = (Guard(guard, tripped=True, detail="", outcome=Verdict.INVALID),) if guard else ()
    return replace(quiet_drop(), verdict=verdict, signature=None, effects=rows, guards=guards)


COUNTED = loss_of(
    judged(
        Verdict.REGRESSED,
        row(EXACT, Verdict.REGRESSED),
        row(EXACT, Verdict.REGRESSED, "code"),
        row(TIMED, Verdict.REGRESSED, change=0.2),
    )
)


def test_counts_say_it_alone_whatever_the_times_do() -> None:
    assert COUNTED is not None
    good = (row(EXACT, Verdict.UNCHANGED), row(EXACT, Verdict.UNCHANGED, "code"))
    slow = row(TIMED, Verdict.REGRESSED)
    assert has_loss(COUNTED, judged(Verdict.REGRESSED, *good, slow)) is False
    assert has_loss(COUNTED, judged(Verdict.INVALID, *good, guard="server rates of the reference")) is False
    assert has_loss(COUNTED, judged(Verdict.INVALID, *good, guard="prompt tokens")) is None
    assert (
        has_loss(COUNTED, judged(Verdict.REGRESSED, good[0], row(EXACT, Verdict.REGRESSED, "code"))) is True
    )


def test_where_no_workload_that_lost_was_measured_nothing_is_said() -> None:
    assert COUNTED is not None
    assert has_loss(COUNTED, judged(Verdict.UNCHANGED, row(EXACT, Verdict.UNCHANGED))) is None


def test_a_loss_in_times_is_decided_by_half_of_its_size() -> None:
    lost = loss_of(judged(Verdict.REGRESSED, row(TIMED, Verdict.REGRESSED, change=0.2)))
    assert lost is not None
    assert has_loss(lost, judged(Verdict.INCONCLUSIVE, row(TIMED, Verdict.INCONCLUSIVE))) is None
    assert step_policy(JudgingPolicy(), lost, blocks=3).floor_rate == 0.1


def test_without_a_loss_there_is_none() -> None:
    assert loss_of(judged(Verdict.UNCHANGED, row(EXACT, Verdict.UNCHANGED))) is None
