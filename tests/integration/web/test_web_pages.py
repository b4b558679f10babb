"""The pages: what all of them keep to, and what overview, releases and status say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from monitor.steps.station import Station
from monitor.store.queries import beats, releases
from monitor.web.app import create_app
from standins.web import SECRET_ADDRESS, TOKEN, Past, Recorder
from standins.web_reading import ADDRESS, HARMLESS, Page, client_of, page


def every_address(past: Past) -> list[str]:
    bad, good = past.regressed, past.runs["0.2.40"]
    return [
        "/",
        "/releases",
        "/releases?project=xllamacpp&state=skipped",
        "/runs",
        "/runs?state=failed&project=vllm&check=synthetic-qwen35-tiny",
        f"/runs/{bad}",
        f"/runs/{past.working}",
        f"/runs/{past.waiting}",
        f"/runs/{past.hostile}",
        "/compare",
        f"/compare?reference={good}&candidate={bad}",
        f"/compare?reference={past.runs['0.2.36']}&candidate={bad}&show=moved&workload=each",
        "/series",
        "/series?metric=acceptance_rate&workload=code",
        "/series?project=vllm",
        "/incidents",
        "/incidents?state=resolved",
        f"/incidents/{past.open}",
        f"/incidents/{past.acknowledged}",
        f"/incidents/{past.resolved}",
        f"/bisections/{past.bisected}",
        f"/bisections/{past.searching}",
        "/status",
        "/login",
    ]


def test_every_page_is_well_formed_titled_and_leads_only_to_pages_that_exist(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    seen: set[str] = set()
    for address in every_address(past):
        found = page(client, address)
        assert [tag for tag, _ in found.tags].count("h1") == 1, address
        assert "main" in {tag for tag, _ in found.tags}
        identities = [attrs["id"] for _, attrs in found.tags if attrs.get("id")]
        assert len(identities) == len(set(identities)), address
        seen |= {link for link in found.links() if not link.startswith("#")}
    assert len(seen) > 60
    for link in sorted(seen):
        assert link.startswith("/")
        assert client.get(link).status_code == 200, link


def test_text_from_outside_stays_text_on_every_page(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    shown = 0
    for address in every_address(past):
        found = page(client, address)
        assert not {"img", "iframe", "object", "style"} & {tag for tag, _ in found.tags}, address
        scripts = [attrs for tag, attrs in found.tags if tag == "script"]
        assert [set(attrs) for attrs in scripts] == [{"src", "defer"}], address
        assert not any(name.startswith("on") or name == "style" for _, a in found.tags for name in a), address
        shown += " ".join(HARMLESS.split()) in found.text
    assert shown >= 8  # releases, runs, a run, incidents, an incident, status …


def test_no_page_document_or_report_holds_a_secret(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    others = ["/healthz", "/metrics", "/api/v1/overview", "/api/v1/status", "/api/v1/openapi.json"]
    others += [f"/runs/{past.regressed}/report.html", f"/api/v1/runs/{past.regressed}/samples"]
    for address in [*every_address(past), *others]:
        text = client.get(address).text
        assert TOKEN not in text, address
        assert SECRET_ADDRESS not in text, address


def test_the_overview_says_incidents_first_then_each_check_in_words(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    found = page(client, "/")
    text = found.text
    assert text.index("2 incidents go on") < text.index("Checks") < text.index("Queue")
    # The open one stands before the one somebody looks after already.
    assert text.index("Open xllamacpp") < text.index("Acknowledged vllm")
    assert "Regressed 0.2.41" in text
    assert "Advice: Run xllamacpp 0.2.40 with MTP. 0.2.40 is the newest good release" in text
    assert re.search(r"1\.1\d× was 1\.6\d×", text)
    assert "measuring · block 3 of at most 5 · since 18 min ago" in text
    assert "Outside the host's hours (22:00-06:00) · not before 24 November 2026, 07:05 UTC" in text
    assert "looked 4 min ago, next look in 11 min" in text
    assert "1 look without an answer" in text
    assert "Nothing was measured yet" in text  # of the second check
    assert {f"/incidents/{past.open}", f"/runs/{past.regressed}"} <= found.links()
    assert 'data-refresh="20"' in client.get("/").text


def test_without_trouble_the_overview_is_calm_and_an_unwell_service_is_said_aloud(
    quiet: Station,
) -> None:
    client = client_of(quiet, Recorder())
    text = page(client, "/").text
    assert "The service is not well" in text
    assert "`poll` has never run." in text
    now = quiet.clock()
    with quiet.store.write() as db:
        for part in ("poll", "work", "deliver"):
            beats.begin(db, part, pid=1, now=now)
            beats.end(db, part, now=now)
    text = page(client, "/").text
    assert "The service is not well" not in text
    assert "No incident goes on." in text
    assert "Nothing waits and nothing is at work." in text
    assert "data-refresh" not in client.get("/").text


def test_releases_can_be_filtered_and_say_why(site: tuple[TestClient, Station, Past]) -> None:
    client, _, _ = site
    text = page(client, "/releases").text
    for words in ("all 17", "waiting 1", "settling 1", "planned 2", "measured 10", "skipped 3"):
        assert words in text
    skipped = page(client, "/releases?state=skipped").text
    assert "too old: MTP came with 0.2.32" in skipped
    assert "coalesced: 0.2.33 came within the same day" in skipped
    assert "0.2.41" not in skipped
    vllm = page(client, "/releases?project=vllm").text
    assert "vllm 0.25.0" in vllm
    assert "xllamacpp 0." not in vllm


def test_the_status_page_counts_its_own_precision(site: tuple[TestClient, Station, Past]) -> None:
    client, _, _ = site
    text = page(client, "/status").text
    assert "Every part of the service does its work." in text
    for words in ("Alerts ever 4", "Going on 2", "Ended as real 1", "False alarms 1", "Precision 50.0 %"):
        assert words in text
    assert "6 min of 240" in text
    assert "pager webhook never 1 1 410 gone" in text
    assert "incident.opened to pager" in text
    assert "2 failed" in text


def test_what_does_not_exist_is_said_in_the_style_of_the_house(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, _ = site
    assert "Nothing lies at this address." in page(client, "/nothing", 404).text
    assert "There is no run 99999." in page(client, "/runs/99999", 404).text
    assert "`run_id`" in page(client, "/runs/x", 422).text
    assert "`state`" in page(client, "/runs?state=lost", 422).text
    assert page(client, "/static/nothing.css", 404).text


def test_a_mistake_of_ours_is_a_page_too_and_says_nothing_about_itself(
    quiet: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(quiet, Recorder())

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("a canary in the traceback")

    monkeypatch.setattr(releases, "all_of", broken)
    with TestClient(
        create_app(quiet, actions=Recorder()), base_url=ADDRESS, raise_server_exceptions=False
    ) as kind:
        answer = kind.get("/releases")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert "The page could not be made." in Page(answer.text).text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/runs").status_code == 200


def test_style_script_and_icon_are_served_by_content_and_may_be_kept(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, _ = site
    found = page(client, "/")
    assets = [a["href"] or "" for tag, a in found.tags if tag == "link"]
    assets += [a["src"] or "" for tag, a in found.tags if tag == "script"]
    kinds = {client.get(path).headers["content-type"].partition(";")[0] for path in assets}
    assert kinds == {"text/css", "text/javascript", "image/svg+xml"}
    assert all("?v=" in path for path in assets)
    assert client.get(assets[0]).headers["cache-control"] == "public, max-age=86400"
    assert client.get("/").headers["cache-control"] == "no-store"
