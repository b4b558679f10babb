"""The status page of a machine with a GPU: what it is, why nothing is measured on it, and its release."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from monitor.gpu.identity import read_gpus
from monitor.steps import gpu
from monitor.steps.station import Station
from monitor.store.queries import quarantines
from standins import nvml
from standins.web import TOKEN, Recorder
from standins.web_reading import client_of


@pytest.fixture
def machine(quiet: Station, monkeypatch: pytest.MonkeyPatch) -> tuple[Station, nvml.Driver]:
    driver = nvml.install(monkeypatch)
    quiet.host = replace(quiet.host, gpu=read_gpus()[0])
    return quiet, driver


def test_the_page_and_the_api_say_what_the_gpu_is_and_does(machine: tuple[Station, nvml.Driver]) -> None:
    station, driver = machine
    driver.cards[0].processes = [4711]
    page = client_of(station, Recorder()).get("/status").text
    assert nvml.WORKSTATION in page
    assert "May be measured on." in page
    assert "4711" in page
    facts = client_of(station, Recorder()).get("/api/v1/status").json()["gpu"]
    assert facts["facts"]["power_limit_w"] == 600.0
    assert facts["now"]["processes"] == [4711]
    assert "mtp_monitor_gpu_held 0.0" in client_of(station, Recorder()).get("/metrics").text


def test_a_gpu_in_quarantine_is_released_by_somebody_who_says_why(
    machine: tuple[Station, nvml.Driver],
) -> None:
    station, _ = machine
    with station.store.write() as db:
        quarantines.begin(
            db,
            station.host.machine_id,
            gpu="GPU-1",
            reason="Memory <b>did not</b> come back.",
            now=station.clock(),
        )
    client = client_of(station, Recorder())
    page = client.get("/status").text
    assert "Nothing is measured on it." in page
    assert "Memory &lt;b&gt;did not&lt;/b&gt; come back." in page
    assert "/gpu/release" not in page, "only for those who are logged in"
    assert client.post("/gpu/release", data={"who": "a", "why": "b"}).status_code in {401, 403}

    client.post("/login", data={"token": TOKEN, "to": "/"})
    page = client.get("/status").text
    found = re.search(r'action="/gpu/release".*?name="csrf" value="([0-9a-f]{64})"', page, re.DOTALL)
    assert found
    without = client.post("/gpu/release", data={"csrf": found[1], "who": "ada", "why": ""})
    assert without.status_code == 422
    done = client.post("/gpu/release", data={"csrf": found[1], "who": "ada", "why": "restarted"})
    assert (done.status_code, done.headers["location"]) == (303, "/status#gpu")
    assert gpu.quarantined(station) is None
    with station.store.read() as db:
        (kept,) = quarantines.newest(db, station.host.machine_id, limit=5)
    assert (kept.who, kept.why) == ("ada", "restarted")


def test_a_lost_gpu_is_said_and_the_page_still_answers(machine: tuple[Station, nvml.Driver]) -> None:
    station, driver = machine
    driver.fail("*", "GPU_IS_LOST")
    answer = client_of(station, Recorder()).get("/status")
    assert answer.status_code == 200
    assert "GPU is lost" in answer.text
