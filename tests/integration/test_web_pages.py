"""The pages: what each says, and that whatever came from outside stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from factory_values import HOSTILE, artifact
from monitor.domain import Cell, CellResult, Standing, Sweep, Tier, Worth
from monitor.steps.station import Station
from monitor.store.queries import beats, releases, runs, sweeps
from monitor.web.app import create_app
from standins.web import CHECK, SECRET_ADDRESS, TOKEN, Past, Recorder, empty_station, station

ADDRESS = "http://127.0.0.1:8640"
HARMLESS = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
_INLINE = frozenset({"a", "abbr", "b", "code", "small", "span", "time"})
_VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})


class Page(HTMLParser):
    """Tags and readable text of a page; refuses one that is not well formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "br":
            self.texts.append(" ")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag not in _INLINE:
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def links(self) -> set[str]:
        return {attrs["href"] or "" for tag, attrs in self.tags if tag == "a" and attrs.get("href")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Station, Past]]:
    with station(tmp_path_factory.mktemp("web")) as (found, past):
        app = create_app(found, actions=Recorder())
        yield TestClient(app, base_url=ADDRESS, follow_redirects=False), found, past


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[tuple[TestClient, Station]]:
    """Yield a service in which nothing has happened yet."""
    with empty_station(tmp_path, token=None) as found:
        yield TestClient(create_app(found, actions=Recorder()), base_url=ADDRESS), found


def page(client: TestClient, path: str, status: int = 200) -> Page:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


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
    quiet: tuple[TestClient, Station],
) -> None:
    client, found = quiet
    text = page(client, "/").text
    assert "The service is not well" in text
    assert "`poll` has never run." in text
    now = found.clock()
    with found.store.write() as db:
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


def test_a_run_shows_the_sections_of_the_report(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    answer = client.get(f"/runs/{past.regressed}")
    report = client.get(f"/runs/{past.regressed}/report.html")
    assert report.headers["content-disposition"] == (
        f'attachment; filename="mtp-monitor-run-{past.regressed}.html"'
    )
    sections = [
        re.findall(r"<h3>(.*?)</h3>", text[text.index("<article") : text.index("</article>")])
        for text in (answer.text, report.text)
    ]
    assert sections[0] == sections[1]
    assert "The three factors of the speedup" in sections[0]
    text = Page(answer.text).text
    assert "judging → confirming" in text
    assert "Samples: confirm-reference" in text
    assert f"incident {past.open}" in text


def test_a_run_on_its_way_says_what_it_waits_for(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    text = page(client, f"/runs/{past.waiting}").text
    assert "It waits: outside the host's hours (22:00-06:00)" in text
    assert "No verdict yet" in text
    assert "data-refresh" in client.get(f"/runs/{past.working}").text


def test_a_log_is_plain_text_without_colours(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    answer = client.get(f"/runs/{past.hostile}/log.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text.startswith("loading the model\n</script><script>alert(1)")
    assert "\x1b" not in answer.text
    assert "\x00" not in answer.text
    assert answer.text.endswith("error: \ufffd unknown tensor\n")
    assert page(client, f"/runs/{past.regressed}/log.txt", 404).text.count("No engine log") == 1


def test_a_long_log_is_cut_to_its_end(quiet: tuple[TestClient, Station]) -> None:
    client, found = quiet
    folder = found.settings.logs_dir / "run-7"
    folder.mkdir(parents=True)
    (folder / "candidate-0000-mtp.log").write_bytes(b"x" * 3_000_000 + b"\nthe end\n")
    answer = client.get("/runs/7/log.txt")
    assert len(answer.content) <= 256 * 1024
    assert answer.text.endswith("the end\n")


def test_two_runs_compare_by_the_stored_verdict_or_by_one_made_now(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    bad, good, older = past.regressed, past.runs["0.2.40"], past.runs["0.2.36"]
    stored = page(client, f"/compare?reference={good}&candidate={bad}").text
    assert "the stored verdict" in stored
    assert "9 of 33 rows" in stored
    assert f"mtp-monitor judge run-{bad}/reference.jsonl run-{bad}/candidate.jsonl --confirm" in stored
    assert "The smallest change that counts." in client.get(f"/compare?reference={good}&candidate={bad}").text
    now = page(client, f"/compare?reference={older}&candidate={bad}&show=gating&workload=each").text
    assert "judged now" in now
    assert "Nobody was told of it." in now
    assert f"mtp-monitor judge run-{older}/candidate.jsonl run-{bad}/candidate.jsonl" in now
    assert "Start-up time" not in now
    assert "Acceptance length prose" in now


def test_runs_that_do_not_compare_say_so(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    other = page(client, f"/compare?reference={past.hostile}&candidate={past.regressed}", 404).text
    assert "of different checks or hosts" in other
    empty = page(client, f"/compare?reference={past.waiting}&candidate={past.regressed}", 404).text
    assert f"Nothing was measured in run {past.waiting}" in empty


def test_a_series_shows_every_run_its_reference_and_its_epochs(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    found = page(client, "/series?project=xllamacpp")
    chart = next(attrs for tag, attrs in found.tags if tag == "svg" and attrs.get("class") == "chart")
    assert chart["role"] == "img"
    text = found.text
    assert "9 runs, from 1.1" in text
    assert "epoch 2 began: the kernel changed from 6.12.7 to 6.12.8" in text
    assert f"/compare?reference={past.runs['0.2.40']}&candidate={past.regressed}" in found.links()
    code = page(client, "/series?metric=acceptance_rate&workload=code").text
    assert "workload code" in code
    assert re.search(r"0\.2\.41 ▼ Regressed 30\.\d %", code)
    assert "exact" in code
    page(client, "/series?metric=gpu_memory", 404)
    page(client, "/series?project=nothing", 404)


def test_a_series_says_what_to_run_and_why_the_others_are_not_advised(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    page = Page(client.get("/series?project=xllamacpp").text)
    assert "What to run Run xllamacpp 0.2.40 with MTP." in page.text
    assert "Last known good 0.2.40 Fastest with MTP 0.2.40" in page.text
    assert f"0.2.41 regressed (incident {past.open})" in page.text
    assert "0.2.38 does not run does not start" in page.text


def test_a_sweep_stands_on_the_page_of_its_series(quiet: tuple[TestClient, Station]) -> None:
    client, found = quiet
    cells = [
        CellResult(
            cell=Cell(f"n{length}", length, {}, "x", "y"),
            standing=standing,
            sessions=4,
            mtp_rate=200.0,
            speedup=speedup,
            speedup_low=speedup - 0.02,
            speedup_high=speedup + 0.02,
            worth=Worth.PAYS,
            acceptance_rate=0.6,
            acceptance_length=2.4,
            step_time_s=0.01,
            change_percent=None,
            change_low=None,
            change_high=None,
            reason=HOSTILE if standing is Standing.FAILED else "",
        )
        for length, standing, speedup in (
            (2, Standing.BEST, 1.7),
            (3, Standing.SLOWER, 1.5),
            (4, Standing.FAILED, 1),
        )
    ]
    with found.store.write() as db:
        run = runs.create(
            db,
            check=CHECK,
            artifact=artifact("1.0"),
            host=found.host,
            tier=Tier.QUICK,
            requested_by="x",
            now=found.clock(),
        )
        sweeps.save(
            db,
            Sweep(
                id=run.id,
                check_id=CHECK.id,
                check_digest=CHECK.digest,
                project="xllamacpp",
                version="1.0",
                artifact_sha256="s",
                machine_id=found.host.machine_id,
                current=3,
                made_at=found.clock(),
                blocks=4,
                decided=True,
                baseline_rate=120.0,
                baseline_sessions=4,
                floor=0.02,
                chosen=cells[0].cell,
                cells=tuple(cells),
            ),
        )
    page = Page(client.get(f"/series?project=xllamacpp&check={CHECK.id}").text)
    assert "Use draft length 2 on xllamacpp 1.0 here: a speedup of 1.70× (1.68 to 1.72×)." in page.text
    assert "The check uses 3." in page.text
    assert HARMLESS in page.text
    (told,) = client.get("/api/v1/sweeps").json()["sweeps"]
    assert told["chosen"]["draft_length"] == 2


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
    quiet: tuple[TestClient, Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, found = quiet

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("a canary in the traceback")

    monkeypatch.setattr(releases, "all_of", broken)
    with TestClient(
        create_app(found, actions=Recorder()), base_url=ADDRESS, raise_server_exceptions=False
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
