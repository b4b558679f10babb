"""Delivery: what waits in the outbox goes out, at least once each, in order for each destination.

A message is claimed in one transaction, sent outside of any, and marked in another. Whoever is killed in
between sends it once more, under the same id.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session as Db

from monitor import targets
from monitor.alerts import render, slack
from monitor.alerts.base import Transport
from monitor.alerts.slack import SlackTransport
from monitor.alerts.webhook import WebhookTransport, signers
from monitor.domain import Delivery, DeliveryState, Host, MessageType
from monitor.errors import DeliveryError
from monitor.settings_tables import DestinationSettings
from monitor.store import Store
from monitor.store.queries import destinations as known
from monitor.store.queries import outbox

RETRY_AFTER_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds after the first, second, … failed attempt; after one more the delivery is given up.

As https://www.standardwebhooks.com recommends; about three days in all.
"""
JITTER = 0.1
"""Part by which a wait is lengthened at random, so that monitors that failed together part."""
LEASE_S = 4 * targets.DEADLINE_S
_DISABLED = "disabled"
_NAP_S = 0.05


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of one round: numbers of deliveries."""

    sent: int = 0
    failed: int = 0
    """Tried, and to be tried again."""
    dead: int = 0
    """Given up."""


def deliver(
    store: Store,
    destinations: Sequence[DestinationSettings],
    *,
    allow_private_hosts: Collection[str] = (),
    clock: Callable[[], datetime],
    stop: Callable[[], bool] = lambda: False,
    host: Host | None = None,
    public_url: str | None = None,
) -> Delivered:
    """Send all that is due, one after the other, until nothing is due or `stop` says so.

    1. What waits for a destination that is no longer configured is given up.
    2. The next delivery that is due is claimed, in the order of each destination; Slack gets one a second.
    3. It is sent. Taken: done. Refused for good, or failed too often: given up. Else it is due again after
       the schedule's wait, or the destination's own `Retry-After` when that is longer.
    4. A destination that answered 410 gets nothing more until its address changes or a delivery is replayed.
    5. When deliveries to a destination begin to be given up, the other destinations are told, once.

    `host` and `public_url` are named in what the others are told.

    Raises:
        StoreError: when the database cannot be used; what was sent and not marked is sent again.

    """
    office = _Office(
        store,
        destinations,
        allow_private_hosts=allow_private_hosts,
        clock=clock,
        host=host,
        public_url=public_url,
    )
    count = {"sent": 0, "failed": 0, "dead": office.give_up_unknown()}
    while not stop():
        claimed = office.claim()
        if claimed is not None:
            count[office.send(*claimed)] += 1
        elif not office.wait_for_pace(stop):
            break
    return Delivered(**count)


def check(destination: DestinationSettings, *, allow_private_hosts: Collection[str] = ()) -> None:
    """Look whether a destination can be sent to, without sending; for when it is configured.

    Raises:
        ConfigurationError: its address must not be sent to, or a webhook has no secret to sign with.

    """
    targets.check_target(_url(destination), allow_private_hosts)
    if destination.kind == "webhook":
        signers(_secret(destination))


def transport(
    destination: DestinationSettings,
    *,
    allow_private_hosts: Collection[str],
    clock: Callable[[], datetime],
) -> Transport:
    """Return what sends to a destination."""
    url = _url(destination)
    if destination.kind == "slack":
        return SlackTransport(url, allow_private_hosts=allow_private_hosts)
    return WebhookTransport(url, _secret(destination), allow_private_hosts=allow_private_hosts, clock=clock)


def _url(destination: DestinationSettings) -> str:
    return destination.url.get_secret_value() if destination.url else ""


def _secret(destination: DestinationSettings) -> str | None:
    return destination.secret.get_secret_value() if destination.secret else None


class _Office:
    """One round of delivery."""

    def __init__(
        self,
        store: Store,
        destinations: Sequence[DestinationSettings],
        *,
        allow_private_hosts: Collection[str],
        clock: Callable[[], datetime],
        host: Host | None,
        public_url: str | None,
    ) -> None:
        self._store = store
        self._destinations = {destination.name: destination for destination in destinations}
        self._transports = {
            destination.name: transport(destination, allow_private_hosts=allow_private_hosts, clock=clock)
            for destination in destinations
        }
        self._clock = clock
        self._host = host
        self._public_url = public_url
        self._not_before = self._paces()
        """Monotonic moment before which a destination is sent nothing."""

    def _paces(self) -> dict[str, float]:
        """Return the paces that still run from the round before."""
        found = {}
        with self._store.read() as db:
            for name, destination in self._destinations.items():
                last = known.last_try(db, name) if destination.kind == "slack" else None
                age_s = (self._clock() - last.begun_at).total_seconds() if last else slack.PACE_S
                # A clock that was set back must not stop the messages.
                if 0 <= age_s < slack.PACE_S:
                    found[name] = time.monotonic() + slack.PACE_S - age_s
        return found

    def give_up_unknown(self) -> int:
        """End what waits for destinations that are gone from the configuration; return how many."""
        count, now = 0, self._clock()
        with self._store.read() as db:
            gone = [name for name in known.waiting(db, due_by=now) if name not in self._destinations]
        for name in gone:
            with self._store.write() as db:
                while claimed := outbox.claim(db, [name], lease_s=LEASE_S, now=now):
                    delivery, number = claimed
                    error = "not sent: the destination is no longer configured"
                    outbox.fail(db, delivery.id, number, error, retry_at=None, now=now)
                    count += 1
        return count

    def claim(self) -> tuple[Delivery, int] | None:
        """Claim the next delivery to a destination whose pace allows one."""
        ready = [name for name in self._destinations if self._not_before.get(name, 0.0) <= time.monotonic()]
        if not ready:
            return None
        with self._store.read() as db:
            if not set(ready) & set(known.waiting(db, due_by=self._clock())):
                return None  # nothing to write, so nobody is kept from writing
        with self._store.write() as db:
            return outbox.claim(db, ready, lease_s=LEASE_S, now=self._clock())

    def wait_for_pace(self, stop: Callable[[], bool]) -> bool:
        """Wait until a destination that has something due may be sent to; False when none has."""
        with self._store.read() as db:
            due = known.waiting(db, due_by=self._clock())
        held = [moment for name, moment in self._not_before.items() if name in due]
        held = [moment for moment in held if moment > time.monotonic()]
        while held and min(held) > time.monotonic() and not stop():
            time.sleep(_NAP_S)
        return bool(held)

    def send(self, delivery: Delivery, number: int) -> str:
        """Send a claimed delivery and keep what came of it: `sent`, `failed` or `dead`."""
        destination = self._destinations[delivery.destination]
        if number == 1 and self._is_disabled(destination):
            error = f"{_disabled(destination)}: not sent, it wants no messages any more"
            return self._fail(delivery, number, error, retry_at=None)
        if destination.kind == "slack":
            self._not_before[destination.name] = time.monotonic() + slack.PACE_S
        try:
            self._transports[destination.name].notify(delivery.message)
        except DeliveryError as error:
            said = f"{_disabled(destination)}: {error.what}" if error.disables else error.what
            return self._fail(delivery, number, said, retry_at=self._retry_at(number, error))
        except Exception as error:  # noqa: BLE001  one message that breaks the code must not stop the others
            said = f"the monitor could not send it: {type(error).__name__}"
            return self._fail(delivery, number, said, retry_at=None)
        with self._store.write() as db:
            outbox.succeed(db, delivery.id, number, now=self._clock())
        return "sent"

    def _retry_at(self, number: int, error: DeliveryError) -> datetime | None:
        if error.permanent or number > len(RETRY_AFTER_S):
            return None
        wait_s = max(RETRY_AFTER_S[number - 1], error.retry_after_s or 0.0)
        lengthened = wait_s * (1 + JITTER * secrets.SystemRandom().random())
        return self._clock() + timedelta(seconds=lengthened)

    def _is_disabled(self, destination: DestinationSettings) -> bool:
        with self._store.read() as db:
            last = known.last_try(db, destination.name)
        return last is not None and last.outcome.startswith(f"{_disabled(destination)}:")

    def _fail(self, delivery: Delivery, number: int, error: str, *, retry_at: datetime | None) -> str:
        now = self._clock()
        with self._store.write() as db:
            outbox.fail(db, delivery.id, number, error, retry_at=retry_at, now=now)
            if retry_at is None:
                self._tell_others(db, delivery, error, now)
        return "dead" if retry_at is None else "failed"

    def _tell_others(self, db: Db, delivery: Delivery, error: str, now: datetime) -> None:
        """Tell the other destinations that this one takes nothing, unless they know that already."""
        if known.last_end(db, delivery.destination, besides=delivery.id) is DeliveryState.DEAD:
            return
        others = [
            name
            for name, other in self._destinations.items()
            if name != delivery.destination and MessageType.SERVICE_STALE in other.events
        ]
        if others:
            reason = f"Messages to the destination {delivery.destination} are given up: {error}"
            data = render.stale_data([reason], host=self._host, public_url=self._public_url)
            outbox.write(db, MessageType.SERVICE_STALE, data, others, now=now)


def _disabled(destination: DestinationSettings) -> str:
    """Return the mark of a destination that wants no messages, which ends with its address."""
    return f"{_DISABLED} at address {hashlib.sha256(_url(destination).encode()).hexdigest()[:8]}"
