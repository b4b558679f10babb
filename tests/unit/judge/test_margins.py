"""Where texts part the baseline model's own margin tells a near-tie from a fault; it is in the samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from measurements import Truth, altered, measure
from monitor import sample_file
from monitor.domain import (
    Arm,
    Divergence,
    Header,
    Margin,
    Sample,
    SampleSet,
    Session,
    Signature,
    Verdict,
)
from monitor.judge import margins
from monitor.judge.verdict import judge

GOOD = Truth(prompts=3, workloads=("code",))
TEXT = (5, 6, 7, 8)


def told(nats: float, place: Divergence, *, at_least: bool = False) -> Margin:
    where = (place.session, place.workload, place.prompt, place.repeat, len(place.common))
    return Margin(*where, place.expected, place.found, nats, at_least)


def parted(*texts: tuple[int, ...], own: tuple[tuple[int, ...], ...] = ()) -> SampleSet:
    """Return a release whose mtp arm says `texts` on its prompts, and later baselines `own`."""

    def of(said: tuple[tuple[int, ...], ...], sample: Sample) -> tuple[int, ...]:
        place = int(sample.prompt.split("-")[1])
        return said[place] if place < len(said) else TEXT

    made = altered(measure(GOOD), Arm.MTP, token_ids=lambda s: of(texts, s))
    return altered(made, Arm.BASELINE, token_ids=lambda s: of(own, s) if s.session else TEXT)


def with_told(measured: SampleSet, *known: Margin) -> SampleSet:
    """Return the same with margins that the last baseline session was told."""
    last = max(one.session for one in measured.sessions if one.arm is Arm.BASELINE)
    sessions = [replace(one, margins=known) if one.session == last else one for one in measured.sessions]
    return replace(measured, sessions=tuple(sessions))


def asked(measured: SampleSet, limit: int = 99) -> tuple[Divergence, ...]:
    return margins.unasked(measured.samples, measured.sessions, limit)


def test_a_place_where_texts_part_is_asked_about_once_however_often_it_is_seen() -> None:
    measured = parted((5, 6, 9, 8), own=(TEXT, (5, 1)))

    assert asked(measured) == (
        Divergence(0, "code", "code-0", 0, (5, 6), expected=7, found=9),
        Divergence(0, "code", "code-1", 0, (5,), expected=6, found=1),
    )


def test_those_of_mtp_come_first_and_no_more_than_allowed_are_asked() -> None:
    assert [one.prompt for one in asked(parted((9,), own=((8,), (8,))), 2)] == ["code-0", "code-0"]
    assert [one.found for one in asked(parted((9,), own=((8,), (8,))), 2)] == [9, 8]


def test_what_is_known_is_not_asked_again() -> None:
    measured = parted((5, 6, 9, 8), (5, 3))
    first, second = asked(measured)

    assert asked(with_told(measured, told(0.1, first))) == (second,)


def test_an_answer_that_ends_where_the_other_goes_on_cannot_be_asked_about_but_counts() -> None:
    measured = parted((5, 6))

    assert asked(measured) == ()
    assert judge(None, measured).lossless.divergences == 1


def test_divergences_within_the_models_own_indecision_are_near_ties() -> None:
    measured = parted((5, 6, 9, 8), (5, 3))
    first, second = asked(measured)
    found = judge(None, with_told(measured, told(0.01, first), told(-0.29, second)))

    assert (found.lossless.tier, found.lossless.verdict) == (3, Verdict.UNCHANGED)
    assert (found.lossless.divergences, found.lossless.margins) == (2, 2)
    assert "all 2 divergences are near-ties" in found.lossless.note


@pytest.mark.parametrize("nats", [1.4, -1.4])
def test_a_divergence_that_the_model_is_sure_about_is_a_changed_output(nats: float) -> None:
    measured = parted((5, 6, 9, 8), (5, 3))
    first, second = asked(measured)
    found = judge(None, with_told(measured, told(0.01, first), told(nats, second)))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.OUTPUT_CHANGED)
    assert (found.lossless.tier, found.lossless.verdict) == (3, Verdict.REGRESSED)
    assert "1 of 2 divergences are no near-ties" in found.headline


def test_a_model_that_diverges_from_itself_by_more_allows_more() -> None:
    measured = parted((5, 6, 9, 8), own=(TEXT, (5, 1)))
    mtp, own = asked(measured)

    assert judge(None, with_told(measured, told(0.8, mtp), told(0.9, own))).verdict is Verdict.UNCHANGED
    assert judge(None, with_told(measured, told(0.8, mtp), told(0.2, own))).verdict is Verdict.REGRESSED


def test_a_margin_known_to_be_at_least_so_much_is_a_fault_beyond_the_limit_and_else_says_nothing() -> None:
    measured = parted((5, 6, 9, 8), (5, 3))
    first, second = asked(measured)

    beyond = judge(None, with_told(measured, told(0.1, first), told(5.0, second, at_least=True))).lossless
    within = judge(None, with_told(measured, told(0.1, first), told(0.2, second, at_least=True))).lossless

    assert (beyond.verdict, beyond.margins) == (Verdict.REGRESSED, 2)
    assert "5.00 nat or more" in beyond.note
    assert (within.verdict, within.margins, within.divergences) == (Verdict.UNCHANGED, 1, 2)
    assert "1 of 2 divergences" in within.note


def test_without_margins_the_tier_stays_what_token_ids_say() -> None:
    found = judge(None, parted((5, 6, 9, 8))).lossless

    assert (found.tier, found.margins, found.divergences) == (2, 0, 1)
    assert "was not measured" in found.note


def test_where_equality_is_exact_a_margin_excuses_nothing() -> None:
    measured = parted((5, 6, 9, 8))
    exact = replace(measured.header, judging={"lossless_exact": True})
    excused = with_told(replace(measured, header=exact), told(0.0, asked(measured)[0]))

    assert judge(None, excused).signature is Signature.OUTPUT_CHANGED


def test_margins_survive_the_sample_file_and_say_the_same_from_it() -> None:
    measured = parted((5, 6, 9, 8), (5, 3))
    known = with_told(measured, *(told(0.1, one, at_least=False) for one in asked(measured)))
    values: tuple[Header | Session | Sample, ...] = (known.header, *known.sessions, *known.samples)
    lines = [sample_file.to_line(value) + "\n" for value in values]

    again = sample_file.parse(lines, "f")

    assert again == known
    assert judge(None, again) == judge(None, known)


def test_the_limit_is_the_policys() -> None:
    measured = parted((5, 6, 9, 8))
    wider = replace(measured.header, judging={"near_tie_nats": 2.0})
    known = with_told(replace(measured, header=wider), told(1.4, asked(measured)[0]))

    assert judge(None, known).lossless.verdict is Verdict.UNCHANGED
