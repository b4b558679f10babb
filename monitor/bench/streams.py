"""Several answers at a time: a closed loop that keeps as many requests under way as the check asks for.

A new request starts when one ends, so all `concurrency` streams are busy from the first request until no more
is waiting. Asked in groups, each of which waits for its slowest answer, the streams would run empty again and
again, and what is left of the gain of MTP at many streams would be overstated, since it is larger at few.

- *Order.* The longest (by `max_tokens`) first, else as the tier lists them: what is asked last is short, so
  the streams run empty quickly. The order is the same in both arms and all sessions.
- *The end.* When nothing waits any more, fewer requests are under way. The answers of that time stay in: they
  are the short ones, and a rate without them would speak of other text than the counts do, which an engine
  may tell only for all answers together. How much it is stands in `full_share`, and a guard speaks when it is
  much (`monitor/judge/guards.py`).
- *The client.* Nothing is taken apart while requests are under way: tapes are kept until the last has ended.
  A reply is bounded by its prompt's `max_tokens`, so all are bounded by those of the tier; in practice it is
  less than a kilobyte a token.
- *A failure* ends the others: their connections are closed, which makes a server stop generating for them. An
  answer that is unsound or cut short is no failure until the tapes are taken apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

FACT = "streams.full_share"
"""Flat fact of a session: the share of its decode time during which all streams were busy."""

_T = TypeVar("_T")


async def keep_busy(
    jobs: Sequence[Callable[[], Coroutine[Any, Any, _T]]], lengths: Sequence[int], *, streams: int
) -> list[_T]:
    """Run the jobs, `streams` of them at a time, the longest first; return their results in the given order.

    Args:
        jobs: each makes one request when it is called.
        lengths: of each job, by which they are ordered.
        streams: how many are kept under way while any waits.

    Raises:
        Exception: what the first job that failed raised, when all others have ended.

    """
    waiting = iter(sorted(range(len(jobs)), key=lambda place: -lengths[place]))
    results: dict[int, _T] = {}

    async def stream() -> None:
        for place in waiting:
            results[place] = await jobs[place]()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(streams, len(jobs))):
                group.create_task(stream())
    except ExceptionGroup as failed:
        # Later ones follow from it: when a server crashes, all of its streams break.
        raise failed.exceptions[0] from None
    return [results[place] for place in range(len(jobs))]


@dataclass(frozen=True, slots=True)
class Span:
    """One answer in time, on one clock, in seconds."""

    sent_s: float
    first_s: float
    last_s: float


def full_share(spans: Sequence[Span], streams: int) -> float | None:
    """Return the share of the answers' decode time during which at least `streams` were under way.

    Decode times are what rates are made of, so it is the weight of the full load in a session's rate. Between
    the last chunk of one answer and the request that takes its place a stream is empty, and counts as such.
    None when nothing was decoded.
    """
    changes = sorted([(one.sent_s, 1) for one in spans] + [(one.last_s, -1) for one in spans])
    under_way, full = 0, []
    for (at_s, change), (until_s, _) in pairwise(changes):
        under_way += change
        if under_way >= streams:
            full.append((at_s, until_s))
    decoding_s = sum(one.last_s - one.first_s for one in spans)
    busy_s = sum(
        max(0.0, min(one.last_s, until_s) - max(one.first_s, at_s)) for one in spans for at_s, until_s in full
    )
    return busy_s / decoding_s if decoding_s > 0 else None
