"""What a server can be asked beside answers: by how much its model prefers one token to another.

A capability that a dialect may have (`TellsMargins`); one that lacks it is not asked. Like the rest of a
dialect it only translates: it yields what to ask, is sent what was answered, and returns what that means.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from monitor.domain import Check, Divergence, Prompt
from monitor.engines.answers import refuse
from monitor.engines.base import Request

TOP = 20
"""Most likely tokens asked for: what vLLM allows without being told to allow more."""

_LEAST = -9999.0
_ROUNDING = 1e-3  # how far above 0 the probability of a certain token may come out


@dataclass(frozen=True, slots=True)
class Told:
    """A margin as a server tells it."""

    nats: float
    """Log probability of the expected token − log probability of the found one."""
    at_least: bool
    """One of them, or both, is not among those it told: the margin is so far from 0 or further."""


Exchange = Generator[Request, Any, Told]
"""Yields requests that are no streams, is sent the JSON of each answer, returns the margin."""


@runtime_checkable
class TellsMargins(Protocol):
    """A dialect whose server tells the log probabilities of tokens."""

    def margin(self, divergence: Divergence, prompt: Prompt, check: Check) -> Exchange:
        """Return the exchange that asks for the model's margin where texts parted.

        Raises:
            EngineReplyError: out of the exchange, when an answer is not what was asked for.

        """


def tell(expected: int, found: int, likely: Mapping[int, float]) -> Told:
    """Return the margin between two tokens out of the log probabilities of the most likely ones.

    A token that is not among these is no likelier than the last of them.

    Raises:
        EngineReplyError: when there are none.

    """
    if not likely:
        raise refuse("it tells no log probabilities of tokens")
    last = min(likely.values())
    nats = likely.get(expected, last) - likely.get(found, last)
    return Told(nats, at_least=not {expected, found} <= likely.keys())


def log_probability(value: Any) -> float:
    """Return an untrusted log probability; what has none at all (-3e38, -9999) is no further off than -9999.

    Raises:
        EngineReplyError: when it is none.

    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value <= _ROUNDING:
        raise refuse(f"a log probability is {value!r:.40}")
    return max(float(value), _LEAST)


def following(prompt: Sequence[int], divergence: Divergence) -> list[int]:
    """Return the token ids along which the model is forced."""
    return [*prompt, *divergence.common]
