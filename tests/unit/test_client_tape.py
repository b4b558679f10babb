from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bench.tape import Tape, decode, split_events
from monitor.errors import EngineCrashError, EngineReplyError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def tape(*pieces: bytes, closed: bool = True, failure: str | None = None) -> Tape:
    """Piece number i arrives at second i + 1."""
    return Tape(
        target="http://engine.example/completion",
        sent_s=0.5,
        ended_s=len(pieces) + 1.0,
        marks=[float(i) for i in range(1, len(pieces) + 1)],
        pieces=list(pieces),
        closed=closed,
        failure=failure,
    )


def plain(body: bytes, status: str = "200 OK", media: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def seen(answer: Any) -> list[tuple[float, Any]]:
    return [(event.at_s, event.data) for event in answer.events]


def test_each_event_has_the_arrival_time_of_the_byte_that_completed_it() -> None:
    answer = decode(
        tape(
            HEAD,
            chunk(b'data: {"a":1}\n'),
            chunk(b'\ndata: {"b":2}\n\ndata: {"c":'),
            chunk(b"3}\n\n"),
            chunk(b"data: [DONE]\n\n") + END,
        )
    )
    assert (answer.status, answer.sent_s, answer.ended_s) == (200, 0.5, 6.0)
    assert seen(answer) == [(3.0, {"a": 1}), (3.0, {"b": 2}), (4.0, {"c": 3})]


def test_the_end_of_a_chunk_may_come_later_than_the_event_in_it() -> None:
    body = b'data: {"a":1}\n\n'
    answer = decode(tape(HEAD + b"%x\r\n" % len(body) + body, b"\r\n", END))
    assert seen(answer) == [(1.0, {"a": 1})]


BODY = (
    b"\xef\xbb\xbf: hello\r\n\r\n"
    b'event: token\r\ndata: {"index":0,"content":"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x90\xa6",'
    b'"tokens":[1,2]}\r\n\r\n'
    b': ping\n\ndata:{"content":" data: {}","tokens":[3]}\n\n'
    b'data: {"lines":\rdata: 3}\r\r'
    b'id: 7\ndata: {"stop":true,"timings":{"predicted_n":3}}\n\ndata: [DONE]\n\n'
)
EXPECTED = [
    {"index": 0, "content": "Grüße 🐦", "tokens": [1, 2]},
    {"content": " data: {}", "tokens": [3]},
    {"lines": 3},
    {"stop": True, "timings": {"predicted_n": 3}},
]


@given(
    chunk_cuts=st.lists(st.integers(1, len(BODY) - 1), max_size=12, unique=True),
    cuts=st.lists(st.integers(0, len(BODY) * 2), max_size=40),
)
def test_any_segmentation_of_a_stream_decodes_to_the_same_events(
    chunk_cuts: list[int], cuts: list[int]
) -> None:
    edges = [0, *sorted(chunk_cuts), len(BODY)]
    whole = HEAD + b"".join(chunk(BODY[a:b]) for a, b in itertools.pairwise(edges)) + END
    borders = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(borders) if b > a]
    answer = decode(tape(*pieces))
    assert [event.data for event in answer.events] == EXPECTED
    times = [event.at_s for event in answer.events]
    assert times == sorted(times)


def test_byte_by_byte_every_event_is_timed_by_its_last_byte() -> None:
    whole = HEAD + chunk(BODY) + END
    answer = decode(tape(*(whole[i : i + 1] for i in range(len(whole)))))
    start = len(HEAD) + len(b"%x\r\n" % len(BODY))
    ends = [end for end, data in split_events(BODY) if data != b"[DONE]"]
    assert [event.at_s for event in answer.events] == [float(start + end) for end in ends]
    assert [event.data for event in answer.events] == EXPECTED


def test_a_single_object_is_one_event_timed_by_its_last_byte() -> None:
    reply = plain(b'{"content": "x"}')
    answer = decode(tape(reply[:-1], reply[-1:], closed=False))
    assert seen(answer) == [(2.0, {"content": "x"})]


def test_an_error_reply_keeps_its_status_and_its_json() -> None:
    answer = decode(tape(plain(b'{"error": {"message": "no slot"}}', "503 Service Unavailable")))
    assert answer.status == 503
    assert seen(answer) == [(1.0, {"error": {"message": "no slot"}})]


def test_an_error_reply_that_is_no_json_keeps_its_text() -> None:
    answer = decode(tape(plain(b"<h1>Bad gateway</h1>", "502 Bad Gateway", "text/html")))
    assert (answer.status, answer.events, answer.text) == (502, (), "<h1>Bad gateway</h1>")


def test_a_reply_of_unannounced_length_ends_with_the_connection() -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    assert seen(decode(tape(head, b'data: {"a":1}\n\n'))) == [(2.0, {"a": 1})]


def test_informational_replies_and_bytes_behind_the_end_are_passed_over() -> None:
    reply = plain(b'{"a":1}')
    answer = decode(tape(b"HTTP/1.1 100 Continue\r\n\r\n" + reply, b"left over"))
    assert seen(answer) == [(1.0, {"a": 1})]


def test_a_stream_that_said_done_is_whole_without_its_last_chunk() -> None:
    pieces = (HEAD, chunk(b'data: {"a":1}\n\n'), chunk(b"data: [DONE]\n\n"))
    assert seen(decode(tape(*pieces, failure="Connection reset by peer"))) == [(2.0, {"a": 1})]


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ((), None),
        ((HEAD[:20],), None),
        ((HEAD, chunk(b'data: {"a":1}\n\n')), None),
        ((HEAD, chunk(b'data: {"a":1}\n\n')), "Connection reset by peer"),
        ((plain(b'{"a":1}')[:-1],), None),
        ((b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",), "Connection reset by peer"),
    ],
    ids=["nothing", "head", "no last chunk", "reset", "shorter than announced", "reset while unannounced"],
)
def test_a_reply_that_is_cut_short_is_a_crash(pieces: tuple[bytes, ...], failure: str | None) -> None:
    with pytest.raises(EngineCrashError, match=r"engine\.example"):
        decode(tape(*pieces, failure=failure))


def streamed(body: bytes) -> bytes:
    return HEAD + chunk(body) + END


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (HEAD + b"zz\r\n", "not HTTP"),
        (plain(b"<html>hello</html>", media="text/html"), "neither an event stream nor"),
        (plain(b"[1]"), "not a JSON object"),
        (plain(b""), "not JSON"),
        (streamed(b"data: {oops}\n\n"), "not JSON"),
        (streamed(b'data: "text"\n\n'), "not a JSON object"),
        (streamed(b'data: {"a": "\xff"}\n\n'), "not UTF-8"),
        (streamed(b'data: {"a": NaN}\n\n'), "NaN"),
        (streamed(b'data: {"a": -1e999}\n\n'), "too large"),
        (streamed(b"data: " + b'{"a":' * 100_000 + b"\n\n"), "not JSON"),
        (streamed(b'data: {"a": 1}\n\ndata: {"b": '), "inside an event"),
        (streamed(b'error: {"code": 500}\n\n'), "server reports"),
        (streamed(b": ping\n\n"), "no event"),
        (plain(b"{}").replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), "content coding"),
    ],
)
def test_a_reply_that_is_no_completion_is_refused_with_what_was_wrong(reply: bytes, says: str) -> None:
    with pytest.raises(EngineReplyError, match=says) as caught:
        decode(tape(reply))
    assert len(str(caught.value)) < 700


def test_messages_quote_hostile_bytes_harmlessly() -> None:
    with pytest.raises(EngineReplyError) as caught:
        decode(tape(streamed(b"data: \x1b[31m\x00\xe2\x80\xae\n\n")))
    assert str(caught.value).replace("\n", "").isascii()
    assert str(caught.value).replace("\n", "").isprintable()


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), min_size=1, max_size=8)
)
def test_what_a_server_writes_is_what_is_read(objects: list[dict[str, str]]) -> None:
    body = b"".join(b"data: %s\n\n" % json.dumps(item).encode() for item in objects)
    assert [event.data for event in decode(tape(streamed(body))).events] == objects
