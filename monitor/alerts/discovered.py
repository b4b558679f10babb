"""Says that releases were found; whether one is any good is told when it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session as Db

from monitor.alerts import messages, render
from monitor.domain import Message, MessageType
from monitor.steps.station import Station


def write_discovered(
    station: Station, db: Db, project: str, channel: str, versions: Sequence[str]
) -> list[Message]:
    """Write the message about new releases of a project, in the transaction that stores them."""
    data = render.release_data(project, channel, versions, public_url=station.settings.web.public_url)
    return messages.write(station, db, MessageType.RELEASE_DISCOVERED, data)
