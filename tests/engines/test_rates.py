"""The server's own rate changed its meaning between two builds; a speed must not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.checks.loader import load_check
from monitor.domain import Check, Environment, Prompt, Sample, Verdict
from monitor.engines.base import Completion, Dialect, Event
from monitor.engines.llama_http import LlamaHttp
from monitor.engines.xllamacpp import XllamacppEngine
from monitor.judge.verdict import judge
from standins.engine import one_session
from tests.unit.judge.measurements import Truth
from tests.unit.judge.measurements import measure as made_up

BEFORE, SINCE = "2026.8.10229", "2026.8.10566"
TOKENS = 16
"""So few that n and n − 1 lie 7 % apart."""


class Listening(LlamaHttp):
    """The protocol, keeping what the server says of its own times."""

    def __init__(self) -> None:
        self.timings: list[Mapping[str, Any]] = []

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        self.timings.append(next(event.data["timings"] for event in events if event.data.get("stop")))
        return super().read(events, prompt, check)


class Overheard(XllamacppEngine):
    """The engine, with a dialect that listens."""

    def __init__(self) -> None:
        self.heard = Listening()

    def dialect(self, _check: Check, /) -> Dialect:
        return self.heard


@pytest.fixture
def answered(
    environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path
) -> Callable[[str], list[tuple[Mapping[str, Any], Sample]]]:
    def ask(version: str) -> list[tuple[Mapping[str, Any], Sample]]:
        check, engine = load_check("synthetic-qwen35-tiny"), Overheard()
        prompts = [replace(p, max_tokens=TOKENS) for workload in check.workloads for p in workload.prompts]
        _, samples = one_session(
            replace(check, warmup_prompts=0),
            environment_for(version),
            tiny_model,
            tmp_path,
            engine=engine,
            prompts=prompts,
        )
        # Of a prompt that was asked again the last answer counts; its time is the last with these counts.
        last = {(t["predicted_n"], t["predicted_ms"]): t for t in engine.heard.timings}
        return [
            (t, sample)
            for sample in samples
            for t in last.values()
            if sample.server_decode_tps == pytest.approx(1000 * (TOKENS - 1) / t["predicted_ms"])
        ]

    return ask


@pytest.mark.parametrize(("version", "counted"), [(BEFORE, TOKENS), (SINCE, TOKENS - 1)])
def test_a_builds_own_rate_counts_the_first_token_or_not_and_ours_never_does(
    answered: Callable[[str], list[tuple[Mapping[str, Any], Sample]]], version: str, counted: int
) -> None:
    found = answered(version)
    assert found
    for timings, sample in found:
        assert timings["predicted_n"] == sample.n == TOKENS
        assert timings["predicted_per_second"] == pytest.approx(1000 * counted / timings["predicted_ms"])
        assert sample.server_decode_tps == pytest.approx(1000 * (TOKENS - 1) / timings["predicted_ms"])


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.UNCHANGED), (TOKENS / (TOKENS - 1), None)])
def test_the_guard_of_two_percent_would_trip_on_the_servers_own_figure(
    factor: float, verdict: Verdict | None
) -> None:
    truth = Truth(noise=0.002, tokens=2 * TOKENS)
    reference, candidate = made_up(truth), made_up(replace(truth, version="1.1"), seed=2)
    told = replace(
        candidate,
        samples=tuple(
            replace(s, server_decode_tps=factor * (s.n - s.n_first) / s.decode_s) for s in candidate.samples
        ),
    )
    judged = judge(reference, told)
    if verdict is None:
        assert judged.verdict is Verdict.INVALID
        assert "rate" in judged.headline
    else:
        assert judged.verdict is verdict
