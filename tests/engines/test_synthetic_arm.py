"""The arm `synthetic` on real builds: what is accepted is told, and does not depend on the drafts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.checks.loader import load_check
from monitor.checks.synthetic import SyntheticRecipe, write_model
from monitor.domain import Arm, BesideArm, Environment, Sample
from monitor.errors import EngineStartError
from standins.engine import one_session

FIRST, NEWEST, BEFORE = "2026.9.10809", "2026.10.11549", "2026.8.10566"
SHARES = [0.9, 0.6, 0.3]
TOKENS = 600


@pytest.fixture
def drafted_and_accepted(
    environment_for: Callable[[str], Environment], tmp_path: Path
) -> Callable[[str, Path], tuple[int, int]]:
    check = load_check("synthetic-qwen35-tiny")
    check = replace(check, beside={Arm.SYNTHETIC: BesideArm(3, {"acceptance": SHARES})})
    prompts = [replace(p, max_tokens=TOKENS) for w in check.workloads for p in w.prompts]

    def measure(version: str, model: Path) -> tuple[int, int]:
        samples: tuple[Sample, ...]
        _, samples = one_session(
            check, environment_for(version), model, tmp_path, arm=Arm.SYNTHETIC, prompts=prompts
        )
        return sum(s.drafted or 0 for s in samples), sum(s.accepted or 0 for s in samples)

    return measure


@pytest.mark.parametrize("version", [FIRST, NEWEST])
def test_a_worse_head_changes_nothing_of_what_is_accepted(
    drafted_and_accepted: Callable[[str, Path], tuple[int, int]],
    tiny_model: Path,
    tmp_path: Path,
    version: str,
) -> None:
    recipe = SyntheticRecipe.from_dict(load_check("synthetic-qwen35-tiny").model.recipe)
    worse = write_model(replace(recipe, noise=60.0), tmp_path / "worse.gguf").path
    for model in (tiny_model, worse):
        drafted, accepted = drafted_and_accepted(version, model)
        assert drafted > 1000
        assert accepted / drafted == pytest.approx(sum(SHARES) / len(SHARES), abs=0.05)


def test_a_build_without_it_says_so_at_its_start(
    drafted_and_accepted: Callable[[str, Path], tuple[int, int]], tiny_model: Path
) -> None:
    with pytest.raises(EngineStartError, match="synth_rates"):
        drafted_and_accepted(BEFORE, tiny_model)
