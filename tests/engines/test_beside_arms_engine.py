"""Ordinary speculation beside MTP, on the real server: n-grams and a draft model, on the same weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.checks.loader import load_check, select_prompts
from monitor.domain import Arm, BesideArm, Environment, Sample, Session, Tier
from standins.engine import one_session, tagged_by

Measured = tuple[Session, tuple[Sample, ...]]
REPEATING = 700
"""Tokens after which the model's language has come round to what it said before."""


@pytest.fixture
def measure(
    environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path
) -> Iterator[Callable[[Arm], Measured]]:
    check = load_check("synthetic-qwen35-tiny")
    check = replace(check, beside={Arm.NGRAM: BesideArm(4), Arm.DRAFT_MODEL: BesideArm(2)})
    prompts = [replace(prompt, max_tokens=REPEATING) for prompt in select_prompts(check, Tier.QUICK)]

    def run(arm: Arm) -> Measured:
        return one_session(
            check,
            environment_for("2026.10.11549"),
            tiny_model,
            tmp_path,
            draft_model=tiny_model if arm is Arm.DRAFT_MODEL else None,
            arm=arm,
            prompts=prompts,
        )

    yield run
    assert tagged_by(os.getpid()) == []


def test_both_draft_as_told_and_leave_the_text_as_it_is(measure: Callable[[Arm], Measured]) -> None:
    _, plain = measure(Arm.BASELINE)
    for arm, length in ((Arm.NGRAM, 4), (Arm.DRAFT_MODEL, 2)):
        session, samples = measure(arm)
        assert [s.token_ids for s in samples] == [s.token_ids for s in plain], arm
        assert all(s.drafted and s.accepted for s in samples), arm
        assert session.effective is not None
        assert session.effective["missing"] == "", arm
        assert session.effective["counter.drafted"] <= length * session.effective["counter.drafts"], arm


def test_a_model_that_drafts_for_itself_is_always_right(measure: Callable[[Arm], Measured]) -> None:
    _, samples = measure(Arm.DRAFT_MODEL)
    assert [s.accepted for s in samples] == [s.drafted for s in samples]
