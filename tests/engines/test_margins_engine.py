"""The real llama.cpp server tells the margin of its model where a text is said to have parted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.bench.margins import Inquiry
from monitor.checks.loader import load_check
from monitor.domain import Arm, Divergence, Environment, Prompt, Sample, Session
from standins.engine import one_session, tagged_by

BUILDS = ("2026.5.9294", "2026.10.11549")
TEXT = Prompt("code-1", "code", 24, text="if x then y")
CHAT = Prompt("chat-1", "chat", 24, messages=({"role": "user", "content": "if x then y"},))
COMMON = 9


def asked(
    environment: Environment,
    model: Path,
    folder: Path,
    prompts: Sequence[Prompt],
    places: Callable[[Sequence[Sample]], Sequence[Divergence]],
) -> Session:
    check = load_check("synthetic-qwen35-tiny")
    session, _ = one_session(
        replace(check, warmup_prompts=0),
        environment,
        model,
        folder,
        arm=Arm.BASELINE,
        prompts=prompts,
        inquiry=Inquiry(places, 60.0),
    )
    assert tagged_by(os.getpid()) == []
    return session


@pytest.mark.parametrize("version", BUILDS)
def test_the_token_that_the_model_said_is_the_likelier_one_and_by_how_much_is_told(
    environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path, version: str
) -> None:
    def places(samples: Sequence[Sample]) -> Sequence[Divergence]:
        tokens = samples[0].token_ids
        assert tokens is not None
        right = tokens[COMMON]
        # Made up: some of these are among the likeliest, others are not.
        others = [token for token in range(3, 3 + 8) if token != right]
        return [Divergence(0, "code", "code-1", 0, tokens[:COMMON], right, other) for other in others] + [
            Divergence(0, "code", "code-1", 0, tokens[:COMMON], others[0], right)
        ]

    session = asked(environment_for(version), tiny_model, tmp_path, [TEXT], places)

    assert (session.effective or {})["margins.told"] == len(session.margins or ())
    assert session.margins
    *forward, backward = session.margins
    # The model that is forced along its own text says what it said: every other token is less likely.
    assert all(margin.nats > 0 for margin in forward)
    assert all(margin.position == COMMON for margin in forward)
    assert backward.nats == pytest.approx(-forward[0].nats, abs=1e-4)


def test_the_prompt_of_a_chat_is_rendered_by_the_server_itself(
    environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path
) -> None:
    session = asked(
        environment_for(BUILDS[-1]),
        tiny_model,
        tmp_path,
        [CHAT],
        lambda _: [Divergence(0, "chat", "chat-1", 0, (), 3, 4)],
    )

    assert (session.effective or {})["margins.told"] == 1
