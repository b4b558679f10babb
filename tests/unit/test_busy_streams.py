"""The closed loop itself, and what share of the time it keeps all streams busy."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bench.client import record
from monitor.bench.streams import Span, full_share, keep_busy
from monitor.errors import EngineHangError

LENGTHS = (3, 10, 4, 13, 1, 7, 5)
"""No two of these end in the same turn when three are under way."""


class Clock:
    """Jobs that take as many turns of the loop as they are long, and how many of them ran at each start."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.running = 0
        self.at_start: list[int] = []

    async def job(self, place: int, length: int) -> int:
        self.running += 1
        self.started.append(place)
        self.at_start.append(self.running)
        for _ in range(length):
            await asyncio.sleep(0)
        self.running -= 1
        return place


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    streams=st.integers(1, 8),
)
def test_all_streams_are_busy_while_anything_waits(lengths: list[int], streams: int) -> None:
    clock = Clock()
    jobs = [partial(clock.job, place, length) for place, length in enumerate(lengths)]
    results = asyncio.run(keep_busy(jobs, lengths, streams=streams))
    assert results == list(range(len(lengths)))
    assert max(clock.at_start) == min(streams, len(lengths))
    assert [lengths[place] for place in clock.started] == sorted(lengths, reverse=True)


def test_a_place_is_taken_the_moment_it_is_free() -> None:
    clock = Clock()
    jobs = [partial(clock.job, place, length) for place, length in enumerate(LENGTHS)]
    asyncio.run(keep_busy(jobs, LENGTHS, streams=3))
    assert clock.started == [3, 1, 5, 6, 2, 0, 4]
    assert clock.at_start == [1, 2, 3, 3, 3, 3, 3]


async def _never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: list[int]) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n")
    while await reader.read(1000):
        pass
    gone.append(1)
    writer.close()


def test_a_failure_closes_the_connections_of_the_others_and_leaves_no_task_behind() -> None:
    gone: list[int] = []

    async def fails() -> None:
        await asyncio.sleep(0.1)
        raise EngineHangError("It hangs.")

    async def story() -> int:
        server = await asyncio.start_server(lambda r, w: _never_ends(r, w, gone), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def ask() -> Coroutine[Any, Any, Any]:
            return record(f"http://127.0.0.1:{port}/", {}, deadline_s=60, max_bytes=10_000)

        before = asyncio.all_tasks()
        with pytest.raises(EngineHangError, match="It hangs"):
            await keep_busy([ask, ask, fails, ask], [4, 3, 2, 1], streams=3)
        if servers := asyncio.all_tasks() - before:  # that side sees the end a moment later
            await asyncio.wait(servers, timeout=30)
        assert asyncio.all_tasks() == before
        server.close()
        return len(gone)

    assert asyncio.run(story()) == 2, "the fourth was never asked"


# ---------------------------------------------------------------------------------------------
# The share


def spans(*rows: tuple[float, float, float]) -> list[Span]:
    return [Span(*row) for row in rows]


@pytest.mark.parametrize(
    ("rows", "streams", "share"),
    [
        # Two at a time from 0 to 10, then one for another 10: 20 of 30 seconds of decoding.
        (((0, 0, 10), (0, 0, 20)), 2, 20 / 30),
        # The third takes the place of the first at once.
        (((0, 0, 10), (0, 0, 20), (10, 10, 20)), 2, 1.0),
        # A second in which one stream is empty: the other decodes meanwhile, and that second is not full.
        (((0, 0, 10), (0, 0, 20), (11, 11, 20)), 2, 38 / 39),
        # A prefill is under way and takes no decode time of its own.
        (((0, 5, 10), (0, 0, 10)), 2, 1.0),
        (((0, 0, 10),), 2, 0.0),
        (((0, 0, 10),), 1, 1.0),
        (((0, 3, 3),), 1, None),
        ((), 4, None),
    ],
)
def test_the_share_is_that_of_decode_time_with_all_streams_busy(
    rows: tuple[tuple[float, float, float], ...], streams: int, share: float | None
) -> None:
    assert full_share(spans(*rows), streams) == (None if share is None else pytest.approx(share))
