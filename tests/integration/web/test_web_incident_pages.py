"""The pages of an incident: its log, its evidence, and a text for upstream."""

from __future__ import annotations

from starlette.testclient import TestClient

from monitor.steps.station import Station
from standins.web import Past
from standins.web_reading import Page, page


def test_an_incident_shows_its_log_newest_first_and_its_evidence(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    found = page(client, f"/incidents/{past.resolved}")
    text = found.text
    assert text.index("resolved by Ada") < text.index("opened by monitor")
    assert "measured again by hand" in text
    assert f"/runs/{past.runs['0.2.38']}" in found.links()
    open_one = page(client, f"/incidents/{past.open}").text
    assert "What moved in the worst run" in open_one
    assert "Log in to acknowledge" in open_one


def test_a_confirmed_loss_has_a_text_for_upstream_that_can_be_copied_without_a_script(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, found, past = site
    assert "A ready text for its tracker" in Page(client.get(f"/incidents/{past.open}").text).text
    assert "A ready text" not in Page(client.get(f"/incidents/{past.acknowledged}").text).text
    assert client.get(f"/incidents/{past.acknowledged}/upstream").status_code == 404
    page = Page(client.get(f"/incidents/{past.open}/upstream").text)
    assert ("textarea", "body") in [(tag, given.get("id")) for tag, given in page.tags]
    assert "good-mtp: tokens=128" in page.text
    saved = client.get(f"/incidents/{past.open}/upstream.md")
    assert saved.headers["content-type"] == "text/markdown; charset=utf-8"
    assert "## How to see it" in saved.text
    assert found.host.name not in saved.text
    assert " ".join(saved.text.split()[:40]) in page.text
