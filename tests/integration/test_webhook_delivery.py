"""Messages reach webhooks: signed, at least once, in order; and what a receiver answers is obeyed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from standardwebhooks import Webhook

from monitor.alerts import webhook
from monitor.alerts.deliver import JITTER, RETRY_AFTER_S, Delivered, check, deliver
from monitor.domain import DeliveryState
from monitor.errors import ConfigurationError
from standins.office import LOCAL, NEW_SECRET, SECRET, Office
from standins.receivers import Answer, WebhookReceiver

# ---------------------------------------------------------------------------------------------
# What arrives


def test_a_message_arrives_signed_under_its_own_id(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", receiver.url)
    message = post.write("team")

    assert post.deliver() == Delivered(sent=1)

    assert list(receiver.messages) == [message.id]
    body = receiver.messages[message.id]
    assert (body["type"], body["data"]) == ("service.stale", message.data)
    assert datetime.fromisoformat(body["timestamp"]) == message.created_at
    [item] = post.of("team")
    assert (item.state, item.attempts, item.delivered_at) == (DeliveryState.DELIVERED, 1, post.now)
    assert post.deliver() == Delivered()
    assert len(receiver.posts) == 1


def test_a_receiver_with_another_secret_refuses_and_nothing_more_is_sent(post: Office) -> None:
    with WebhookReceiver(NEW_SECRET) as receiver:
        post.add("team", receiver.url)
        post.write("team")

        assert post.deliver() == Delivered(dead=1)
    assert receiver.messages == {}
    assert "401" in post.of("team")[0].last_error


def test_while_a_secret_rotates_old_and_new_receivers_both_verify(
    post: Office, receiver: WebhookReceiver
) -> None:
    with WebhookReceiver(NEW_SECRET) as newer:
        post.add("old", receiver.url, secret=f"{NEW_SECRET} {SECRET}")
        post.add("new", newer.url, secret=f"{NEW_SECRET}\n{SECRET}\n")
        message = post.write("old", "new")
        assert post.deliver() == Delivered(sent=2)

    assert message.id in receiver.messages
    assert message.id in newer.messages
    assert receiver.posts[0].headers["webhook-signature"].count("v1,") == 2


def test_every_try_has_the_same_id_and_body_and_a_timestamp_of_its_own(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url)
    message = post.write("team")
    receiver.answers.append(Answer(503))
    post.deliver()
    post.now += timedelta(seconds=10)
    post.deliver()

    first, second = receiver.posts
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == message.id
    assert first.body == second.body
    stamps = [int(one.headers["webhook-timestamp"]) for one in (first, second)]
    assert stamps[1] - stamps[0] == 10
    assert all(Webhook(SECRET).verify(one.body, one.headers) for one in (first, second))


def test_messages_arrive_in_order_also_when_the_first_has_to_wait(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url)
    first, second = post.write("team"), post.write("team")
    receiver.answers.append(Answer(500))

    assert post.deliver() == Delivered(failed=1)
    assert len(receiver.posts) == 1
    post.now += timedelta(seconds=10)
    assert post.deliver() == Delivered(sent=2)
    assert list(receiver.messages) == [first.id, second.id]


# ---------------------------------------------------------------------------------------------
# What is answered


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 301, 302, 307])
def test_what_may_pass_is_tried_again(post: Office, receiver: WebhookReceiver, status: int) -> None:
    post.add("team", receiver.url)
    post.write("team")
    receiver.answers.append(Answer(status, headers={"Location": receiver.url}))

    assert post.deliver() == Delivered(failed=1)
    [item] = post.of("team")
    assert str(status) in item.last_error
    assert len(receiver.posts) == 1
    wait_s = (item.due_at - post.now).total_seconds()
    assert RETRY_AFTER_S[0] <= wait_s <= RETRY_AFTER_S[0] * (1 + JITTER)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_is_refused_for_good_is_not_tried_again(
    post: Office, receiver: WebhookReceiver, status: int
) -> None:
    post.add("team", receiver.url)
    post.write("team")
    receiver.answers.append(Answer(status, b"<b>s3cret of the receiver</b>"))

    assert post.deliver() == Delivered(dead=1)
    [item] = post.of("team")
    assert (item.state, str(status) in item.last_error) == (DeliveryState.DEAD, True)
    assert "s3cret" not in item.last_error, "neither the answer nor the address's path is repeated"
    post.now += timedelta(days=30)
    assert post.deliver() == Delivered()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_receiver_that_asks_for_time_gets_at_least_that(
    post: Office, receiver: WebhookReceiver, status: int, seconds: int
) -> None:
    post.add("team", receiver.url)
    post.write("team")
    receiver.answers.append(Answer(status, headers={"Retry-After": str(seconds)}))
    post.deliver()

    [item] = post.of("team")
    wanted = max(seconds, RETRY_AFTER_S[0])
    assert wanted <= (item.due_at - post.now).total_seconds() <= wanted * (1 + JITTER)
    post.now = item.due_at - timedelta(seconds=1)
    assert post.deliver() == Delivered()


def test_a_delivery_is_given_up_after_the_whole_schedule(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", receiver.url)
    post.write("team")
    waits = []
    for _ in RETRY_AFTER_S:
        receiver.answers.append(Answer(500))
        assert post.deliver() == Delivered(failed=1)
        [item] = post.of("team")
        waits.append((item.due_at - post.now).total_seconds())
        post.now = item.due_at
    receiver.answers.append(Answer(500))
    assert post.deliver() == Delivered(dead=1)

    assert len(receiver.posts) == 10
    assert all(
        planned <= wait <= planned * (1 + JITTER) for planned, wait in zip(RETRY_AFTER_S, waits, strict=True)
    )
    assert len({wait / planned for planned, wait in zip(RETRY_AFTER_S, waits, strict=True)}) > 1


def test_what_was_given_up_can_be_replayed_under_the_same_id(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", receiver.url)
    message = post.write("team")
    receiver.answers.append(Answer(404))
    post.deliver()
    post.replay("team")

    assert post.deliver() == Delivered(sent=1)
    assert list(receiver.messages) == [message.id]


def test_a_receiver_that_never_ends_its_answer_is_tried_again(
    post: Office, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = webhook.targets.post
    monkeypatch.setattr(webhook.targets, "post", lambda *a, **k: shorter(*a, **k, deadline_s=0.3))
    post.add("team", receiver.url)
    post.write("team")
    receiver.answers.append(Answer(200, drip_s=0.02))

    assert post.deliver() == Delivered(failed=1)
    assert "had not answered completely" in post.of("team")[0].last_error


# ---------------------------------------------------------------------------------------------
# Configuration


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (None, "needs a secret"),
        (" \n", "needs a secret"),
        ("hunter2", "whsec_"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("whsec_!!!" + "A" * 40, "24 to 64 bytes"),
        (f"{SECRET} hunter2", "whsec_"),
    ],
)
def test_a_webhook_without_a_proper_secret_is_a_problem_of_the_configuration(
    post: Office, receiver: WebhookReceiver, secret: str | None, said: str
) -> None:
    post.add("team", receiver.url, secret=secret)
    with pytest.raises(ConfigurationError, match=said) as error:
        check(post.destinations[0], allow_private_hosts=LOCAL)
    assert "urandom" in error.value.advice
    assert "hunter2" not in str(error.value)

    post.write("team")
    assert post.deliver() == Delivered(dead=1)
    assert receiver.posts == []


def test_a_webhook_with_address_and_secret_passes_the_check(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", receiver.url, secret=f"{SECRET.rstrip('=')} {NEW_SECRET}")

    check(post.destinations[0], allow_private_hosts=LOCAL)
    with pytest.raises(ConfigurationError, match="not https"):
        check(post.destinations[0])


def test_an_address_that_became_private_is_refused_when_sending(
    post: Office, receiver: WebhookReceiver
) -> None:
    post.add("team", receiver.url.replace("http:", "https:"))
    post.write("team")

    found = deliver(post.store, post.destinations, clock=lambda: post.now)

    assert found == Delivered(dead=1)
    assert "not public" in post.of("team")[0].last_error
    assert receiver.posts == []


def test_no_secret_is_in_what_is_stored(post: Office, receiver: WebhookReceiver) -> None:
    post.add("team", f"{receiver.url}?token=canary-token")
    post.write("team")
    receiver.answers.append(Answer(418))
    post.deliver()
    [item] = post.of("team")

    assert not any(secret in item.last_error for secret in ("canary-token", "s3cret-path", SECRET))
    assert json.dumps(item.message.data)
