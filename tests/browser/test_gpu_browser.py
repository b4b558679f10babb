"""What is shown of a GPU in a real browser: its sessions fit, and the form that releases it has room."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from in_browser import FAINT, SMALL, SPILLS, UNNAMED, served
from playwright.sync_api import Browser, ViewportSize

import factories
from monitor.gpu.identity import read_gpus
from monitor.store.queries import quarantines
from monitor.views.report import write
from monitor.web.app import create_app
from standins import nvml
from standins.web import TOKEN, Recorder, empty_station

WIDTHS = (390, 700, 900, 1050, 1280)
SCHEMES = ("light", "dark")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_sessions_of_a_gpu_are_read_without_scrolling_sideways(
    width: int, browser: Browser, tmp_path: Path
) -> None:
    report = write(factories.report(factories.watched()), tmp_path / "report.html")
    page = browser.new_page(viewport=ViewportSize(width=width, height=900))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    sessions = page.get_by_role("region", name="The GPU in every session")
    assert sessions.evaluate("region => region.scrollWidth - region.clientWidth") <= 0
    assert "2,300–2,617" in sessions.inner_text()
    page.close()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the pages of a machine whose GPU is in quarantine."""
    nvml.install(monkeypatch)
    with empty_station(tmp_path) as station:
        station.host = replace(station.host, gpu=read_gpus()[0])
        with station.store.write() as db:
            machine = station.host.machine_id
            quarantines.begin(db, machine, gpu="GPU-1", reason="it was lost", now=station.clock())
        with served(create_app(station, actions=Recorder())) as found:
            yield found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [390, 1280])
def test_the_form_that_releases_a_gpu_has_room_between_its_parts(
    width: int, scheme: str, browser: Browser, address: str
) -> None:
    screen = ViewportSize(width=width, height=900)
    context = browser.new_context(viewport=screen, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}/")
    page.goto(f"{address}/status")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for found in (SPILLS, FAINT, SMALL, UNNAMED):
        assert page.evaluate(found) == []
    form = page.locator("form[action='/gpu/release']")
    boxes = [box for part in form.locator("label, button").all() if (box := part.bounding_box()) is not None]
    above = page.locator("#gpu ~ p").last.bounding_box()
    assert above is not None
    assert min(box["y"] for box in boxes) - (above["y"] + above["height"]) >= 8
    below = page.locator("form[action='/gpu/release'] + dl").bounding_box()
    assert below is not None
    assert below["y"] - max(box["y"] + box["height"] for box in boxes) >= 8
    for one, other in itertools.pairwise(boxes):
        across = other["x"] - (one["x"] + one["width"])
        down = other["y"] - (one["y"] + one["height"])
        assert max(across, down) >= 8
    context.close()
