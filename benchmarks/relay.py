"""Stands between a foreign client and a server, and notes when each piece of an answer came.

So two clients can be compared on the very same answers: theirs as the foreign client times them, and what
passed here as the monitor reads it. One connection carries one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from monitor.bench.tape import Tape


class Relay:
    """Passes requests on to `port` on the loopback interface; `tapes` holds the answers of `path`."""

    def __init__(self, port: int, path: str) -> None:
        self.tapes: list[Tape] = []
        self._port = port
        self._path = path

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen until the end of the block; yields the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            head = await client.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            back.close()
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = [line for line in lines if line and not line.lower().startswith("connection:")]
        size = next((int(line[15:]) for line in fields if line.lower().startswith("content-length:")), 0)
        body = await client.readexactly(size)
        answer, server = await asyncio.open_connection("127.0.0.1", self._port)
        sent_s = monotonic()
        server.write("\r\n".join([first, *fields, "Connection: close", "", ""]).encode("latin-1") + body)
        marks, pieces = [], []
        while data := await answer.read(2**16):
            marks.append(monotonic())
            pieces.append(data)
            back.write(data)
        if first.split(" ")[1] == self._path:
            self.tapes.append(Tape(self._path, sent_s, monotonic(), marks, pieces, closed=True, failure=None))
        server.close()
        back.close()
