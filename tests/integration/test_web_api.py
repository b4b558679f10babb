"""The JSON API, /healthz and /metrics: documents with a schema, and the truth about the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from factory_values import NOW
from monitor import sample_file
from monitor.alerts.actions import IncidentActions
from monitor.domain import IncidentState, RunState
from monitor.errors import StoreBusyError, StoreError, UnknownNameError
from monitor.steps.station import Station
from monitor.store import Store
from monitor.store.queries import beats, incidents, runs
from monitor.web.app import create_app
from standins.web import CHECK, TOKEN, Past, Recorder, empty_station, station

BEARER = {"authorization": f"Bearer {TOKEN}"}
BODY = {"who": "Ada", "why": "known to upstream"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Station, Past]]:
    """Yield a filled service that no test changes."""
    with station(tmp_path_factory.mktemp("api")) as (found, past):
        yield client_of(found, Recorder()), found, past


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Station]:
    with empty_station(tmp_path) as found:
        yield found


def client_of(found: Station, actions: Any, clock: Callable[[], datetime] | None = None) -> TestClient:
    return TestClient(create_app(found, actions=actions, clock=clock), base_url="http://localhost")


def document(client: TestClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


# ---------------------------------------------------------------------------------------------
# Reading


def test_every_document_names_its_schema_and_keeps_what_the_description_promises(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    described = document(client, "/api/v1/openapi.json")
    addresses = {
        "/api/v1/overview": "/api/v1/overview",
        "/api/v1/advice": "/api/v1/advice",
        "/api/v1/sweeps": "/api/v1/sweeps",
        "/api/v1/releases": "/api/v1/releases?progress=measured",
        "/api/v1/releases/{project}/{version}": "/api/v1/releases/xllamacpp/0.2.41",
        "/api/v1/runs": "/api/v1/runs?limit=3",
        "/api/v1/runs/{run_id}": f"/api/v1/runs/{past.regressed}",
        "/api/v1/compare": f"/api/v1/compare?reference={past.runs['0.2.40']}&candidate={past.regressed}",
        "/api/v1/series": "/api/v1/series?project=xllamacpp&metric=step_time",
        "/api/v1/incidents": "/api/v1/incidents",
        "/api/v1/incidents/{incident_id}": f"/api/v1/incidents/{past.open}",
        "/api/v1/incidents/{incident_id}/upstream": f"/api/v1/incidents/{past.open}/upstream",
        "/api/v1/bisections": "/api/v1/bisections?state=running",
        "/api/v1/bisections/{bisection_id}": f"/api/v1/bisections/{past.bisected}",
        "/api/v1/gate": "/api/v1/gate?release=xllamacpp==0.2.41&check=" + CHECK.id,
        "/api/v1/status": "/api/v1/status",
        "/healthz": "/healthz",
    }
    reading = {path for path, item in described["paths"].items() if "get" in item}
    assert reading == {*addresses, "/api/v1/runs/{run_id}/samples"}
    for path, address in addresses.items():
        found = document(client, address)
        assert found["schema"].startswith(("mtp-monitor/api/", "mtp-monitor/gate/"))
        promised = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        jsonschema.validate(found, {**promised["schema"], "components": described["components"]})


def test_the_documents_hold_the_facts(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    standing = document(client, "/api/v1/overview")["standings"][0]
    assert (standing["project"], standing["latest"]["id"]) == ("xllamacpp", past.regressed)
    assert standing["latest"]["verdict"] == "regressed"
    assert standing["incidents"] == [past.open]
    assert standing["next"]["id"] == past.waiting
    assert standing["advice"]["to_run"]["version"] == "0.2.40"
    advised = document(client, f"/api/v1/advice?check={standing['check']}")["advice"]
    assert [one["summary"] for one in advised] == ["Run xllamacpp 0.2.40 with MTP."]
    assert document(client, "/api/v1/advice?check=nothing", 404)["error"]
    searching = document(client, "/api/v1/status")["bisections"]
    assert [(one["id"], one["state"], one["steps_left"]) for one in searching] == [
        (past.searching, "running", 0)
    ]
    began = document(client, f"/api/v1/incidents/{past.open}")["bisection"]
    assert (began["id"], began["last_good"], began["first_bad"]) == (past.bisected, "0.2.40", "0.2.41")
    run = document(client, f"/api/v1/runs/{past.regressed}")
    assert run["judgement"]["confirmed"] is True
    assert [step["target"] for step in run["history"]][-1] == "done"
    assert run["history"][0]["at"].endswith("Z")
    points = document(client, "/api/v1/series?project=xllamacpp")["points"]
    assert [point["version"] for point in points][-3:] == ["0.2.41", "0.2.42", "0.2.43"]
    assert points[-3]["reference_run_id"] == past.runs["0.2.40"]
    told = document(client, f"/api/v1/incidents/{past.open}/upstream")
    assert "xllamacpp==0.2.41" in told["script"]
    assert len(told["expected"]) == 4
    assert document(client, f"/api/v1/incidents/{past.acknowledged}/upstream", 404)["advice"]
    incident = document(client, f"/api/v1/incidents/{past.acknowledged}")
    assert [step["action"] for step in incident["log"]] == ["opened", "acknowledged"]
    assert document(client, "/api/v1/incidents")["counts"]["open"] == 1


def test_runs_are_listed_page_by_page_and_none_is_lost(site: tuple[TestClient, Station, Past]) -> None:
    client, found, _ = site
    seen: list[int] = []
    address: str | None = "/api/v1/runs?limit=5"
    while address:
        answer = document(client, address)
        seen += [run["id"] for run in answer["runs"]]
        before = answer["next_before"]
        address = f"/api/v1/runs?limit=5&before={before}" if before else None
    with found.store.read() as db:
        assert seen == [run.id for run in runs.recent(db, limit=100)]
    failed = document(client, "/api/v1/runs?state=failed&project=vllm")["runs"]
    assert [run["check"] for run in failed] == ["synthetic-qwen35-tiny"]


def test_samples_are_a_sample_file_that_can_be_read_again(
    site: tuple[TestClient, Station, Past], tmp_path: Path
) -> None:
    client, _, past = site
    for part, sessions in (("candidate", 8), ("confirm-reference", 4)):
        answer = client.get(f"/api/v1/runs/{past.regressed}/samples?part={part}")
        assert answer.headers["content-type"] == "application/jsonl"
        path = tmp_path / f"{part}.jsonl"
        path.write_bytes(answer.content)
        assert len(sample_file.read(path).sessions) == sessions
    error = document(client, f"/api/v1/runs/{past.runs['0.2.33']}/samples?part=reference", 404)
    assert error["advice"] == "it has: candidate"


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("/api/v1/runs/99999", 404, "There is no run 99999."),
        ("/api/v1/incidents/99999", 404, "There is no incident 99999."),
        ("/api/v1/runs/0", 422, "run_id"),
        ("/api/v1/runs?limit=100000", 422, "limit"),
        ("/api/v1/series?metric=charm", 422, "metric"),
        ("/api/v1/series?metric=energy_per_token", 404, "no series of energy_per_token"),
        ("/api/v1/nothing", 404, "Nothing lies at this address."),
    ],
)
def test_a_mistake_is_a_document_too(
    address: str, status: int, says: str, site: tuple[TestClient, Station, Past]
) -> None:
    client, _, _ = site
    error = document(client, address, status)
    assert error["schema"] == "mtp-monitor/api/error/1"
    assert says in error["error"]


def test_a_store_that_is_busy_is_worth_another_try(quiet: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(quiet, Recorder())

    def busy(_store: Store) -> Any:
        raise StoreBusyError("The database is locked.", advice="try again")

    monkeypatch.setattr(Store, "read", busy)
    error = document(client, "/api/v1/runs", 503)
    assert (error["error"], error["advice"]) == ("The database is locked.", "try again")


# ---------------------------------------------------------------------------------------------
# Changing


@pytest.mark.parametrize(
    ("action", "body", "asked"),
    [
        ("acknowledge", BODY, ("acknowledge",)),
        ("resolve", BODY, ("resolve",)),
        ("accept", BODY, ("accept",)),
        ("false-alarm", BODY, ("false_alarm",)),
        ("reopen", BODY, ("reopen",)),
        ("snooze", BODY | {"until": "2026-11-27T06:00:00+02:00"}, ("snooze", NOW.replace(day=27, minute=0))),
    ],
)
def test_a_change_is_passed_on_with_who_and_why(
    action: str, body: dict[str, str], asked: tuple[Any, ...], site: tuple[TestClient, Station, Past]
) -> None:
    _, found, past = site
    recorder = Recorder()
    answer = client_of(found, recorder).post(
        f"/api/v1/incidents/{past.open}/{action}", json=body, headers=BEARER
    )
    assert answer.status_code == 200
    assert answer.json()["schema"] == "mtp-monitor/api/incident/1"
    name, *rest = asked
    assert recorder.asked == [(name, past.open, "Ada", "known to upstream", *rest)]


@pytest.mark.parametrize(
    "body",
    [
        {"who": "Ada", "why": "  "},
        {"who": "", "why": "because"},
        {"who": "Ada"},
        {"who": "Ada", "why": "x" * 2001},
        BODY | {"state": "resolved"},
        [],
    ],
)
def test_a_change_without_a_name_or_a_reason_is_refused(
    body: Any, site: tuple[TestClient, Station, Past]
) -> None:
    _, found, past = site
    recorder = Recorder()
    answer = client_of(found, recorder).post(
        f"/api/v1/incidents/{past.open}/resolve", json=body, headers=BEARER
    )
    assert answer.status_code == 422
    assert recorder.asked == []


def test_a_snooze_needs_a_moment_with_its_zone(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    for until in ("2026-11-27T06:00:00", "tomorrow"):
        answer = client.post(
            f"/api/v1/incidents/{past.open}/snooze", json=BODY | {"until": until}, headers=BEARER
        )
        assert answer.status_code == 422
        assert "until" in answer.json()["error"]


def test_a_change_that_does_not_fit_is_a_conflict_and_an_unknown_incident_is_not_found(
    site: tuple[TestClient, Station, Past],
) -> None:
    _, found, past = site
    recorder = Recorder()
    recorder.refuse = UnknownNameError("Incident 1 is resolved.", kept="the incident as it is")
    client = client_of(found, recorder)
    answer = client.post(f"/api/v1/incidents/{past.open}/acknowledge", json=BODY, headers=BEARER)
    assert (answer.status_code, answer.json()["kept"]) == (409, "the incident as it is")
    gone = client.post("/api/v1/incidents/99999/acknowledge", json=BODY, headers=BEARER)
    assert gone.status_code == 404
    recorder.refuse = StoreError("Delivery 2 is pending.")
    assert client.post("/api/v1/deliveries/2/replay", headers=BEARER).status_code == 409


def test_the_real_actions_move_an_incident_and_its_log_keeps_it(tmp_path: Path) -> None:
    with station(tmp_path) as (found, past):
        client = client_of(found, IncidentActions(found))
        address = f"/api/v1/incidents/{past.open}"
        moved = client.post(f"{address}/acknowledge", json=BODY, headers=BEARER).json()
        assert moved["incident"]["state"] == "acknowledged"
        again = client.post(f"{address}/reopen", json=BODY, headers=BEARER)
        assert again.status_code == 409
        replayed = client.post(f"/api/v1/deliveries/{past.dead}/replay", headers=BEARER)
        assert (replayed.status_code, replayed.json()["delivery"]) == (202, past.dead)
        assert client.post(f"/api/v1/deliveries/{past.dead}/replay", headers=BEARER).status_code == 409
        with found.store.read() as db:
            assert [step.who for step in incidents.log(db, past.open)] == ["monitor", "Ada"]
            kept = incidents.get(db, past.open)
        assert kept is not None
        assert kept.state is IncidentState.ACKNOWLEDGED


def test_a_run_is_put_in_the_queue_and_found_under_its_number(tmp_path: Path) -> None:
    with station(tmp_path) as (found, _):
        client = client_of(found, Recorder())
        order = {"check": CHECK.id, "release": "xllamacpp==0.2.44"}
        answer = client.post("/api/v1/runs", json=order, headers=BEARER)
        assert answer.status_code == 202, answer.text
        number = answer.json()["run"]
        run = document(client, answer.headers["location"])["run"]
        assert (run["id"], run["version"], run["state"]) == (number, "0.2.44", "planned")
        assert run["requested_by"] == "API"
        with found.store.read() as db:
            assert any(item.id == number for item in runs.in_state(db, [RunState.PLANNED]))
        unknown = client.post("/api/v1/runs", json=order | {"release": "xllamacpp==9"}, headers=BEARER)
        assert unknown.status_code == 422
        assert "xllamacpp==9" in unknown.json()["error"]


# ---------------------------------------------------------------------------------------------
# Health


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


def test_an_infinite_number_becomes_null(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    for number in past.runs.values():
        json.loads(client.get(f"/api/v1/runs/{number}").text, parse_constant=pytest.fail)
