"""Delivery when a destination is gone, the monitor is killed, or a message breaks the code."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.alerts import deliver as delivery
from monitor.alerts import webhook
from monitor.alerts.deliver import Delivered
from monitor.domain import DeliveryState, Message
from monitor.store.queries import outbox
from standins.office import Office
from standins.receivers import Answer, Receiver, WebhookReceiver

# ---------------------------------------------------------------------------------------------
# Gone


def test_after_410_nothing_more_is_sent_until_the_address_changes(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url)
    post.write("team")
    post.write("team")
    receiver.answers.append(Answer(410))

    assert post.deliver() == Delivered(dead=2)
    post.write("team")
    assert post.deliver() == Delivered(dead=1)
    assert len(receiver.posts) == 1
    assert "not sent" in post.of("team")[-1].last_error

    post.destinations.clear()
    post.add("team", f"{receiver.url}/new")
    post.write("team")
    assert post.deliver() == Delivered(sent=1)


def test_after_410_a_replay_that_is_taken_opens_the_destination_again(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url)
    post.write("team")
    receiver.answers.append(Answer(410))
    post.deliver()
    post.replay("team")
    post.write("team")

    assert post.deliver() == Delivered(sent=2)


def test_a_dead_destination_is_told_on_the_others_once(post: Office, receiver: WebhookReceiver) -> None:
    with Receiver() as gone, Receiver() as uninterested:
        post.add("gone", gone.url)
        post.add("team", receiver.url)
        post.add("quiet", uninterested.url, events=["incident.opened"])
        gone.answers += [Answer(404)] * 5
        for _ in range(3):
            post.write("gone")

        assert post.deliver() == Delivered(sent=1, dead=3)
        post.write("gone")
        assert post.deliver() == Delivered(dead=1)

        [told] = receiver.messages.values()
        assert told["type"] == "service.stale"
        assert told["data"]["reasons"] == [
            f"Messages to the destination gone are given up: http://127.0.0.1:{gone.port} answered 404."
        ]
        assert uninterested.posts == []

        gone.answers.clear()
        post.write("gone")
        assert post.deliver() == Delivered(sent=1)
        gone.answers.append(Answer(404))
        post.write("gone")
        assert post.deliver() == Delivered(sent=1, dead=1)
    assert len(receiver.messages) == 2, "after it had recovered, its next death is news again"


def test_what_waits_for_a_destination_that_is_no_longer_configured_is_given_up(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url)
    post.write("former", "team")

    assert post.deliver() == Delivered(sent=1, dead=1)
    [item] = post.of("former")
    assert "no longer configured" in item.last_error


# ---------------------------------------------------------------------------------------------
# Faults


def test_one_dead_receiver_holds_up_no_other(post: Office, receiver: WebhookReceiver) -> None:
    post.add("dead", "http://127.0.0.1:9/hook")
    post.add("team", receiver.url)
    for _ in range(3):
        post.write("dead", "team")

    assert post.deliver() == Delivered(sent=3, failed=1)
    assert post.state_of("dead") == [DeliveryState.PENDING] * 3


def test_a_kill_between_request_and_mark_sends_the_same_id_again(
    post: Office, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.add("team", receiver.url)
    message = post.write("team")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(delivery.outbox, "succeed", killed)
        with pytest.raises(KeyboardInterrupt):
            post.deliver()
    assert post.deliver() == Delivered(), "the lease still holds"
    post.now += timedelta(seconds=delivery.LEASE_S + 1)
    assert post.deliver() == Delivered(sent=1)

    assert [one.headers["webhook-id"] for one in receiver.posts] == [message.id] * 2
    with post.store.read() as db:
        assert [one.outcome for one in outbox.tries(db, post.of("team")[0].id)] == ["", "delivered"]


def test_the_request_is_sent_while_no_transaction_is_open(post: Office) -> None:
    class Writes(Receiver):
        def judge(self, sent: Any) -> Answer:
            # With a transaction open this would wait for the sender, who waits for the answer.
            post.write("nobody")
            return Answer(200)

    with Writes() as receiver:
        post.add("team", receiver.url)
        post.write("team")
        assert post.deliver() == Delivered(sent=1)
    assert len(post.messages()) == 2


def test_a_message_that_breaks_the_code_is_given_up_and_the_next_is_sent(
    post: Office, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.add("team", receiver.url)
    broken, fine = post.write("team", text="broken"), post.write("team")
    body = webhook.body

    def breaks(message: Message) -> bytes:
        if message.id == broken.id:
            raise KeyError("s3cret")
        return body(message)

    monkeypatch.setattr(webhook, "body", breaks)
    assert post.deliver() == Delivered(sent=1, dead=1)
    assert post.of("team")[0].last_error == "the monitor could not send it: KeyError"
    assert list(receiver.messages) == [fine.id]


def test_it_stops_between_two_messages_when_asked(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", receiver.url)
    for _ in range(5):
        post.write("team")

    assert post.deliver(stop=lambda: len(receiver.posts) >= 2) == Delivered(sent=2)
    assert post.deliver() == Delivered(sent=3)
