"""The report in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

import factories
from monitor.views.report import write

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {390: ViewportSize(width=390, height=844), 1280: ViewportSize(width=1280, height=900)}
SPILLS = """() => [...document.querySelectorAll('main *')].filter(element => {
    if (element.closest('.scroll, thead, svg') || !element.checkVisibility()) return false;
    const run = (element.closest('.run') || document.body).getBoundingClientRect();
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > run.right + 1 || box.left < run.left - 1);
}).map(element => element.outerHTML.slice(0, 120))"""
FAINT = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const light = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part => linear(part / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'white';
    };
    const speaks = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const seen = [...document.querySelectorAll('body *')].filter(element => element.checkVisibility());
    return seen.filter(speaks).filter(element => {
        const style = getComputedStyle(element);
        const front = light(element.closest('svg') ? style.fill : style.color), back = light(behind(element));
        return (Math.max(front, back) + .05) / (Math.min(front, back) + .05) < 4.5;
    }).map(element => element.outerHTML.slice(0, 120));
}"""
"""Texts with less contrast than WCAG 2.2, 1.4.3, asks for."""


@dataclass
class Opened:
    """A page with everything it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(factories.report(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def opened(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    width, scheme = request.param
    context = browser.new_context(viewport=WIDTHS[width], color_scheme=scheme)
    opened = Opened(context.new_page())
    opened.page.on("request", lambda asked: opened.requests.append(asked.url))
    opened.page.on("console", lambda message: opened.complaints.append(message.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("dialog", lambda dialog: opened.complaints.append(f"dialog: {dialog.message}"))
    opened.page.goto(report.as_uri(), wait_until="load")
    yield opened
    context.close()


def test_the_page_is_quiet_fits_and_can_be_read(opened: Opened, report: Path) -> None:
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


def test_the_verdict_is_the_first_thing_said_of_each_run(opened: Opened) -> None:
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


def test_every_chart_has_a_name_and_a_description(opened: Opened) -> None:
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
