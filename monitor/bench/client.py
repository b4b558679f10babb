"""The measuring client: sends one request and notes, for every byte of the reply, when it arrived.

While tokens come this process does nothing but append bytes and times to a tape; HTTP, events and JSON are
taken apart afterwards (`monitor/bench/tape.py`), so the client's own work never stands between two tokens.
Three things would still disturb the times, and are kept away:

- the connection is made first, so `sent_s` is the moment the request is written to a connected socket
  (asyncio sets TCP_NODELAY on it);
- Python's cyclic garbage collector, which stops everything for as long as 100 ms in a process that has loaded
  scipy and a database layer, is off while any tape runs. What piles up meanwhile is a few objects a reply;
- streams measured at the same time must all be recorded before the first is decoded: await `record` for each,
  then `decode` the tapes. `stream` does both and is meant for one stream at a time.

`docs/benchmarks.md` has the measured error of the rates and the cost per token.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import h11

from monitor.bench.tape import EVENT_STREAM, Answer, Reader, Tape, decode
from monitor.errors import ConfigurationError, EngineCrashError, EngineHangError, EngineReplyError

IDLE_S = 0.1
"""A reply is looked at for its end only when no byte came for so long: between prompts, or in a prefill."""


async def stream(
    url: str,
    body: Mapping[str, Any],
    *,
    deadline_s: float,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST `body` as JSON to `url` and return the whole reply, each event with the time it was complete.

    Args:
        url: http or https; certificates are checked against the system's trust store.
        body: the request, as JSON values.
        deadline_s: from the start of the connection to the end of the reply.
        max_bytes: of the reply as it comes over the network, its head included.
        headers: sent besides the usual ones, for instance an `Authorization`.

    Raises:
        ConfigurationError: when the URL or a header cannot be used, or the certificate is not trusted.
        EngineHangError: when the reply had not ended at the deadline.
        EngineCrashError: when nobody listens, or the connection ended before the reply did.
        EngineReplyError: when the reply is too large, not HTTP, or neither an event stream nor JSON.

    """
    return decode(await record(url, body, deadline_s=deadline_s, max_bytes=max_bytes, headers=headers))


async def record(
    url: str,
    body: Mapping[str, Any],
    *,
    deadline_s: float,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
) -> Tape:
    """POST `body` as `stream` does and return what came back, not yet taken apart.

    Raises:
        ConfigurationError, EngineHangError, EngineCrashError, EngineReplyError: as `stream`; a reply that was
            cut short or is malformed is found by `decode`.

    """
    place = _place(url)
    request = _request(place, body, headers or {})
    context = _trust() if place.secure else None
    recorder = _Recorder(max_bytes)
    loop = asyncio.get_running_loop()
    transport: asyncio.BaseTransport | None = None
    try:
        with _collector_off():
            async with asyncio.timeout(deadline_s):
                transport, _ = await loop.create_connection(
                    lambda: recorder, place.host, place.port, ssl=context
                )
                recorder.send(request)
                await _end_of(recorder, place.target)
            ended_s = monotonic()
    except TimeoutError as error:
        raise _hung(place, recorder, deadline_s, connected=transport is not None) from error
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"The certificate of {place.target} is not trusted: {error.verify_message}.",
            advice="add its authority to the system's trust store, or name a bundle in SSL_CERT_FILE.",
        ) from error
    except ssl.SSLError as error:
        what = f"{place.target} does not speak TLS ({error.reason})."
        raise EngineReplyError(what, advice="use http:// if the server has no certificate.") from error
    except OSError as error:
        what = f"No connection to {place.target}: {error.strerror or error}."
        raise EngineCrashError(what, advice="see whether the server runs and which port it uses.") from error
    finally:
        await recorder.hang_up()
    if recorder.size > max_bytes:
        what = f"{place.target} sent more than the {max_bytes} bytes a reply may have."
        raise EngineReplyError(what, kept="nothing of this request.", advice="see what the engine repeats.")
    return Tape(
        target=place.target,
        sent_s=recorder.sent_s,
        ended_s=ended_s,
        marks=recorder.marks,
        pieces=recorder.pieces,
        closed=recorder.closed_by_server,
        failure=recorder.failure,
    )


class _Recorder(asyncio.Protocol):
    """Writes the tape. `data_received` is the only code of ours that runs between two tokens."""

    def __init__(self, max_bytes: int) -> None:
        self.marks: list[float] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.sent_s = 0.0
        self.closed_by_server = False
        self.failure: str | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._max_bytes = max_bytes
        self._transport: asyncio.Transport | None = None
        self._hung_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection; asyncio calls this once."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a stream transport was expected, not {type(transport).__name__}")
        self._transport = transport

    def send(self, request: bytes) -> None:
        """Write the request and note when."""
        if self._transport is None:
            raise RuntimeError("send() before the connection was made")
        self.sent_s = monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Note the bytes and their time, and stop a reply that is too large."""
        self.marks.append(monotonic())
        self.pieces.append(data)
        self.size += len(data)
        if self.size > self._max_bytes and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note how the connection ended; asyncio calls this once, after the last byte."""
        self.closed_by_server = not self._hung_up
        self.failure = None if exc is None else (str(exc) or type(exc).__name__)
        if not self.closed.done():
            self.closed.set_result(None)

    async def hang_up(self) -> None:
        """Close our side, if it is still open, and wait until the socket is gone."""
        if self._transport is None:
            return
        if not self.closed.done():
            self._hung_up = True
            self._transport.abort()
        await self.closed


async def _end_of(recorder: _Recorder, target: str) -> None:
    """Wait until the server closes the connection or, if it keeps it open, until the reply is complete."""
    reader = Reader(target)
    taken = 0
    while True:
        seen = len(recorder.pieces)
        await asyncio.wait([recorder.closed], timeout=IDLE_S)
        if recorder.closed.done():
            return
        if len(recorder.pieces) > seen or seen == taken:
            continue  # tokens are coming, or nothing new came since the last look
        for at_s, piece in zip(recorder.marks[taken:], recorder.pieces[taken:], strict=True):
            reader.feed(at_s, piece)
        taken = len(recorder.pieces)
        if reader.complete or reader.said_done:
            return


# ---------------------------------------------------------------------------------------------
# The request


@dataclass(frozen=True, slots=True)
class _Place:
    secure: bool
    host: str
    port: int
    authority: str
    path: str

    @property
    def target(self) -> str:
        """Return the address for messages, without the query, which may hold a secret."""
        return f"http{'s' if self.secure else ''}://{self.authority}{self.path.partition('?')[0]}"


def _place(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"An address of an engine cannot be read: {error}.") from error
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        raise ConfigurationError(
            f"The address of an engine at {host or 'no host'!r} with scheme {parts.scheme!r} cannot be used.",
            advice="give http://HOST:PORT/… or https://HOST:PORT/…, credentials as a header.",
        )
    secure = parts.scheme == "https"
    authority = f"[{host}]" if ":" in host else host
    if port is not None:
        authority += f":{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(secure, host, port or (443 if secure else 80), authority, path)


def _request(place: _Place, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return the bytes of the request; `Connection: close` lets the end of the connection end the reply."""
    content = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    fields = {
        "host": place.authority,
        "content-type": "application/json",
        "content-length": str(len(content)),
        "accept": f"{EVENT_STREAM}, application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": "mtp-monitor",
        **{name.lower(): value for name, value in headers.items()},
    }
    writer = h11.Connection(h11.CLIENT)
    try:
        head = writer.send(h11.Request(method="POST", target=place.path, headers=list(fields.items())))
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        # The reason is not shown: it can quote a header, and a header can be a token.
        raise ConfigurationError(
            f"A request to {place.target} cannot be written: its path or a header holds a character that "
            "HTTP does not allow.",
            advice="see the engine's address and the headers set for it.",
        ) from error
    return (head or b"") + content


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return the system's trust store, read once: no byte is noted during the 20 ms that reading takes."""
    return ssl.create_default_context()


def _hung(place: _Place, recorder: _Recorder, deadline_s: float, *, connected: bool) -> EngineHangError:
    if not connected:
        got = "no connection was made"
    elif not recorder.marks:
        got = "no byte of a reply came"
    else:
        silence_s = monotonic() - recorder.marks[-1]
        got = f"{recorder.size} bytes came, the last {silence_s:.1f} s before the deadline"
    return EngineHangError(
        f"{place.target} had not ended its reply {deadline_s:g} s after the request was begun: {got}.",
        kept="nothing of this request.",
        advice="see the engine's log; raise the check's request_timeout_s if the engine is merely slow.",
    )


# ---------------------------------------------------------------------------------------------
# The garbage collector

_collector_lock = threading.Lock()
_collector_users = 0
_collector_was_on = False


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the cyclic garbage collector off while at least one tape runs, then as it was before."""
    global _collector_users, _collector_was_on  # noqa: PLW0603  # the collector is one for the process
    with _collector_lock:
        if _collector_users == 0:
            _collector_was_on = gc.isenabled()
            gc.disable()
        _collector_users += 1
    try:
        yield
    finally:
        with _collector_lock:
            _collector_users -= 1
            if _collector_users == 0 and _collector_was_on:
                gc.enable()
