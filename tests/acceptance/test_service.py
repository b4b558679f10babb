"""The service by itself: a release appears on the index, and people are told of what it lost."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import CHECK, House, engines_of
from acceptance.service import SECRET, Service, configuration, publish, serving
from monitor.planted.wheels import Fault, plant
from standins.index import IndexServer
from standins.receivers import SlackStandIn, WebhookReceiver, as_shown, texts_of


@pytest.fixture
def index() -> Iterator[IndexServer]:
    with IndexServer() as serving_index:
        yield serving_index


def test_a_release_is_noticed_measured_judged_and_told_with_no_other_input(
    index: IndexServer, wheel: Path, tmp_path: Path
) -> None:
    with WebhookReceiver(SECRET) as webhook, SlackStandIn() as slack:
        extra, variables = configuration(webhook.url, slack.url)
        house = House.build(tmp_path / "house", index=index.url, extra=extra)
        house.environment |= variables
        quiet = publish(index, wheel, Fault.QUIET, tmp_path)

        with serving(house) as service:
            assert service.run_of(quiet)["verdict"] == "unchanged"
            worse = publish(index, wheel, Fault.WORSE_HEAD, tmp_path)
            assert service.run_of(worse)["verdict"] == "regressed"
            message = service.wait(lambda: next(iter(webhook.messages.values()), None), "the webhook")
            service.wait(lambda: slack.posts, "the message in Slack")
            _told(message, worse)
            _readable(slack.posts[0].json, worse)
            _shown(service, worse)
            _refused(house)
            _followed(house, quiet, service)

        before = (len(webhook.messages), len(slack.posts))
        with serving(house) as service:
            service.wait(lambda: _polled_twice(service), "two more looks at the index")
            assert (len(webhook.messages), len(slack.posts)) == before
            assert len(service.get("/api/v1/runs")["runs"]) == 2
            again = _uploaded_again(index, wheel, tmp_path)
            runs = service.wait(
                lambda: [
                    run
                    for run in service.get("/api/v1/runs")["runs"]
                    if run["version"] == quiet and run["state"] == "done" and run["artifact_sha256"] == again
                ],
                "the run of the new file",
            )
            assert len(runs) == 1
    assert engines_of(house) == []


def _told(message: Any, version: str) -> None:
    assert message["type"] == "incident.opened"
    (incident,) = message["data"]["incidents"]
    assert message["data"]["release"]["version"] == version
    assert message["data"]["release"]["planted"] is True
    assert incident["signature"] == "acceptance drop"


def _readable(payload: Any, version: str) -> None:
    text = as_shown("\n".join(text for block in payload["blocks"] for text in texts_of(block)))
    assert version in text
    assert "cceptance" in text
    assert payload["text"]


def _shown(service: Service, version: str) -> None:
    overview = service.get("/")
    assert "acceptance drop" in overview
    assert version in service.get("/releases")
    assert "acceptance drop" in service.get("/incidents/1")
    (incident,) = service.get("/api/v1/incidents")["incidents"]
    assert incident["state"] == "open"
    assert service.get("/healthz")["well"] is True


def _refused(house: House) -> None:
    second = house.run("watch", "--once", code=1)
    assert "has a daemon already" in second.stderr


def _followed(house: House, quiet: str, service: Service) -> None:
    """`run` beside the daemon: it is put in the queue, and its end is waited for."""
    spec = f"xllamacpp=={quiet}"
    document = house.json("run", CHECK, "--release", spec)
    assert (document["state"], document["judgement"]["verdict"]) == ("done", "unchanged")
    assert service.process.poll() is None


def _polled_twice(service: Service) -> bool:
    sources = service.get("/api/v1/status")["sources"]
    time.sleep(7)
    return bool(service.get("/api/v1/status")["sources"] != sources)


def _uploaded_again(index: IndexServer, wheel: Path, folder: Path) -> str:
    """Put another file of the quiet release on the index: the same version, another build, other bytes."""
    made = plant(wheel, Fault.QUIET, folder / "again")
    name, version, tags = made.name.split("-", 2)
    with zipfile.ZipFile(made, "a") as archive:
        archive.comment = b"built again"
    return index.add("xllamacpp", f"{name}-{version}-1-{tags}", made.read_bytes())
