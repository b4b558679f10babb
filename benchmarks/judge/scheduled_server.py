"""A stand-in for the package `xllamacpp` whose server emits tokens on an exact schedule.

Becomes `xllamacpp/__init__.py` of small wheels (`real_engines.py` makes them): standard library only. What a
release does stands in `schedule.json` beside it:

- `prefill_s`: seconds to the first token;
- `step_s`: seconds a step takes in each arm, `{"baseline": …, "mtp": …}`;
- `delay`: fraction by which every step of an arm is longer, `{"mtp": 0.03}`;
- `session_noise`, `prompt_noise`: deviation of the logarithm of a session's and of a prompt's times.

The noise is drawn anew in every process, so two sessions of one release differ as real ones do. Token ids and
how many drafts each step accepts follow from the prompt alone.
"""

from __future__ import annotations

import json
import math
import random
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

AWAKE_S = 150e-6
"""The last stretch before a step is due is waited for awake: a timer alone wakes up late."""
ACCEPTED = (3, 2, 3, 1, 3, 0, 2, 3)
"""Drafts that a step accepts, in turns; the prompt says where the turns begin."""
PROMPT_TOKENS = 16
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class common_speculative_type:  # noqa: N801  # the package's name for it
    """The kinds of speculation that can be asked for."""

    COMMON_SPECULATIVE_TYPE_NONE = 0
    COMMON_SPECULATIVE_TYPE_DRAFT_MTP = 1


def CommonParams() -> SimpleNamespace:  # noqa: N802  # a class in the package
    """Return the parameters that the launcher sets."""
    threads = {"n_threads": 1}
    draft = SimpleNamespace(n_max=3, n_min=0, p_min=0.0)
    return SimpleNamespace(
        model=SimpleNamespace(path=""),
        hostname="127.0.0.1",
        port=0,
        n_ctx=0,
        n_parallel=1,
        cpuparams=SimpleNamespace(**threads),
        cpuparams_batch=SimpleNamespace(**threads),
        speculative=SimpleNamespace(types=[0], draft=draft),
    )


class Server:
    """Listens, and answers one request after another on schedule."""

    def __init__(self, params: Any) -> None:
        """Draw the session's noise and begin to listen."""
        order = json.loads(Path(__file__).with_name("schedule.json").read_text(encoding="utf-8"))
        wanted = params.speculative.types
        self._drafts = common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP in wanted
        self._draft_length = params.speculative.draft.n_max
        arm = "mtp" if self._drafts else "baseline"
        self._chance = random.SystemRandom()
        self._prompt_noise = order["prompt_noise"]
        session = math.exp(self._chance.gauss(0, order["session_noise"]))
        self._prefill_s = order["prefill_s"] * session
        self._step_s = order["step_s"][arm] * (1 + order["delay"].get(arm, 0.0)) * session
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.listening_address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line, body = _request(connection)
                if line.startswith("POST /completion "):
                    self._answer(connection, json.loads(body))
                else:
                    connection.sendall(_page(line.split()[1] if line else ""))

    def _answer(self, connection: socket.socket, asked: dict[str, Any]) -> None:
        step_s = self._step_s * math.exp(self._chance.gauss(0, self._prompt_noise))
        n = asked["n_predict"]
        events, steps, accepted = [], 0, 0
        said, turn = 1, sum(asked["prompt"].encode()) % len(ACCEPTED)
        events.append((0.0, _tokens(0, 1)))
        while said < n:
            right = ACCEPTED[(turn + steps) % len(ACCEPTED)] if self._drafts else 0
            right = min(right, n - said - 1, self._draft_length)
            steps, accepted = steps + 1, accepted + right
            events.append((steps * step_s, _tokens(said, said + right + 1)))
            said += right + 1
        timings: dict[str, Any] = {"cache_n": 0, "prompt_n": PROMPT_TOKENS, "predicted_n": n}
        timings["predicted_ms"] = 1000 * steps * step_s
        if self._drafts:
            timings |= {"draft_n": steps * self._draft_length, "draft_n_accepted": accepted}
        last = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "timings": timings}
        events.append((events[-1][0], {**last, "tokens_predicted": n, "tokens_evaluated": PROMPT_TOKENS}))
        connection.sendall(HEAD)
        begin = time.monotonic() + self._prefill_s
        for due, event in events:
            while (left := begin + due - time.monotonic()) > 0:
                if left > AWAKE_S:
                    time.sleep(left - AWAKE_S)
            connection.sendall(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


def _tokens(begin: int, end: int) -> dict[str, Any]:
    tokens = list(range(1000 + begin, 1000 + end))
    return {"content": " token" * len(tokens), "tokens": tokens, "stop": False, "tokens_predicted": end}


def _request(connection: socket.socket) -> tuple[str, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return "", b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    sizes = (int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:"))
    length = next(sizes, 0)
    while len(body) < length:
        body += connection.recv(65536)
    return lines[0], body


def _page(path: str) -> bytes:
    pages: dict[str, Any] = {"/health": {"status": "ok"}, "/props": {}, "/slots": []}
    status = "200 OK" if path in pages else "404 Not Found"
    content = json.dumps(pages.get(path, {})).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + content
