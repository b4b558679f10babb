"""Asks a baseline server, after all its measured answers, for its model's margins where texts parted.

Nothing here is measured, and nothing that goes wrong here costs the session: what was not told is noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.bench.client import stream
from monitor.bench.server import Server
from monitor.domain import Divergence, Margin, Prompt, Sample
from monitor.engines.answers import check_status, refuse, refuse_error_bodies
from monitor.engines.base import Request
from monitor.engines.margins import TellsMargins
from monitor.errors import EngineCrashError, EngineError

FACT = "margins."
"""How the facts of a session begin that say what was asked, and why something was not told."""
_REPLY_BYTES = 8 * 2**20
_SHOWN = 300  # characters of a reason


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a session is to find out once everything is measured."""

    divergences: Callable[[Sequence[Sample]], Sequence[Divergence]]
    """Told the session's own samples, returns the places to ask about."""
    time_s: float
    """For all of them together."""


async def ask(
    server: Server, inquiry: Inquiry, prompts: Sequence[Prompt], samples: Sequence[Sample]
) -> tuple[tuple[Margin, ...] | None, dict[str, Any]]:
    """Return the margins that the server tells, and facts on what it was asked.

    None instead of margins where the engine cannot be asked at all.
    """
    places = inquiry.divergences(samples)
    dialect = server.dialect
    if not isinstance(dialect, TellsMargins):
        return None, {f"{FACT}unavailable": f"the engine {server.engine.name} tells none"} if places else {}
    if not places:
        return (), {}
    by_id = {(prompt.workload, prompt.id): prompt for prompt in prompts}
    told: list[Margin] = []
    reasons: list[str] = []
    try:
        async with asyncio.timeout(inquiry.time_s):
            for place in places:
                prompt = by_id.get((place.workload, place.prompt))
                if prompt is None:
                    # A session of more prompts than this one has.
                    continue
                try:
                    told.append(await _margin(server, dialect, place, prompt, inquiry.time_s))
                except EngineError as error:
                    reasons.append(error.what)
                    if isinstance(error, EngineCrashError):
                        break
    except TimeoutError:
        reasons.append(f"the {inquiry.time_s:g} s for it were over")
    facts: dict[str, Any] = {f"{FACT}asked": len(places), f"{FACT}told": len(told)}
    if reasons:
        facts[f"{FACT}reason"] = reasons[0][:_SHOWN]
    return tuple(told), facts


async def _margin(
    server: Server, dialect: TellsMargins, place: Divergence, prompt: Prompt, deadline_s: float
) -> Margin:
    exchange = dialect.margin(place, prompt, server.setup.check)
    request = next(exchange)
    while True:
        answer = await _answer(server, request, deadline_s)
        try:
            request = exchange.send(answer)
        except StopIteration as end:
            return Margin(
                session=place.session,
                workload=place.workload,
                prompt=place.prompt,
                repeat=place.repeat,
                position=len(place.common),
                expected=place.expected,
                found=place.found,
                nats=end.value.nats,
                at_least=end.value.at_least,
            )


async def _answer(server: Server, request: Request, deadline_s: float) -> dict[str, Any]:
    answer = await stream(
        server.address + request.path, request.body, deadline_s=deadline_s, max_bytes=_REPLY_BYTES
    )
    check_status(answer.status, answer.text)
    refuse_error_bodies(answer.events)
    if not answer.events:
        raise refuse("it holds nothing")
    return answer.events[-1].data
