"""The JSON API: documents with a schema that hold the facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from monitor import sample_file
from monitor.errors import StoreBusyError
from monitor.steps.station import Station
from monitor.store import Store
from monitor.store.queries import runs
from standins.web import CHECK, Past, Recorder
from standins.web_reading import client_of, document


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


def test_an_infinite_number_becomes_null(site: tuple[TestClient, Station, Past]) -> None:
    client, _, past = site
    for number in past.runs.values():
        json.loads(client.get(f"/api/v1/runs/{number}").text, parse_constant=pytest.fail)
