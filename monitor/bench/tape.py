"""What a recorded reply says: its status, and each server-sent event with the time of its last byte.

Nothing here runs while tokens come (`monitor/bench/client.py` only notes bytes and times), so it may be
thorough. HTTP is parsed by h11, JSON by the standard library. Events follow the WHATWG rules for
`text/event-stream`, with two additions for the servers measured: a `[DONE]` event ends the stream, and a
field named `error` (how early llama.cpp builds report a failure) is a failure.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

import h11

from monitor.engines.base import Event
from monitor.errors import EngineCrashError, EngineReplyError

EVENT_STREAM = "text/event-stream"
_END_MARK = b"[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STATUS_BYTES = len(b"HTTP/1.1 200")
_SHOWN_BYTES = 120  # of a wrong reply, quoted in a message
_ADVICE = "look at the end of the engine's log; a proxy between monitor and engine can cause this too."


@dataclass(frozen=True, slots=True)
class Tape:
    """One exchange as it was received; times are on the clock of `time.monotonic`, in seconds."""

    target: str
    """Who was asked, for messages: scheme, host, port and path, never a credential."""
    sent_s: float
    ended_s: float
    marks: Sequence[float]
    """When `pieces[i]` was read from the socket; never decreasing."""
    pieces: Sequence[bytes]
    closed: bool
    """The server ended the connection; else it was still open when the reply was found complete."""
    failure: str | None = None
    """What the socket reported when the connection broke; None for an orderly end."""

    @property
    def says_ok(self) -> bool:
        """Say whether the reply begins as one with status 200; costs next to nothing."""
        return b"".join(self.pieces[:_STATUS_BYTES])[:_STATUS_BYTES].endswith(b" 200")


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole reply."""

    status: int
    sent_s: float
    """When the request was handed to a socket that was already connected."""
    ended_s: float
    events: tuple[Event, ...]
    """A streamed reply: its events. A reply that is one JSON object: that object, timed by its last byte."""
    text: str = ""
    """The body of a reply that is no event stream, as text for messages."""


class Reader:
    """Takes a reply apart piece by piece: its head, and its body with the time each part of it arrived."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.response: h11.Response | None = None
        self.complete = False
        self.body = bytearray()
        self._ends: list[int] = []
        self._marks: list[float] = []
        self._connection = h11.Connection(h11.CLIENT)
        # h11 must believe that a request went out before it reads a reply; what it says is not sent anywhere.
        request = h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")])
        self._connection.send(request)
        self._connection.send(h11.EndOfMessage())

    def feed(self, at_s: float, piece: bytes) -> None:
        """Take the next bytes and when they arrived. Bytes behind the end of the reply are ignored.

        Raises:
            EngineReplyError: when they are not HTTP.

        """
        if self.complete or not piece:
            return
        try:
            self._connection.receive_data(piece)
            self._drain(at_s)
        except h11.RemoteProtocolError as error:
            self._refuse(f"something that is not HTTP ({error}): {quote(piece)}")

    def finish(self, at_s: float) -> None:
        """Note that the server closed the connection, which ends a reply of unannounced length."""
        if self.complete:
            return
        try:
            self._connection.receive_data(b"")
            self._drain(at_s)
        except h11.RemoteProtocolError:
            return  # the announced end never came: `complete` stays False

    @property
    def status(self) -> int | None:
        """Return the HTTP status, None until the head is complete."""
        return self.response.status_code if self.response else None

    @property
    def media_type(self) -> str:
        """Return the media type of the body, in small letters, without parameters."""
        return self._header(b"content-type").split(";")[0].strip().lower()

    @property
    def said_done(self) -> bool:
        """Tell whether a stream has sent its own end mark, whatever its server does with the connection."""
        tail = bytes(self.body[-64:]).rstrip(b"\r\n")
        return tail.endswith(_END_MARK) and self.media_type == EVENT_STREAM

    def arrival(self, position: int) -> float:
        """Return when the byte of the body at `position` (counted from 0) arrived."""
        return self._marks[bisect_left(self._ends, position + 1)]

    def _drain(self, at_s: float) -> None:
        while not self.complete:
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                self.response = event
                if (coding := self._header(b"content-encoding").lower()) not in {"", "identity"}:
                    self._refuse(f"a body in content coding {coding!r}, though it was told to use none")
            elif isinstance(event, h11.Data):
                self.body += event.data
                self._ends.append(len(self.body))
                self._marks.append(at_s)
            elif isinstance(event, h11.EndOfMessage):
                self.complete = True
            elif not isinstance(event, h11.InformationalResponse):
                return

    def _header(self, name: bytes) -> str:
        headers = self.response.headers if self.response else ()
        return next((value.decode("latin-1") for key, value in headers if key == name), "")

    def _refuse(self, what: str) -> NoReturn:
        raise EngineReplyError(f"{self.target} answered with {what}.", advice=_ADVICE)


def decode(tape: Tape) -> Answer:
    """Return what the reply on `tape` says; how the network cut it into segments makes no difference.

    Raises:
        EngineCrashError: when the connection ended before the reply did.
        EngineReplyError: when the reply is not HTTP, neither an event stream nor JSON, or malformed. A reply
            with another status than 200 may have any body.

    """
    reader = Reader(tape.target)
    for at_s, piece in zip(tape.marks, tape.pieces, strict=True):
        reader.feed(at_s, piece)
    if tape.closed and tape.failure is None:
        reader.finish(tape.ended_s)
    status = reader.status
    if status is None or not (reader.complete or reader.said_done):
        raise _cut_short(tape, reader)
    text = ""
    if reader.media_type == EVENT_STREAM:
        events = _events_of(reader)
    else:
        events = _single_object(reader, fallback_s=tape.ended_s)
        text = reader.body.decode("utf-8", errors="replace")
    return Answer(status, tape.sent_s, tape.ended_s, events, text)


def split_events(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each event of an event stream: the position behind its last byte, and its data.

    Lines end in LF, CR LF or CR; several `data` lines are joined by LF; comments, other fields and events
    without data are passed over.

    Raises:
        ValueError: for an event marked with the field `error`, and, behind the last whole event, for data
            that no blank line ends.

    """
    position = 0
    data: list[bytes] = []
    if body.startswith(_BYTE_ORDER_MARK):
        position, body = len(_BYTE_ORDER_MARK), body[len(_BYTE_ORDER_MARK) :]
    for line in body.splitlines(keepends=True):
        position += len(line)
        content = line.rstrip(b"\r\n")
        if content:
            name, _, value = content.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"error":
                raise ValueError(f"the server reports {quote(value)}")
        elif data:
            yield position, b"\n".join(data)
            data = []
    if data:
        raise ValueError(f"the stream stopped inside an event: {quote(data[0])}")


def quote(data: bytes | bytearray) -> str:
    """Return the start of untrusted bytes, harmless in any terminal or page."""
    shown = ascii(data[:_SHOWN_BYTES].decode("utf-8", errors="replace"))
    return shown + (f" … ({len(data)} bytes)" if len(data) > _SHOWN_BYTES else "")


def _events_of(reader: Reader) -> tuple[Event, ...]:
    events: list[Event] = []
    try:
        for end, data in split_events(bytes(reader.body)):
            if data == _END_MARK:
                break
            events.append(Event(reader.arrival(end - 1), _object(data)))
    except ValueError as error:
        what = f"{reader.target} sent a broken event after {len(events)} good ones: {error}."
        raise EngineReplyError(what, advice=_ADVICE) from error
    if not events and reader.status == HTTPStatus.OK:
        what = f"{reader.target} answered 200 with an event stream that holds no event: {quote(reader.body)}"
        raise EngineReplyError(f"{what}.", advice=_ADVICE)
    return tuple(events)


def _single_object(reader: Reader, *, fallback_s: float) -> tuple[Event, ...]:
    """Return the body as one event; with a status that is no success a body that is no object is no event."""
    body = bytes(reader.body)
    try:
        data = _object(body)
    except ValueError as error:
        if reader.status != HTTPStatus.OK:
            return ()
        what = f"{reader.target} answered 200 with neither an event stream nor a JSON object: {error}."
        raise EngineReplyError(what, advice=_ADVICE) from error
    return (Event(reader.arrival(len(body) - 1) if body else fallback_s, data),)


def _object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`, or raise ValueError; NaN and infinities are no JSON."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {quote(data)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error}): {quote(data)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {quote(data)}")  # noqa: TRY004  # callers catch one kind
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return value


def _cut_short(tape: Tape, reader: Reader) -> EngineCrashError:
    if not tape.pieces:
        got = "before any byte of a reply"
    elif reader.status is None:
        got = "inside the head of its reply"
    else:
        got = f"inside its reply, after {len(reader.body)} bytes of it"
    how = "closed the connection" if tape.failure is None else f"broke the connection ({tape.failure})"
    return EngineCrashError(f"{tape.target} {how} {got}.", kept="nothing of this request.", advice=_ADVICE)
