"""What was lost, and whether another release has lost it too: only the rows of the loss count."""

from __future__ import annotations

from dataclasses import replace

from monitor.domain import (
    Channel,
    Effect,
    Guard,
    Judgement,
    Lossless,
    Metric,
    Right,
    Score,
    ScoreChange,
    Verdict,
)
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


# --- the text ------------------------------------------------------------------------------------

RIGHT = Right(0.9, 0.6, 1.0)
SCORE = Score(10, RIGHT, RIGHT, ScoreChange(0.0, -0.2, 0.2))
SAME = Lossless(2, False, 2, 2, 4, 4, None, Verdict.UNCHANGED)
PARTED = replace(SAME, mtp_matches=2, divergences=2)
FAULT = replace(PARTED, tier=3, margins=2, verdict=Verdict.REGRESSED)
LOST_SCORE = replace(SAME, tier=4, score=SCORE, by_score=True, verdict=Verdict.REGRESSED)


def text(found: Lossless) -> Judgement:
    verdict = Verdict.REGRESSED if found.verdict is Verdict.REGRESSED else Verdict.UNCHANGED
    return replace(judged(verdict), lossless=found)


def answer(lost: Lossless, now: Lossless) -> bool | None:
    loss = loss_of(text(lost))
    assert loss is not None
    return has_loss(loss, text(now))


def test_a_text_that_parts_beyond_near_ties_is_lost_where_margins_say_so_again() -> None:
    assert answer(FAULT, FAULT) is True
    assert answer(FAULT, SAME) is False
    assert answer(FAULT, replace(PARTED, tier=3, margins=1)) is False


def test_before_any_margin_is_known_a_text_that_parts_says_nothing() -> None:
    assert answer(FAULT, PARTED) is None
    assert answer(FAULT, replace(SAME, verdict=Verdict.INCONCLUSIVE)) is None


def test_a_lost_score_takes_as_many_scored_prompts_to_be_there_again() -> None:
    assert answer(LOST_SCORE, LOST_SCORE) is True
    assert answer(LOST_SCORE, replace(PARTED, tier=4, score=SCORE)) is False
    assert answer(LOST_SCORE, replace(SAME, tier=4, score=replace(SCORE, prompts=2))) is None
    assert answer(LOST_SCORE, SAME) is None


def test_where_equality_is_exact_one_session_of_each_arm_says_it() -> None:
    exact = replace(SAME, exact_expected=True)
    changed = replace(exact, verdict=Verdict.REGRESSED)
    assert answer(changed, exact) is False
    assert answer(changed, changed) is True
