"""What the servers of two measurements said of themselves, and in which order its differences are told."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from monitor.domain import JUDGED_ARMS, Arm, SampleSet


def differences(old: SampleSet, new: SampleSet) -> list[str]:
    """Return what the servers of two measurements said otherwise, what explains a change of speed first.

    A fact that only one of the two states counts: a downgrade is said by the release that has it, and by no
    other. Two arms that changed alike are told as one.
    """
    changes: dict[tuple[str, str], list[Arm]] = {}
    for arm in JUDGED_ARMS:
        before, after = _facts(old, arm), _facts(new, arm)
        if not before or not after:  # nothing is known of a whole server
            continue
        for fact in before.keys() | after.keys():
            if before.get(fact) != after.get(fact):
                changes.setdefault((fact, _change(before.get(fact), after.get(fact))), []).append(arm)
    told = sorted(changes.items(), key=lambda item: (_explains(item[0]), item[0]))
    return [f"{' and '.join(arms)} {fact}: {change}" for (fact, change), arms in told]


def shortened(value: object) -> str:
    """Return a value as it fits into a line."""
    text = str(value)
    return text if len(text) <= _LINE else text[: _LINE - 3] + "…"


_NOT_SAID = "not said"
_LINE = 80  # characters of a value

_FACTS_OF_SPEED = (
    "model_runner",
    "attention_backend",
    "moe_backend",
    "linear_kernel",
    "cudagraph_mode",
    "speculative_config",
    "speculati",
    "slot.speculati",
    "set.speculati",
    "cudagraph",
    "enforce_eager",
    "deep_gemm",
    "flash_att",
    "attention",
    "quantization",
    "kv_cache_dtype",
    "async_scheduling",
    "prefix_caching",
    "cached_prompt_tokens",
)
"""Beginnings of facts that explain how fast a server is, the ones that explain most first."""
_SIZES = ("kv_cache_tokens", "batched_tokens", "scheduled_tokens")
"""Beginnings of facts that may move with every release, for the memory that is left or in small steps."""


def _explains(change: tuple[str, str]) -> int:
    """Return the place of a difference: what explains speed, others, what one side does not say, sizes."""
    fact, text = change
    if fact.startswith(_SIZES):
        return len(_FACTS_OF_SPEED) + 2
    places = (place for place, name in enumerate(_FACTS_OF_SPEED) if fact.startswith(name))
    return next(places, len(_FACTS_OF_SPEED) + (_NOT_SAID in text))


def _change(before: object, after: object) -> str:
    """Return both values; of long ones from where they part, a little earlier."""
    old, new = (_NOT_SAID if value is None else str(value) for value in (before, after))
    if max(len(old), len(new)) > _LINE:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
        if cut := max(0, same - _LINE // 4):
            old, new = f"…{old[cut:]}", f"…{new[cut:]}"
    return f"{shortened(old)} → {shortened(new)}"


_MEASURED_FACTS = (
    "counter.",
    "load.",
    "memory.",
    "margins.",
    "streams.",
    "build",
    "version",
    "model_path",
    "set.model.path",
    "set.port",
    "missing",
)
"""Beginnings of facts that differ from start to start or are the release itself."""


def _facts(sample_set: SampleSet, arm: Arm) -> Mapping[str, Any]:
    first = next((s.effective for s in sample_set.sessions if s.arm is arm and s.effective), None) or {}
    return {name: value for name, value in first.items() if not name.startswith(_MEASURED_FACTS)}
