"""/healthz and /metrics: the truth about the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from factory_values import NOW
from monitor.errors import StoreError
from monitor.steps.station import Station
from monitor.store import Store
from monitor.store.queries import beats
from standins.web import Past, Recorder, station
from standins.web_reading import client_of, document


def beat(found: Station, part: str, begun: timedelta, ended: timedelta | None, **other: Any) -> None:
    """Let a part have begun (and ended) a round so long ago."""
    with found.store.write() as db:
        beats.begin(db, part, pid=other.get("pid", 1), now=NOW - begun)
        if ended is not None:
            beats.end(db, part, error=other.get("error", ""), now=NOW - ended)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_health_is_good_only_when_every_part_has_shown_itself(quiet: Station) -> None:
    client = client_of(quiet, Recorder())
    silent = document(client, "/healthz", 503)
    assert silent["reasons"] == [f"`{part}` has never run." for part in ("poll", "work", "deliver")]
    for part in ("poll", "work", "deliver"):
        beat(quiet, part, minutes(2), minutes(1))
    well = document(client, "/healthz")
    assert (well["well"], well["reasons"]) == (True, [])
    assert {part["name"] for part in well["parts"]} == {"poll", "work", "deliver"}


@pytest.mark.parametrize(
    ("part", "begun", "ended", "well"),
    [
        ("poll", 45, 44, True),
        ("poll", 47, 46, False),  # three looks of 15 minutes were missed
        ("poll", 50, None, False),  # it hangs
        ("deliver", 5, 4.9, True),
        ("deliver", 6, 5.1, False),
        ("work", 15, 14.9, True),
        ("work", 20, 16, False),
        ("work", 5 * 60, None, True),  # a round may take hours
        ("work", 7 * 60, None, False),  # but not without any progress
    ],
)
def test_a_part_that_is_silent_for_too_long_is_named(
    part: str, begun: float, ended: float | None, well: bool, quiet: Station
) -> None:
    for name in ("poll", "work", "deliver"):
        beat(quiet, name, minutes(1), minutes(0.5))
    beat(quiet, part, minutes(begun), None if ended is None else minutes(ended))
    found = document(client_of(quiet, Recorder()), "/healthz", 200 if well else 503)
    assert [reason.split("`")[1] for reason in found["reasons"]] == ([] if well else [part])


def test_a_round_of_a_process_that_is_gone_is_no_health(quiet: Station) -> None:
    for part in ("poll", "deliver"):
        beat(quiet, part, minutes(1), minutes(0.5))
    beat(quiet, "work", minutes(30), None, pid=2**22 + 1)
    [reason] = document(client_of(quiet, Recorder()), "/healthz", 503)["reasons"]
    assert "which is gone" in reason


def test_progress_of_a_run_counts_as_a_sign_of_life(tmp_path: Path) -> None:
    with station(tmp_path) as (found, _):
        # The round began long ago; its run moved on six minutes before.
        beat(found, "work", minutes(30 * 60), None)
        assert document(client_of(found, Recorder()), "/healthz")["well"] is True
        later = client_of(found, Recorder(), clock=lambda: NOW + timedelta(hours=7))
        reasons = document(later, "/healthz", 503)["reasons"]
        assert any("`work` has made no progress since 2026-11-24 03:59 UTC" in one for one in reasons)


def test_one_failed_round_is_no_illness_but_three_are(quiet: Station) -> None:
    client = client_of(quiet, Recorder())
    for part in ("poll", "work"):
        beat(quiet, part, minutes(1), minutes(0.5))
    for expected in (200, 200, 503):
        beat(quiet, "deliver", minutes(1), minutes(0.5), error="KeyError: 'x'")
        found = document(client, "/healthz", expected)
    assert found["reasons"] == ["`deliver` failed 3 times in a row: KeyError: 'x'."]


def test_a_store_that_does_not_answer_is_a_reason(quiet: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(quiet, Recorder())

    def broken(_store: Store) -> Any:
        raise StoreError("The database is damaged.")

    monkeypatch.setattr(Store, "read", broken)
    found = document(client, "/healthz", 503)
    assert found["reasons"] == ["The store does not answer: The database is damaged."]
    assert client.get("/metrics").status_code == 503


def test_metrics_can_be_scraped_and_say_the_same(site: tuple[TestClient, Station, Past]) -> None:
    client, _, _ = site
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = {
        (sample.name.removeprefix("mtp_monitor_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert values["healthy",] == 1
    assert values["incidents", "open"] == 1
    assert values["deliveries", "dead", "pager"] == 1
    assert values["queue_working_runs",] == 1
    assert values["runs", "failed"] == 2
    assert values["verdict", "regressed", "synthetic-qwen35-cpu", "xllamacpp"] == 1
    assert 1 < values["speedup", "synthetic-qwen35-cpu", "xllamacpp"] < 1.3
    assert 1.6 < values["reference_speedup", "synthetic-qwen35-cpu", "xllamacpp"] < 1.75
    assert values["source_failures", "stable", "vllm"] == 1
    assert values["part_beat_timestamp_seconds", "work"] == (NOW - minutes(18)).timestamp()
