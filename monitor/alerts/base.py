"""The seam between a message and the kinds of destinations: one method, one error."""

from __future__ import annotations

from typing import Protocol

from monitor.domain import Message


class Transport(Protocol):
    """One destination."""

    def notify(self, message: Message) -> None:
        """Send a message, and return when the destination has taken it.

        Raises:
            DeliveryError: it has not; the error says whether another try can help, how long to wait before
                it, and whether the destination wants no messages any more.

        """
