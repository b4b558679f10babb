"""The pages of a run: its report, its log, and how it compares with another."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from monitor.steps.station import Station
from standins.web import Past, Recorder
from standins.web_reading import Page, client_of, page


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


def test_a_long_log_is_cut_to_its_end(quiet: Station) -> None:
    client = client_of(quiet, Recorder())
    folder = quiet.settings.logs_dir / "run-7"
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
