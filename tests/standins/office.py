"""A post office for tests: a store, destinations and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from factory_values import host
from monitor.alerts.deliver import Delivered, deliver
from monitor.alerts.render import stale_data
from monitor.domain import Delivery, DeliveryState, Message, MessageType
from monitor.settings_tables import DestinationSettings
from monitor.store import Store
from monitor.store.queries import outbox

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs="
LOCAL = ("127.0.0.1",)


@dataclass
class Office:
    store: Store
    destinations: list[DestinationSettings] = field(default_factory=list)
    # The library refuses timestamps far from its own clock, so the test begins now.
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def add(self, name: str, url: str, *, secret: str | None = SECRET, **other: Any) -> None:
        values = {"name": name, "kind": "webhook", "url": url, "secret": secret}
        self.destinations.append(DestinationSettings.model_validate(values | other))

    def write(self, *names: str, text: str = "no run finished") -> Message:
        data = stale_data([text], host=host(), public_url=None)
        with self.store.write() as db:
            return outbox.write(db, MessageType.SERVICE_STALE, data, names, now=self.now)

    def deliver(self, stop: Callable[[], bool] = lambda: False) -> Delivered:
        return deliver(
            self.store, self.destinations, allow_private_hosts=LOCAL, clock=lambda: self.now, stop=stop
        )

    def of(self, name: str) -> list[Delivery]:
        with self.store.read() as db:
            return list(reversed(outbox.deliveries(db, destination=name)))

    def state_of(self, name: str) -> list[DeliveryState]:
        return [item.state for item in self.of(name)]

    def messages(self) -> Sequence[Message]:
        with self.store.read() as db:
            return outbox.messages(db)

    def replay(self, name: str) -> None:
        [item] = self.of(name)[:1]
        with self.store.write() as db:
            outbox.replay(db, item.id, now=self.now)
