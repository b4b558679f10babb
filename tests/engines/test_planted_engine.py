"""Planted releases of the real engine: installed from their wheel, and found to have the fault they name."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uv

from monitor.checks.loader import load_check
from monitor.domain import Arm, Environment, Sample
from monitor.errors import EngineHangError, EngineStartError
from monitor.net import Http
from monitor.planted.wheels import Fault, plant
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings
from standins.engine import environment_of, one_session, tagged_by

VERSION = "2026.10.11549"
MAX_WHEEL_BYTES = 500 * 2**20

Measure = Callable[..., tuple[Sample, ...]]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install a planted release from a folder, as the monitor does."""
    folder = tmp_path_factory.mktemp("planted")
    settings = SourceSettings(project="xllamacpp", versions=f"=={VERSION}")
    with Http() as web:
        (artifact,) = [
            artifact
            for release in PackageIndex(settings, web).poll()
            for artifact in release.artifacts
            if artifact.version == VERSION and "-cp310-abi3-manylinux2014_x86_64" in artifact.filename
        ]
        wheel = folder / artifact.filename
        web.download(artifact.url, wheel, sha256=artifact.sha256, max_bytes=MAX_WHEEL_BYTES, deadline_s=300)
    plant(wheel, Fault.WORSE_HEAD, folder / "links")
    python, version = folder / "environment" / "bin" / "python", f"{VERSION}+planted.worse.head"
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "--quiet", folder / "environment"], check=True)
    wanted = ["--python", python, "--no-index", "--find-links", folder / "links", f"xllamacpp=={version}"]
    # Not into the cache of the user: nothing else will ever want this release.
    subprocess.run([program, "pip", "install", "--quiet", "--no-cache", *wanted], check=True)
    return environment_of(python, version)


@pytest.fixture
def measure(planted: Environment, tiny_model: Path, tmp_path: Path) -> Iterator[Measure]:
    order = next(planted.path.glob("lib/python*/site-packages/xllamacpp/_planted.json"))
    as_installed = order.read_bytes()
    before = tiny_model.read_bytes()

    def run(fault: Fault, arm: Arm, *, level: float | None = None, **changes: Any) -> tuple[Sample, ...]:
        changed = json.dumps({"fault": fault, "level": level, "seed": 1}).encode()
        order.write_bytes(as_installed if fault is Fault.WORSE_HEAD else changed)
        check = load_check("synthetic-qwen35-tiny")
        _, samples = one_session(replace(check, **changes), planted, tiny_model, tmp_path, arm=arm)
        return samples

    yield run
    order.write_bytes(as_installed)
    assert tiny_model.read_bytes() == before
    assert tagged_by(os.getpid()) == []
    assert not any((tmp_path / "scratch").iterdir())


def texts(samples: tuple[Sample, ...]) -> list[Any]:
    return [sample.token_ids for sample in samples]


def acceptance(samples: tuple[Sample, ...]) -> float:
    return sum(s.accepted or 0 for s in samples) / sum(s.drafted or 0 for s in samples)


@pytest.fixture
def healthy(measure: Measure) -> tuple[Sample, ...]:
    """Measure the mtp arm while the fault lies in the other one."""
    return measure(Fault.SLOWER_BASELINE, Arm.MTP, level=0.4)


def test_the_head_of_the_tiny_model_is_mostly_right(healthy: tuple[Sample, ...]) -> None:
    least = load_check("synthetic-qwen35-tiny").expect.min_acceptance
    assert least is not None
    assert least < acceptance(healthy) < 0.9


def test_a_worse_head_drafts_worse_and_says_the_same(healthy: tuple[Sample, ...], measure: Measure) -> None:
    baseline = measure(Fault.WORSE_HEAD, Arm.BASELINE)
    mtp = measure(Fault.WORSE_HEAD, Arm.MTP)
    assert texts(mtp) == texts(baseline) == texts(healthy)
    assert 0.2 < acceptance(mtp) < acceptance(healthy) - 0.15


def test_speculation_off_drafts_nothing_and_says_the_same(
    healthy: tuple[Sample, ...], measure: Measure
) -> None:
    mtp = measure(Fault.SPECULATION_OFF, Arm.MTP)
    assert texts(mtp) == texts(healthy)
    assert [sample.drafted for sample in mtp] == [0] * len(mtp)


def test_one_draft_fewer_needs_more_steps_and_says_the_same(
    healthy: tuple[Sample, ...], measure: Measure
) -> None:
    mtp = measure(Fault.ONE_DRAFT_FEWER, Arm.MTP)
    assert texts(mtp) == texts(healthy)
    assert sum(s.steps or 0 for s in mtp) > sum(s.steps or 0 for s in healthy)
    assert all(s.accepted_per_position is not None and len(s.accepted_per_position) <= 2 for s in mtp)


def test_altered_tokens_change_what_the_mtp_arm_says(healthy: tuple[Sample, ...], measure: Measure) -> None:
    assert texts(measure(Fault.ALTERED_TOKENS, Arm.BASELINE, level=0.05)) == texts(healthy)
    altered = measure(Fault.ALTERED_TOKENS, Arm.MTP, level=0.05)
    assert all(mine != theirs for mine, theirs in zip(texts(altered), texts(healthy), strict=True))


def test_a_slowed_arm_answers_the_same_with_the_same_counts(
    healthy: tuple[Sample, ...], measure: Measure
) -> None:
    slowed = measure(Fault.SLOWER_STEP, Arm.MTP, level=0.4)
    assert texts(slowed) == texts(healthy)
    assert acceptance(slowed) == acceptance(healthy)


def test_a_crash_is_an_engine_that_does_not_start_and_says_why(measure: Measure) -> None:
    with pytest.raises(EngineStartError) as caught:
        measure(Fault.CRASH, Arm.BASELINE)
    assert "planted fault" in caught.value.log_tail


def test_a_hanging_engine_is_found_at_the_first_request(measure: Measure) -> None:
    with pytest.raises(EngineHangError):
        measure(Fault.HANG, Arm.BASELINE, request_timeout_s=2.0)
