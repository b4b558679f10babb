"""Asks a server for its state between measurements: short GETs with a total deadline and a size cap."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from monitor.bench.tape import Reader
from monitor.errors import EngineReplyError

MAX_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Page:
    """One reply; status 0 when there was none: nobody listened, or it was no whole HTTP reply in time."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Tell whether it is a success."""
        return self.status == HTTPStatus.OK


NO_PAGE = Page(0, "")


async def get(url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES) -> Page:
    """Return what `url` answers to a GET. Never raises for what the server does or does not do.

    Args:
        url: http or https.
        deadline_s: from the start of the connection to the end of the reply.
        max_bytes: of the whole reply; a larger one is no reply.

    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n"
    request += "accept: */*\r\naccept-encoding: identity\r\nuser-agent: mtp-monitor\r\n\r\n"
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(
                parts.hostname or "", port, ssl=ssl.create_default_context() if secure else None
            )
            try:
                writer.write(request.encode("ascii"))
                return await _read(reader, url, max_bytes)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, EngineReplyError, UnicodeError):
        return NO_PAGE


async def _read(stream: asyncio.StreamReader, url: str, max_bytes: int) -> Page:
    reader = Reader(url)
    received = 0
    while not reader.complete:
        data = await stream.read(65536)
        if not data:
            reader.finish(0.0)
            break
        received += len(data)
        if received > max_bytes:
            return NO_PAGE
        reader.feed(0.0, data)
    if not reader.complete or reader.status is None:
        return NO_PAGE
    return Page(reader.status, reader.body.decode("utf-8", errors="replace"))
