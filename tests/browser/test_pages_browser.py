"""The pages in a real browser, served by the real server on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from in_browser import FAINT, SMALL, SPILLS, UNNAMED, Watched, served
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from monitor.steps.station import Station
from monitor.web.app import create_app
from standins.web import TOKEN, Past, Recorder, station

WIDTHS = {360: ViewportSize(width=360, height=780), 1280: ViewportSize(width=1280, height=900)}


@dataclass
class Service:
    """A server that runs, and what lies behind it."""

    address: str
    station: Station
    past: Past
    actions: Recorder


@dataclass(kw_only=True)
class Opened(Watched):
    """A page of the service, in a context of its own."""

    context: BrowserContext
    address: str

    def go(self, path: str) -> Page:
        self.page.goto(self.address + path, wait_until="load")
        return self.page

    def log_in(self) -> None:
        page = self.go("/login")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{self.address}/")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with station(tmp_path_factory.mktemp("pages")) as (found, past):
        actions = Recorder()
        with served(create_app(found, actions=actions)) as address:
            yield Service(address, found, past, actions)


@contextmanager
def opened_in(browser: Browser, service: Service, width: int, **options: Any) -> Iterator[Opened]:
    context = browser.new_context(viewport=WIDTHS[width], **options)
    opened = Opened(page=context.new_page(), context=context, address=service.address)
    yield opened
    context.close()


def every_path(past: Past) -> list[str]:
    good, bad = past.runs["0.2.40"], past.regressed
    return [
        "/",
        "/releases",
        "/runs",
        f"/runs/{bad}",
        f"/runs/{past.working}",
        f"/runs/{past.hostile}",
        f"/compare?reference={good}&candidate={bad}",
        "/series",
        "/series?metric=step_time&workload=code",
        "/incidents",
        f"/incidents/{past.open}",
        f"/incidents/{past.open}/upstream",
        f"/incidents/{past.acknowledged}",
        f"/bisections/{past.bisected}",
        f"/bisections/{past.searching}",
        "/status",
        "/login",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_quiet_fits_and_can_be_read(
    width: int, scheme: str, browser: Browser, service: Service
) -> None:
    with opened_in(browser, service, width, color_scheme=scheme) as opened:
        opened.log_in()
        for path in every_path(service.past):
            page = opened.go(path)
            page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
            assert page.evaluate(SPILLS) == [], path
            assert page.evaluate(FAINT) == [], path
            assert page.evaluate(SMALL) == [], path
            assert page.evaluate(UNNAMED) == [], path
        assert opened.complaints == []
        assert {re.match(r"https?://[^/]+", url)[0] for url in opened.requests} == {service.address}  # type: ignore[index]


def test_light_and_dark_are_two_different_pages(browser: Browser, service: Service) -> None:
    seen = []
    for scheme in ("light", "dark"):
        with opened_in(browser, service, 1280, color_scheme=scheme) as opened:
            seen.append(opened.go("/").evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(244, 245, 247)", "rgb(15, 18, 24)"]


def test_charts_have_a_name_and_a_description(browser: Browser, service: Service) -> None:
    with opened_in(browser, service, 1280) as opened:
        for path in ("/", "/series", f"/runs/{service.past.regressed}", f"/incidents/{service.past.open}"):
            named = (
                opened.go(path)
                .locator("svg.chart")
                .evaluate_all(
                    "found => found.map(svg => svg.getAttribute('aria-labelledby').split(' ')"
                    ".map(id => document.getElementById(id)?.textContent.trim() || ''))"
                )
            )
            assert named, path
            assert all(len(name) == 2 and all(name) for name in named), path


def test_an_incident_is_acknowledged_from_login_to_log(browser: Browser, service: Service) -> None:
    service.actions.asked.clear()
    past = service.past
    with opened_in(browser, service, 360) as opened:
        page = opened.go(f"/incidents/{past.open}")
        page.get_by_role("link", name="Log in", exact=True).last.click()
        page.get_by_label("Token").fill("a guess")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("That is not the token.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/incidents/{past.open}")
        page.locator("summary", has_text="Snooze").click()
        form = page.locator("form[action$='/snooze']")
        form.get_by_label("Who").fill("Ada")
        form.get_by_label("For").select_option("168")
        form.get_by_label("Why").fill("we wait for the fix")
        form.get_by_role("button", name="Snooze").click()
        page.wait_for_url(f"**/incidents/{past.open}")
        [(action, number, who, why, until)] = service.actions.asked
        assert (action, number, who, why) == ("snooze", past.open, "Ada", "we wait for the fix")
        assert (until - service.station.clock()).days == 7
        cookies = opened.context.cookies()
        assert [(c["httpOnly"], c["sameSite"]) for c in cookies] == [(True, "Strict")]
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("link", name="Log in").first.wait_for()


def test_everything_can_be_reached_by_keyboard_and_focus_is_seen(browser: Browser, service: Service) -> None:
    with opened_in(browser, service, 1280) as opened:
        page = opened.go("/incidents")
        reached = []
        for _ in range(18):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "[document.activeElement.textContent.trim(),"
                    " getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
        names = [name for name, _ in reached]
        assert names[:3] == ["To the content", "mtp-monitor", "Overview"]
        assert any(name.startswith("Open") for name in names)
        assert {outline for _, outline in reached} == {"solid"}


def test_a_page_of_work_under_way_keeps_itself_up_to_date_but_never_under_a_reader(
    browser: Browser, service: Service
) -> None:
    with opened_in(browser, service, 1280) as opened:
        page = opened.page
        page.clock.install()
        opened.go(f"/runs/{service.past.working}")
        page.evaluate("document.querySelector('main').dataset.seen = 'before'")
        page.locator("main details summary").first.click()
        page.clock.run_for(41_000)
        page.wait_for_load_state("networkidle")
        assert page.locator("main").get_attribute("data-seen") == "before"
        page.locator("main details summary").first.click()
        page.evaluate("document.activeElement.blur()")
        page.clock.run_for(21_000)
        page.locator("main:not([data-seen])").wait_for()
        assert page.get_by_role("heading", level=1).inner_text().startswith("xllamacpp 0.2.42")
        assert opened.complaints == []


def test_everything_works_without_script(browser: Browser, service: Service) -> None:
    with opened_in(browser, service, 1280, java_script_enabled=False) as opened:
        page = opened.go("/series")
        page.get_by_label("Metric").select_option("acceptance_rate")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**metric=acceptance_rate**")
        assert page.get_by_role("heading", level=1).inner_text() == (
            "xllamacpp: acceptance rate over the releases"
        )
        page = opened.go(
            f"/compare?reference={service.past.runs['0.2.40']}&candidate={service.past.regressed}"
        )
        page.locator("summary", has_text="History").first.click()
        assert page.get_by_role("img", name="over the releases").first.is_visible()


def test_what_is_saved_are_files_with_names(browser: Browser, service: Service) -> None:
    with opened_in(browser, service, 1280) as opened:
        page = opened.go(f"/runs/{service.past.regressed}")
        for link, name in (
            ("Report as one file", f"mtp-monitor-run-{service.past.regressed}.html"),
            ("Samples: candidate", f"run-{service.past.regressed}-candidate.jsonl"),
        ):
            with page.expect_download() as saved:
                page.get_by_role("link", name=link).click()
            assert saved.value.suggested_filename == name
