"""Changes through the JSON API: who asks for them and why, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from factory_values import NOW
from monitor.alerts.actions import IncidentActions
from monitor.domain import IncidentState, RunState
from monitor.errors import StoreError, UnknownNameError
from monitor.steps.station import Station
from monitor.store.queries import incidents, runs
from standins.web import CHECK, Past, Recorder, station
from standins.web_reading import BEARER, client_of, document

BODY = {"who": "Ada", "why": "known to upstream"}


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
