"""The report in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_browser import FAINT, Watched
from playwright.sync_api import Browser, ViewportSize

import factories
from monitor.views.report import write

WIDTHS = {390: ViewportSize(width=390, height=844), 1280: ViewportSize(width=1280, height=900)}
SPILLS = """() => [...document.querySelectorAll('main *')].filter(element => {
    if (element.closest('.scroll, thead, svg') || !element.checkVisibility()) return false;
    const run = (element.closest('.run') || document.body).getBoundingClientRect();
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > run.right + 1 || box.left < run.left - 1);
}).map(element => element.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(factories.report(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def opened(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    width, scheme = request.param
    context = browser.new_context(viewport=WIDTHS[width], color_scheme=scheme)
    opened = Watched(context.new_page())
    opened.page.goto(report.as_uri(), wait_until="load")
    yield opened
    context.close()


def test_the_page_is_quiet_fits_and_can_be_read(opened: Watched, report: Path) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for details in page.locator("#run-2 details:visible > summary").all():
        details.click()
    assert page.locator("#run-2 details:not([open])").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(SPILLS) == []
    assert page.evaluate(FAINT) == []
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [report.as_uri()]
    assert opened.complaints == []


def test_the_verdict_is_the_first_thing_said_of_each_run(opened: Watched) -> None:
    for run in factories.every_kind()[:6]:
        article = opened.page.locator(f"#run-{run.run_id}")
        assert run.judgement
        heading = article.get_by_role("heading").first
        assert heading.inner_text() == run.judgement.headline
        begin = f"PLANTED\n{heading.inner_text()}" if run.planted else heading.inner_text()
        without_planted_sentence = article.inner_text().replace(
            article.locator(".plant span").inner_text() + "\n" if run.planted else "\0", ""
        )
        assert " ".join(without_planted_sentence.split()).startswith(" ".join(begin.split()))
    first_link = opened.page.get_by_role("navigation").get_by_role("link").first
    first_link.click()
    assert opened.page.url.endswith("#run-1")


def test_every_chart_has_a_name_and_a_description(opened: Watched) -> None:
    charts = opened.page.locator("svg.chart")
    assert charts.count() > 40
    named = charts.evaluate_all(
        "found => found.map(svg => svg.getAttribute('aria-labelledby').split(' ')"
        ".map(id => document.getElementById(id)?.textContent.trim() || ''))"
    )
    assert all(len(name) == 2 and all(name) for name in named)
    assert opened.page.locator("#run-2").get_by_role("img", name="From the reference's speedup").count() == 1


def test_light_and_dark_are_two_different_pages(browser: Browser, report: Path) -> None:
    seen = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(report.as_uri())
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert seen == ["rgb(244, 245, 247)", "rgb(15, 18, 24)"]


def test_the_page_can_be_printed(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
