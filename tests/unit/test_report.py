from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import factories
from monitor.domain import Look, Metric, Verdict
from monitor.errors import MonitorError
from monitor.views import words
from monitor.views.packages import package_rows
from monitor.views.report import RunView, render, write
from monitor.views.text import plain_log


class Page(HTMLParser):
    """Tags, attributes and readable text of a page, in order."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    @property
    def text(self) -> str:
        return " ".join(text for _, text in self.texts)

    def attributes(self, name: str) -> Iterator[str]:
        return (attrs[name] or "" for _, attrs in self.tags if name in attrs)


def page_of(run: RunView) -> Page:
    return Page(render(factories.report(run)))


KINDS = [
    factories.unchanged,
    factories.planted,
    factories.inconclusive,
    factories.first,
    factories.speculation_off,
    factories.invalid,
    factories.failed,
    factories.hostile,
    factories.one_session,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_run_gives_a_well_formed_page_that_begins_with_the_verdict(kind: object) -> None:
    run: RunView = kind()  # type: ignore[operator]
    html = render(factories.report(run))
    page = Page(html)
    assert page.open == []
    article = html[html.index("<article") :]
    first_heading = re.search(r"<h2[^>]*>(.*?)</h2>", article, re.DOTALL)
    assert first_heading
    said = Page(first_heading[1]).text
    if run.judgement is None:
        assert said == "xllamacpp 0.2.41 failed: does not start."
    elif kind is not factories.hostile:
        assert said == run.judgement.headline
        expected = words.FIRST if kind is factories.first else words.VERDICTS[run.judgement.verdict]
        assert expected.label in page.text
    ids = list(page.attributes("id"))
    assert len(ids) == len(set(ids))


def test_the_page_asks_for_nothing_outside_itself_and_runs_no_script() -> None:
    html = render(factories.report())
    page = Page(html)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not {"script", "iframe", "object", "embed", "form", "base", "img"} & {tag for tag, _ in page.tags}
    for name in ("href", "src", "action", "srcset", "poster"):
        assert all(value.startswith(("#", "data:image/svg+xml,")) for value in page.attributes(name))
    assert list(page.attributes("style")) == []
    assert [name for _, attrs in page.tags for name in attrs if name.startswith("on")] == []
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_whatever_comes_from_outside_is_shown_and_never_obeyed() -> None:
    html = render(factories.report(factories.hostile()))
    page = Page(html)
    tags = {tag for tag, _ in page.tags}
    assert not {"script", "img"} & tags
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", html)
    html.encode()


def test_a_planted_release_is_called_so_beside_its_verdict_and_in_the_summary() -> None:
    page = Page(render(factories.report(factories.planted(1), factories.unchanged(2))))
    assert page.text.count("Planted") >= 3
    assert "not a real release" in page.text
    assert words.PLANTED in page.text
    assert words.PLANTED not in page_of(factories.unchanged()).text


def test_a_regression_by_acceptance_shows_both_releases_the_factors_and_what_is_exact() -> None:
    run = factories.planted()
    page = page_of(run)
    assert run.judgement
    old, new = run.judgement.reference_summary[0], run.judgement.candidate_summary[0]
    assert f"{new.speedup:.2f}×" in page.text
    assert f"was {old.speedup:.2f}×" in page.text
    assert f"{100 * (new.acceptance_rate or 0):.1f} %" in page.text
    assert "From the reference's speedup to the candidate's" in page.text
    assert "Acceptance by position" in page.text
    assert ("span", "exact") in page.texts
    assert "acceptance drop" in page.text
    assert "confirmed on fresh sessions" in page.text


def test_rows_that_decide_come_before_rows_that_are_only_shown() -> None:
    run = factories.unchanged()
    assert run.judgement
    text = page_of(run).text
    decide, shown = text.index("These decide the verdict"), text.index("These follow from them")
    for effect in run.judgement.effects:
        if effect.workload == "all":
            place = text.index(f"{words.METRICS[effect.metric]} {words.MEANINGS[effect.metric]}", decide)
            assert (place < shown) == effect.gates


def test_a_failed_run_shows_its_reason_and_the_end_of_its_log_without_colours() -> None:
    page = page_of(factories.failed())
    assert ("h2", "xllamacpp 0.2.41 failed: does not start.") in page.texts
    log = next(text for tag, text in page.texts if tag == "pre")
    assert "error: unknown model architecture 'qwen35'" in log
    assert "\x1b" not in log
    assert "[31m" not in log


def test_an_invalid_run_names_the_condition_and_draws_no_conclusion() -> None:
    page = page_of(factories.invalid())
    assert "Prompt tokens" in page.text
    assert "makes the run invalid" in page.text
    assert "Every session" in page.text
    for title in ("From the reference's speedup", "What moved", "Acceptance by workload", "Key figures"):
        assert title not in page.text
        assert title not in page.attributes("aria-label")


def test_artifacts_packages_and_workloads_carry_their_whole_hashes() -> None:
    run = factories.unchanged()
    page = page_of(run)
    assert run.artifact
    assert run.reference_artifact
    assert run.environment
    hashes = [run.artifact.sha256, run.reference_artifact.sha256, run.check.digest]
    hashes += [package.sha256 or "" for package in run.environment.packages]
    hashes += [workload.sha256 for workload in run.check.workloads]
    for sha256 in hashes:
        assert ("code", sha256) in page.texts


def test_the_environments_difference_names_what_came_went_and_changed() -> None:
    run = factories.unchanged()
    assert run.reference_environment
    assert run.environment
    rows = package_rows(run.reference_environment, run.environment)
    assert [(row.name, row.what) for row in rows] == [
        ("numpy", "changed"),
        ("packaging", "removed"),
        ("typing-extensions", "added"),
        ("xllamacpp", "changed"),
    ]
    package, *others = run.environment.packages
    same = replace(run.environment, packages=(replace(package, sha256="0" * 64), *others))
    assert [row.what for row in package_rows(run.environment, same)] == ["another file"]


def test_what_was_not_measured_reads_so() -> None:
    run = factories.first()
    assert run.judgement
    summaries = tuple(
        replace(
            summary,
            speedup=None,
            acceptance_rate=None,
            mtp_rate=None,
            ttft_mtp_s=None,
            accepted_per_position=None,
            step_time_s=None,
        )
        for summary in run.judgement.candidate_summary
    )
    bare = replace(run, judgement=replace(run.judgement, candidate_summary=summaries), candidate_samples=None)
    page = page_of(bare)
    assert page.text.count("not measured") >= 4
    assert "Acceptance by position" not in page.text
    assert "Every session" not in page.text
    assert "None" not in page.text
    assert "nan" not in page.text


def test_a_run_without_verdict_yet_says_how_far_it_is() -> None:
    waiting = replace(
        factories.failed(), state="interrupted", reason="the machine was restarted", log_tail=""
    )
    page = page_of(waiting)
    assert "xllamacpp 0.2.41 has no verdict: its run is interrupted: the machine was restarted." in page.text
    assert "No verdict yet" in page.text


def test_releases_are_listed_with_the_reason_why_one_was_skipped() -> None:
    page = Page(render(replace(factories.report(), runs=())))
    assert "No run has been made yet." in page.text
    for line in factories.release_lines():
        assert f"{line.project} {line.version}" in page.text
        if line.reason:
            assert f"{line.reason}: {line.detail}" in page.text


def test_the_acceptance_rate_moves_in_points_and_the_rest_in_percent() -> None:
    run = factories.planted()
    assert run.judgement
    effects = {effect.metric: effect for effect in run.judgement.effects if effect.workload == "all"}
    rate = effects[Metric.ACCEPTANCE_RATE]
    assert rate.reference
    assert rate.candidate
    shift = words.shift_of(rate)
    assert shift.change == pytest.approx(100 * (rate.candidate - rate.reference))
    assert shift.shown.startswith("−")
    assert shift.shown.endswith(" points")
    assert shift.shown_floor == "1 point"
    assert words.shift_of(effects[Metric.ACCEPTANCE_LENGTH]).shown.endswith(" %")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_explained_with_what_to_do(verdict: Verdict) -> None:
    for signature in (None, *words.SIGNATURES):
        for first in (True, False):
            told = words.explanation(verdict, signature, first=first)
            assert told.meaning.endswith(".")
            assert told.advice.endswith(".")


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "report.html"
    assert write(factories.report(factories.failed()), path) == path
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monitor.views.report.os.fsync", fail)
    with pytest.raises(MonitorError, match="No room left"):
        write(factories.report(factories.first()), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_report_that_cannot_be_written_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MonitorError, match="cannot be written"):
        write(factories.report(factories.failed()), tmp_path / "file" / "report.html")


def test_a_log_loses_its_colours_titles_and_carriage_returns() -> None:
    log = "\x1b]0;title\x07\x1b[1;31mbad\x1b[0m\r\n 50 %\r100 %\n\x00\ud800\n"
    assert plain_log(log) == "bad\n 50 %\n100 %\n\ufffd\ufffd"


def test_how_sure_a_look_had_to_be_is_said_in_odds() -> None:
    look = Look(number=2, of=11, blocks=3, gating=4, level_regressed=0.99, level_unchanged=0.975)
    said = words.look_in_words(look)
    assert "look 2 of at most 11, after 3 blocks" in said
    assert "unlikelier than 1 in 100" in said
    assert "unlikelier than 1 in 40" in said
    assert words.look_in_words(None) == ""


def test_what_the_gpu_did_is_shown_for_every_session_and_drawn_for_one_of_each_arm() -> None:
    page = page_of(factories.watched())
    assert "2,550 MHz 2,300–2,617" in page.text
    assert "power cap in 40.0 % of the looks" in page.text
    assert "2 answers disturbed each time" in page.text
    assert "memory allows the baseline 190 tok/s at most" in page.text
    lines = [attrs for tag, attrs in page.tags if tag == "polyline"]
    assert len(lines) == 3 * 2, "clock, temperature and power; with MTP and without"
    assert "The GPU" not in page_of(factories.unchanged()).text


def test_a_desktop_on_the_gpu_is_told_beside_the_sessions_and_disturbs_none() -> None:
    run = factories.watched()
    assert run.candidate_samples is not None
    assert "a desktop" not in page_of(run).text
    first, *others = run.candidate_samples.sessions
    drawn = replace(first, gpu=(first.gpu or {}) | {"graphics": 2})
    run = replace(run, candidate_samples=replace(run.candidate_samples, sessions=(drawn, *others)))
    assert "2 of 20 sessions had something to tell; a desktop was on it (2 processes)" in page_of(run).text


@pytest.mark.parametrize("trace", [None, "x", [[1, 2]], [["a", None, None, None, None]], [[0, None] * 3]])
def test_a_strange_record_of_the_gpu_does_not_stop_the_report(trace: object) -> None:
    run = factories.watched()
    assert run.candidate_samples is not None
    strange = {"trace": trace, "flags": [1], "sm_clock_mhz": ["<b>", 1, 2], "contaminated": 1}
    sessions = tuple(replace(one, gpu=strange) for one in run.candidate_samples.sessions)
    run = replace(run, candidate_samples=replace(run.candidate_samples, sessions=sessions))
    assert "The GPU in every session" in page_of(run).text


def test_a_release_that_was_measured_on_says_to_what_end() -> None:
    run = factories.unchanged()
    said = "measured on to 6 blocks, as what the next releases are compared with"
    assert said in render(factories.report(replace(run, measured_on=6)))
    assert "measured on to" not in render(factories.report(run))
