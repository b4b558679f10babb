"""A GPU in quarantine, and the end of it, reach the people: once each, whoever ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import MessageType
from monitor.pipeline import Station
from monitor.settings import DestinationSettings
from monitor.steps import gpu
from monitor.store.queries import beats, quarantines
from standins.receivers import Receiver, SlackStandIn
from standins.service import World, check

SECRET = "whsec_bXRwLW1vbml0b3ItdGVzdC1zZWNyZXQtMzItYnl0ZXM="
REASON = "the engine has ended, and its memory on the GPU did not come back"


def fault(station: Station, reason: str = REASON) -> None:
    with station.store.write() as db:
        quarantines.begin(db, station.host.machine_id, gpu="GPU-1", reason=reason, now=station.clock())


def told_of_gpu(receiver: Receiver) -> list[dict[str, Any]]:
    return [post.json for post in receiver.posts if post.json.get("type", "").startswith("gpu.")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, checks=(check(),), gpu={"uuid": "GPU-1"})


def destinations(webhook: Receiver, *slack: Receiver) -> dict[str, Any]:
    hook = DestinationSettings(name="hook", kind="webhook", url=webhook.url, secret=SECRET)
    chat = [DestinationSettings(name="chat", kind="slack", url=one.url) for one in slack]
    return {"allow_private_hosts": ("127.0.0.1",), "destinations": (hook, *chat)}


def test_a_quarantine_and_its_end_are_told_once_each_to_every_destination(world: World) -> None:
    with (
        Receiver() as webhook,
        SlackStandIn() as slack,
        world.station(**destinations(webhook, slack)) as station,
    ):
        fault(station)
        for _ in range(3):
            pipeline.tell(station)
            world.wait(minutes=5)
        (begun,) = told_of_gpu(webhook)
        gpu.release(station, who="ada", why="restarted the machine")
        for _ in range(3):
            pipeline.tell(station)
            world.wait(minutes=5)

    _, ended = told_of_gpu(webhook)
    assert (begun["type"], ended["type"]) == ("gpu.quarantined", "gpu.released")
    assert "Nothing is measured on the GPU" in begun["data"]["headline"]
    assert "memory on the GPU did not come back" in begun["data"]["headline"]
    assert begun["data"]["command"] == "mtp-monitor gpu release --reason TEXT"
    assert (begun["data"]["gpu"], begun["data"]["released_at"]) == ("GPU-1", None)
    assert (ended["data"]["who"], ended["data"]["why"]) == ("ada", "restarted the machine")
    assert ended["data"]["headline"].endswith("is measured on again. ada: restarted the machine.")
    first, second = (post.json for post in slack.posts)
    assert "In quarantine" in str(first["blocks"])
    assert "Measured on again" in str(second["blocks"])


def test_a_restart_tells_nothing_again_and_the_next_quarantine_is_news(world: World) -> None:
    with Receiver() as webhook:
        with world.station(**destinations(webhook)) as station:
            fault(station)
            pipeline.tell(station)
        with world.station(**destinations(webhook)) as station:
            pipeline.tell(station)
            gpu.release(station, who="ada", why="restarted")
            fault(station, "it was lost")
            pipeline.tell(station)
    assert [item["type"] for item in told_of_gpu(webhook)] == ["gpu.quarantined"] * 2
    assert "It was lost" in told_of_gpu(webhook)[1]["data"]["reason"]


def test_what_began_and_ended_before_anybody_could_be_told_is_not_told(world: World) -> None:
    with Receiver() as webhook, world.station(**destinations(webhook)) as station:
        fault(station)
        gpu.release(station, who="ada", why="restarted")
        pipeline.tell(station)
    assert told_of_gpu(webhook) == []


def test_a_destination_that_wants_none_gets_none_and_it_counts_as_told(world: World) -> None:
    with Receiver() as webhook:
        hook = DestinationSettings(
            name="hook",
            kind="webhook",
            url=webhook.url,
            secret=SECRET,
            events=(MessageType.INCIDENT_OPENED,),
        )
        with world.station(allow_private_hosts=("127.0.0.1",), destinations=(hook,)) as station:
            fault(station)
            pipeline.tell(station)
            with station.store.read() as db:
                assert [beat.failures for beat in beats.all_of(db) if beat.error] == [1]
    assert webhook.posts == []
