"""Messages reach Slack: one a second, and each of its answers is understood."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from factory_values import host
from monitor.alerts import slack
from monitor.alerts.deliver import Delivered, deliver
from monitor.alerts.render import incident_data, stale_data
from monitor.domain import Delivery, DeliveryState, MessageType
from monitor.settings_tables import DestinationSettings
from monitor.store import Store
from monitor.store.queries import outbox
from standins.messages import PUBLIC_URL, opened, readable
from standins.receivers import Answer, Receiver, SlackStandIn, as_shown

LOCAL = ("127.0.0.1",)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


@pytest.fixture
def workspace() -> Iterator[SlackStandIn]:
    with SlackStandIn() as server:
        yield server


def destination(name: str, url: str, kind: str = "slack") -> DestinationSettings:
    return DestinationSettings.model_validate({"name": name, "kind": kind, "url": url, "secret": SECRET})


def write(store: Store, *names: str, data: dict[str, Any] | None = None) -> None:
    kind = MessageType.INCIDENT_OPENED if data else MessageType.SERVICE_STALE
    told = data or stale_data(["no run finished"], host=host(), public_url=None)
    with store.write() as db:
        outbox.write(db, kind, told, names, now=datetime.now(UTC))


def send(store: Store, *destinations: DestinationSettings) -> Delivered:
    return deliver(store, destinations, allow_private_hosts=LOCAL, clock=lambda: datetime.now(UTC))


def only(store: Store, name: str = "team") -> Delivery:
    with store.read() as db:
        [item] = outbox.deliveries(db, destination=name)
    return item


def test_an_incident_arrives_as_slack_takes_it(store: Store, workspace: SlackStandIn) -> None:
    write(store, "team", data=incident_data([opened()], host=host(), public_url=PUBLIC_URL))

    assert send(store, destination("team", workspace.url)) == Delivered(sent=1)

    [post] = workspace.posts
    shown = as_shown(readable(post.json))
    assert shown.startswith("# ▼ Regressed: xllamacpp 0.2.41")
    assert "*Acceptance got worse*: 62.2 % → 30.5 %" in shown
    assert only(store).state is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "invalid_payload"),
        (400, "user_not_found"),
        (403, "action_prohibited"),
        (403, "invalid_token"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ],
)
def test_what_slack_refuses_for_good_is_given_up_with_its_word(
    store: Store, workspace: SlackStandIn, status: int, word: str
) -> None:
    write(store, "team")
    workspace.answers.append(Answer(status, word.encode()))

    assert send(store, destination("team", workspace.url)) == Delivered(dead=1)
    assert only(store).last_error == f"http://127.0.0.1:{workspace.port} answered {status} ({word})."


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, b"rollup_error"),
        Answer(503, b"<html>s3cret</html>"),
        Answer(200, b"<html>log in to s3cret</html>"),
        Answer(200, b""),
        Answer(302, headers={"Location": "http://127.0.0.1:9/"}),
    ],
)
def test_anything_but_200_and_ok_that_may_pass_is_tried_again(
    store: Store, workspace: SlackStandIn, answer: Answer
) -> None:
    write(store, "team")
    workspace.answers.append(answer)

    assert send(store, destination("team", workspace.url)) == Delivered(failed=1)
    assert str(answer.status) in only(store).last_error
    assert "s3cret" not in only(store).last_error


def test_slack_gets_the_pause_it_asks_for(store: Store, workspace: SlackStandIn) -> None:
    write(store, "team")
    workspace.answers.append(Answer(429, b"rate_limited", {"Retry-After": "30"}))

    assert send(store, destination("team", workspace.url)) == Delivered(failed=1)
    assert only(store).due_at - datetime.now(UTC) > timedelta(seconds=29)


def test_one_message_a_second_also_over_rounds_and_others_do_not_wait(
    store: Store, workspace: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[tuple[str, float]] = []

    class Timed(Receiver):
        def judge(self, post: Any) -> Answer:
            moments.append(("hook", time.monotonic()))
            return Answer()

    def judge(post: Any) -> Answer:
        moments.append(("slack", time.monotonic()))
        return Answer(200, b"ok")

    monkeypatch.setattr(workspace, "judge", judge)
    with Timed() as hook:
        both = (destination("team", workspace.url), destination("hook", hook.url, "webhook"))
        for _ in range(2):
            write(store, "team", "hook")
        assert send(store, *both) == Delivered(sent=4)
        write(store, "team")
        assert send(store, *both) == Delivered(sent=1)

    posted = [moment for name, moment in moments if name == "slack"]
    assert len(posted) == 3
    # A round counts from when the request was claimed, a little before it arrives.
    assert all(later - earlier >= 0.9 * slack.PACE_S for earlier, later in itertools.pairwise(posted))
    assert [name for name, _ in moments][:3] == ["slack", "hook", "hook"]


def test_waiting_for_the_pace_ends_when_asked(
    store: Store, workspace: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "PACE_S", 20.0)
    for _ in range(2):
        write(store, "team")
    asked = itertools.count()
    begun = time.monotonic()

    found = deliver(
        store,
        [destination("team", workspace.url)],
        allow_private_hosts=LOCAL,
        clock=lambda: datetime.now(UTC),
        stop=lambda: next(asked) > 5,
    )

    assert found == Delivered(sent=1)
    assert time.monotonic() - begun < slack.PACE_S / 2


def test_a_clock_that_was_set_back_stops_no_message(
    store: Store, workspace: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "team")
    send(store, destination("team", workspace.url))
    past = datetime.now(UTC) - timedelta(days=1)
    with store.write() as db:
        data = stale_data(["no run finished"], host=host(), public_url=None)
        outbox.write(db, MessageType.SERVICE_STALE, data, ["team"], now=past)
    monkeypatch.setattr(slack, "PACE_S", 20.0)
    begun = time.monotonic()

    found = deliver(
        store, [destination("team", workspace.url)], allow_private_hosts=LOCAL, clock=lambda: past
    )

    assert found == Delivered(sent=1)
    assert time.monotonic() - begun < slack.PACE_S / 2
