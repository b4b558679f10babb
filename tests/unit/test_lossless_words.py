"""How far it was checked that the output is the same, and what the score says, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

import factories
from monitor.alerts.findings import finding
from monitor.domain import Judgement, Lossless, Right, Score, ScoreChange, Signature, Verdict
from monitor.views import words
from monitor.views.report import RunView, render

SCORE = Score(10, Right(0.9, 0.596, 0.982), Right(0.8, 0.49, 0.943), ScoreChange(-0.1, -0.38, 0.19))
TOKENS = Lossless(2, False, 4, 4, 8, 6, None, Verdict.UNCHANGED, divergences=2)
MARGINS = replace(TOKENS, tier=3, margins=2)


def with_finding(found: Lossless) -> RunView:
    view = factories.unchanged()
    assert view.judgement is not None
    return replace(view, judgement=replace(view.judgement, lossless=found))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(TOKENS, tier=0, mtp_pairs=0, divergences=0), "no answers could be compared"),
        (TOKENS, "token by token. Of 2 of 2 places where they part that is not known"),
        (MARGINS, "where they part, the model without MTP was asked how undecided it was"),
        (replace(MARGINS, margins=1), "Of 1 of 2 places"),
        (replace(MARGINS, tier=4, score=SCORE), "was asked how undecided it was; answers to questions"),
        (replace(TOKENS, tier=4, score=SCORE), "with those without, token by token; answers to questions"),
    ],
)
def test_the_tier_that_was_reached_is_said_in_words(found: Lossless, said: str) -> None:
    assert words.tier_in_words(found).startswith(f"Losslessness tier {found.tier} of 4: ")
    assert said in words.tier_in_words(found)


def test_the_score_is_said_with_its_intervals() -> None:
    said = words.score_in_words(SCORE)
    assert said == (
        "Of 10 scored prompts 80.0 % (49.0 % to 94.3 %) are answered right with MTP, "
        "90.0 % (59.6 % to 98.2 %) without: −10.0 points (−38.0 to +19.0)"
    )
    both = words.score_in_words(replace(SCORE, between_releases=ScoreChange(0.1, -0.1, 0.3)))
    assert both.endswith("from the reference to the candidate: +10.0 points (−10.0 to +30.0)")
    assert words.score_in_words(None) == ""


def test_the_report_says_tier_and_score() -> None:
    found = replace(MARGINS, tier=4, score=SCORE)
    page = render(factories.report(with_finding(found)))
    assert words.tier_in_words(found) in page
    assert words.score_in_words(SCORE) in page
    assert "scored prompts" not in render(factories.report(with_finding(TOKENS)))


def test_a_message_says_what_a_margin_or_a_score_found() -> None:
    fault = replace(MARGINS, verdict=Verdict.REGRESSED, note="1 of 2 divergences are no near-ties")
    judged = with_finding(fault)
    assert judged.judgement is not None
    lost: Judgement = replace(
        judged.judgement, verdict=Verdict.REGRESSED, signature=Signature.OUTPUT_CHANGED, confirmed=True
    )
    told = [fact["text"] for fact in finding(lost)["facts"]]
    assert "The output changed: 1 of 2 divergences are no near-ties." in told
