"""What every release source offers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from monitor.domain import Release


class Source(Protocol):
    """The place where one project's releases are read."""

    @property
    def project(self) -> str:
        """The distribution it lists."""

    @property
    def channel(self) -> str:
        """The stream of releases it stands for."""

    @property
    def address(self) -> str:
        """Where it is, as people may see it: without credentials."""

    @property
    def since(self) -> datetime | None:
        """After a poll: nothing was asked about what was published before; None: everything was listed."""

    def poll(self) -> tuple[Release, ...]:
        """Return every release the source lists now, in ascending order of version.

        A release may have no artifact, and one that was listed before may be missing: the caller keeps
        the history. News are found by comparing sets, never by `version > the newest seen`, because
        releases also appear out of order.

        Raises:
            SourceError: the source could not be read (SourceLiedError: it answered nonsense); then
                nothing is known about what it lists, least of all that releases are gone.

        """
