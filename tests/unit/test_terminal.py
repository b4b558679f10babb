from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

import factories
from monitor.domain import Verdict
from monitor.views import words
from monitor.views.report import RunView
from monitor.views.terminal import judgement_view, releases_view


def printed(view: RenderableType, width: int, *, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
    )
    console.print(view)
    return out.getvalue()


def view_of(run: RunView) -> RenderableType:
    assert run.judgement
    reference = f"xllamacpp {run.reference_version}" if run.reference_version else ""
    return judgement_view(
        run.judgement, reference=reference, candidate=f"xllamacpp {run.version}", planted=run.planted
    )


def words_of(text: str) -> str:
    """Return the text as one line without the frame around it."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("width", [80, 120])
def test_the_verdict_comes_first_in_words_and_nothing_is_cut(width: int) -> None:
    for run in factories.every_kind():
        if run.judgement is None or factories.HOSTILE in run.version:
            continue
        text = printed(view_of(run), width)
        assert "\x1b" not in text
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text
        said = words_of(text)
        assert run.judgement.headline in said
        believed = run.judgement.verdict is not Verdict.INVALID
        for effect in run.judgement.effects if believed else ():
            assert words.METRICS[effect.metric].split()[0] in said
            assert (
                words.value_of(effect.metric, effect.candidate, effect.unit) in said
                or effect.workload != "all"
            )
        head = said.index(run.judgement.headline)
        assert all(
            said.find(title) in {-1, *range(head, len(said))}
            for title in ("The three factors of the speedup", "What moved", "By workload")
        )


def test_colour_adds_nothing_that_words_do_not_say() -> None:
    run = factories.planted()
    plain = printed(view_of(run), 100)
    coloured = Console(
        file=io.StringIO(), width=100, color_system="truecolor", force_terminal=True, record=True
    )
    coloured.print(view_of(run))
    assert coloured.export_text() == plain
    assert "▼ REGRESSED" in plain
    assert words.PLANTED in words_of(plain)


def test_the_three_factors_stand_between_the_two_speedups() -> None:
    run = factories.planted()
    assert run.judgement
    lines = printed(view_of(run), 80).splitlines()
    begin = next(
        number for number, line in enumerate(lines) if line.startswith("The three factors of the speedup")
    )
    labels = [line.split("  ")[1].strip() for line in lines[begin + 1 : begin + 6]]
    assert labels == ["Reference", "Acceptance length", "Step time", "Baseline", "Candidate"]
    assert "exact" in lines[begin + 2]


def test_each_workload_shows_acceptance_before_and_after_and_by_position() -> None:
    run = factories.planted()
    assert run.judgement
    text = printed(view_of(run), 80)
    for old, new in zip(run.judgement.reference_summary, run.judgement.candidate_summary, strict=True):
        assert f"{100 * (old.acceptance_rate or 0):.1f} % → {100 * (new.acceptance_rate or 0):.1f} %" in text
        assert " ".join(f"{100 * share:.0f}" for share in new.accepted_per_position or ()) in text


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    text = printed(view_of(factories.hostile()), 80)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_releases_say_what_is_followed_and_why_the_others_are_not() -> None:
    text = printed(releases_view(factories.release_lines()), 80)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    for line in factories.release_lines():
        row = next(row for row in text.splitlines() if line.version in row)
        assert line.state in row
        assert ("○" in row) == (line.state == "skipped")
        assert (line.reason or "") in row
    assert "No releases are known yet." in printed(releases_view(()), 80)


def test_a_release_that_was_measured_on_says_to_what_end_and_no_other_does() -> None:
    run = factories.unchanged()
    assert run.judgement
    shown = judgement_view(run.judgement, reference="", candidate="xllamacpp 1", measured_on=6)
    said = "Measured on to 6 blocks, as what the next releases are compared with."
    assert said in words_of(printed(shown, 120))
    assert "easured on" not in printed(view_of(run), 120)
