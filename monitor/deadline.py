"""A deadline for a whole request, which a timeout per read is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Deadline:
    """Ends a request that is not over in time, also one whose bytes keep dripping in.

    A timeout per read never fires on a reply that drips. Shutting the socket down wakes the reader.
    The `trace` extension of httpx is the documented way to the connection:
    https://www.encode.io/httpcore/extensions/#trace
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.passed = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._sockets.clear()

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of a connection; give it to a request as its `trace` extension."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        found = info["return_value"].get_extra_info("socket")
        with self._lock:
            if found is not None:
                self._sockets.append(found)
        if self.passed:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            for found in self._sockets:
                try:
                    found.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # closed meanwhile
