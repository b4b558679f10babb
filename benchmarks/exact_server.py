"""A server that emits tokens on an exact schedule and notes when it really wrote each chunk.

Runs alone (`python exact_server.py`), with the standard library only. Each line on its standard input is a
round: `{"shape", "streams", "tokens", "rate", "sizes", "seed"}`. It takes that many requests, answers them
all at once, and then prints `{"due": [[…]], "written": [[…]]}`: for each stream the second, on this
machine's monotonic clock, at which each chunk was due and at which it was handed to the socket.

A timer alone wakes up 50 µs late and more, so the last stretch before each chunk is waited for awake.
"""

from __future__ import annotations

import gc
import json
import random
import socket
import sys
import time
from itertools import pairwise

AWAKE_S = 150e-6
LEAD_S = 0.05  # from the last request to the first chunk, and from the last chunk to the close
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def main() -> None:
    """Serve the rounds that are asked for on standard input until it ends."""
    gc.disable()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        for line in sys.stdin:
            print(json.dumps(serve_round(listener, json.loads(line))), flush=True)


def serve_round(listener: socket.socket, wanted: dict) -> dict:
    """Answer one round of requests and return when each chunk was due and when it was written."""
    plans = [plan(wanted, stream) for stream in range(wanted["streams"])]
    connections = [_accept(listener) for _ in plans]
    begin = time.monotonic() + LEAD_S
    for connection in connections:
        connection.sendall(HEAD)
    steps = [(begin + due, stream, data) for stream, chunks in enumerate(plans) for due, data in chunks]
    steps.sort(key=lambda step: step[0])  # stable: the last two chunks of a stream are due at once
    written: list[list[float]] = [[] for _ in plans]
    monotonic, sleep = time.monotonic, time.sleep
    for due, stream, data in steps:
        while (left := due - monotonic()) > 0:
            if left > AWAKE_S:
                sleep(left - AWAKE_S)
        written[stream].append(monotonic())
        connections[stream].sendall(data)
    sleep(LEAD_S)  # the client may be waiting for this core, and what follows is no part of the schedule
    for connection in connections:
        connection.close()
    return {"due": [[begin + due for due, _ in chunks] for chunks in plans], "written": written}


def plan(wanted: dict, stream: int) -> list[tuple[float, bytes]]:
    """Return for each chunk of one stream when it is due, from the round's begin, and its bytes.

    A chunk of k tokens is due k / rate after the one before it. The chunk with the finish reason is due
    together with the last tokens, as with the real servers.
    """
    rate, tokens = wanted["rate"], wanted["tokens"]
    shape = {"llama": _llama, "openai": _openai}[wanted["shape"]]
    sizes = _sizes(wanted["sizes"], tokens, random.Random(wanted["seed"] + stream))  # noqa: S311  # no secret
    # Streams do not beat in time: real ones are spread over the step.
    offset = stream / wanted["streams"] * sizes[0] / rate
    counts = [0]
    for size in sizes:
        counts.append(counts[-1] + size)
    first = counts[1]
    chunks = [
        (offset + (after - first) / rate, _chunk(shape(before, after))) for before, after in pairwise(counts)
    ]
    last = b"".join(_chunk(event) for event in _finish(wanted["shape"], tokens)) + END
    return [*chunks, (chunks[-1][0], last)]


def _sizes(allowed: list[int], tokens: int, chance: random.Random) -> list[int]:
    sizes, left = [], tokens
    while left:
        sizes.append(min(left, chance.choice(allowed)))
        left -= sizes[-1]
    return sizes


def _llama(before: int, after: int) -> bytes:
    event = {
        "index": 0,
        "content": " token" * (after - before),
        "tokens": list(range(1000 + before, 1000 + after)),
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": after,
        "tokens_evaluated": 32,
    }
    return _event(event)


def _openai(before: int, after: int) -> bytes:
    return _event(_completion(" token" * (after - before), None))


def _finish(shape: str, tokens: int) -> list[bytes]:
    if shape == "openai":
        return [_event(_completion("", "length")), b"data: [DONE]\n\n"]
    event = {
        "index": 0,
        "content": "",
        "tokens": [],
        "id_slot": 0,
        "stop": True,
        "stop_type": "limit",
        "tokens_predicted": tokens,
        "tokens_evaluated": 32,
        "timings": {"prompt_n": 32, "predicted_n": tokens},
    }
    return [_event(event)]


def _completion(text: str, finish_reason: str | None) -> dict:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "exact",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}],
    }


def _event(value: dict) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return connection


if __name__ == "__main__":
    main()
