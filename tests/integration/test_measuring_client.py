"""The measuring client against a server on loopback that keeps to HTTP, or breaks it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitor.bench.client import record, stream
from monitor.bench.tape import Answer
from monitor.errors import ConfigurationError, EngineCrashError, EngineHangError, EngineReplyError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LONG_S = 60.0  # a deadline that no working test comes near
SECRET = "hunter2canary"

Behaviour = Callable[[socket.socket], None]


def event(value: Any) -> bytes:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Answers every connection with one behaviour, each in a thread of its own."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.requests: list[bytes] = []
        self.gone = threading.Event()
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/completion"

    def stop(self) -> None:
        self.gone.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._acceptor, *self._threads):
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            try:
                self._behaviour(connection)
            except OSError:
                return  # the client hung up


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Server]]:
    """Return a function that starts a server, ended with the test."""
    servers: list[Server] = []

    def start(behaviour: Behaviour) -> Server:
        servers.append(Server(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(url: str, *, deadline_s: float = LONG_S, max_bytes: int = 10**6, **headers: str) -> Answer:
    body = {"prompt": "ü", "stream": True}
    return asyncio.run(stream(url, body, deadline_s=deadline_s, max_bytes=max_bytes, headers=headers))


def test_each_event_carries_the_time_between_its_writing_and_the_next(serve: Any) -> None:
    written: list[float] = []

    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for number in range(5):
            written.append(time.monotonic())
            connection.sendall(event({"n": number}))
            time.sleep(0.02)
        written.append(time.monotonic())
        connection.sendall(END)

    server = serve(behaviour)
    before = time.monotonic()
    answer = ask(server.url, Authorization="Bearer x")
    assert [item.data["n"] for item in answer.events] == [0, 1, 2, 3, 4]
    assert before <= answer.sent_s <= written[0]
    for number, item in enumerate(answer.events):
        assert written[number] <= item.at_s
    assert answer.events[-1].at_s <= answer.ended_s
    [request] = server.requests
    assert request.startswith(b"POST /completion HTTP/1.1\r\n")
    assert b"bearer x" in request.lower()
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"prompt": "ü", "stream": True}


def test_sixteen_streams_at_once_are_recorded_side_by_side(serve: Any) -> None:
    together = threading.Barrier(16)

    def behaviour(connection: socket.socket) -> None:
        together.wait(LONG_S)  # passes only if all are asked at the same time
        connection.sendall(HEAD + event({"a": 1}) + END)

    server = serve(behaviour)

    async def all_of_them() -> int:
        asked = (record(server.url, {}, deadline_s=LONG_S, max_bytes=10**5) for _ in range(16))
        return len(await asyncio.gather(*asked))

    assert asyncio.run(all_of_them()) == 16


@pytest.mark.parametrize(
    "last", [END, event({"b": 2}) + b"e\r\ndata: [DONE]\n\n\r\n"], ids=["last chunk", "end mark"]
)
def test_a_server_that_keeps_the_connection_open_does_not_hold_up_the_client(last: bytes, serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD + event({"a": 1}) + last)
        connection.recv(1)  # returns when the client hangs up

    answer = ask(serve(behaviour).url)
    assert answer.events[0].data == {"a": 1}


def test_a_refusal_is_an_answer_with_its_status(serve: Any) -> None:
    body = b'{"error":{"message":"no slot"}}'

    def behaviour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    answer = ask(serve(behaviour).url)
    assert (answer.status, answer.events[0].data["error"]["message"]) == (503, "no slot")


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + event({"a": 1})], ids=["nothing", "head", "an event"])
def test_a_reply_that_never_ends_is_a_hang_at_the_deadline(sent: bytes, serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.recv(1)

    with pytest.raises(EngineHangError, match="had not ended its reply") as caught:
        ask(serve(behaviour).url, deadline_s=0.3)
    assert ("no byte" in caught.value.what) == (sent == b"")


def test_tokens_that_drip_for_ever_end_at_the_deadline_too(serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:
            connection.sendall(event({"a": 1}))
            time.sleep(0.01)

    with pytest.raises(EngineHangError):
        ask(serve(behaviour).url, deadline_s=0.3)


def test_an_engine_that_dies_in_the_middle_is_a_crash(serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD + event({"a": 1}))

    with pytest.raises(EngineCrashError, match="inside its reply"):
        ask(serve(behaviour).url)


def test_an_engine_that_resets_the_connection_is_a_crash(serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with pytest.raises(EngineCrashError):
        ask(serve(behaviour).url)


def test_nobody_listening_is_a_crash_and_a_secret_in_the_address_is_not_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EngineCrashError, match="No connection") as caught:
        ask(f"http://127.0.0.1:{port}/completion?key={SECRET}")
    assert SECRET not in str(caught.value)


def test_a_reply_without_end_is_cut_at_its_allowed_size(serve: Any) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:
            connection.sendall(event({"a": "x" * 1000}))

    with pytest.raises(EngineReplyError, match="more than the 50000 bytes"):
        ask(serve(behaviour).url, max_bytes=50_000)


@pytest.mark.parametrize(
    "url", ["ftp://h/", "completion", "http://", f"http://user:{SECRET}@h/", "http://h:x/", "http://h/a b"]
)
def test_an_address_that_cannot_be_used_is_a_mistake_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(url)
    assert SECRET not in str(caught.value)


def test_a_header_that_http_forbids_is_refused_without_showing_it(serve: Any) -> None:
    server = serve(lambda _connection: None)
    with pytest.raises(ConfigurationError) as caught:
        ask(server.url, Authorization=f"Bearer {SECRET}\r\nX: y")
    assert SECRET not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("fails", [False, True])
def test_the_garbage_collector_rests_while_a_tape_runs_and_is_as_it_was_afterwards(
    fails: bool, serve: Any
) -> None:
    seen: list[bool] = []

    def behaviour(connection: socket.socket) -> None:
        seen.append(gc.isenabled())
        connection.sendall(HEAD + event({"a": 1}) + (b"" if fails else END))

    server = serve(behaviour)
    assert gc.isenabled()
    if fails:
        with pytest.raises(EngineCrashError):
            ask(server.url)
    else:
        ask(server.url)
    assert (seen, gc.isenabled()) == ([False], True)
