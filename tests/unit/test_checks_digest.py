"""The digest of a check: it moves with the measurement, and with nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.checks.digest import canonical_json, digest_of, measured_part, model_identity
from monitor.checks.loader import load_check, load_checks, read_file
from monitor.domain import Check, Expectation, ModelSpec, Requirements
from monitor.resources import resource_dir

BASE = load_check("synthetic-qwen35-cpu")
OTHER_MODEL = ModelSpec(name="x", kind="synthetic", recipe={"seed": 8})


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "vllm"},
        {"model": replace(BASE.model, recipe=BASE.model.recipe | {"noise": 8.0})},
        {"draft_model": OTHER_MODEL},
        {"quantisation": "F16"},
        {"draft_length": BASE.draft_length + 1},
        {"concurrency": 4},
        {"sampling": BASE.sampling | {"temperature": 0.7}},
        {"serve": BASE.serve | {"threads": 3}},
        {"serve_mtp": {"method": "mtp"}},
        {"warmup_prompts": BASE.warmup_prompts + 1},
        {"repeats": BASE.repeats + 2},
        {"workloads": BASE.workloads[:-1]},
        {"workloads": BASE.workloads[::-1]},
    ],
    ids="-".join,
)
def test_what_changes_the_measurement_changes_the_digest(change: dict[str, Any]) -> None:
    assert digest_of(replace(BASE, **change)) != BASE.digest


def test_how_several_streams_are_kept_busy_is_part_of_what_is_measured() -> None:
    assert "load" not in measured_part(BASE), "one stream is measured as ever: its series goes on"
    assert measured_part(replace(BASE, concurrency=4))["load"] == "closed loop"


@pytest.mark.parametrize("change", [{"max_tokens": 1}, {"text": "other"}, {"id": "other"}])
def test_every_part_of_a_prompt_that_is_sent_changes_the_digest(change: dict[str, Any]) -> None:
    first, *others = BASE.workloads
    prompts = (replace(first.prompts[0], **change), *first.prompts[1:])
    assert digest_of(replace(BASE, workloads=(replace(first, prompts=prompts), *others))) != BASE.digest


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"title": "other"},
        {"description": "other"},
        {"projects": ("other",)},
        {"judging": {"floor_rate": 0.5}},
        {"expect": Expectation(min_speedup=9.0)},
        {"estimate_minutes": {"quick": 9.0, "full": 9.0}},
        {"start_timeout_s": 1.0, "request_timeout_s": 1.0},
        {"requires": Requirements(gpu=True)},
        {"quick_prompts_per_workload": 1},
        {"lossless_exact": False},
        {"digest": "other"},
        {"model": replace(BASE.model, name="other")},
    ],
    ids="-".join,
)
def test_what_does_not_change_the_measurement_leaves_the_digest(change: dict[str, Any]) -> None:
    assert digest_of(replace(BASE, **change)) == BASE.digest


def test_the_digest_does_not_depend_on_where_the_files_lie_or_how_they_are_written(tmp_path: Path) -> None:
    source = resource_dir("checks")
    shutil.copytree(source / "workloads", tmp_path / "elsewhere" / "workloads")
    copy = tmp_path / "elsewhere" / "renamed.toml"
    text = (source / "synthetic-qwen35-cpu.toml").read_text(encoding="utf-8")
    copy.write_text(
        "# moved\n" + text.replace("temperature = 0\n", "temperature   =   0.0\n"), encoding="utf-8"
    )
    workload = tmp_path / "elsewhere" / "workloads" / "synthetic" / "code.jsonl"
    workload.write_text(workload.read_text(encoding="utf-8").replace('": ', '":   '), encoding="utf-8")
    (moved,) = read_file(copy)
    assert moved.workloads[0].sha256 != BASE.workloads[0].sha256
    assert moved.digest == BASE.digest


def test_own_weights_are_the_same_model_in_another_folder_and_under_another_name() -> None:
    here = ModelSpec(name="a", kind="path", files=("/one/m.gguf",), sha256={"m.gguf": "0" * 64})
    assert model_identity(here) == model_identity(replace(here, name="b", files=("/two/m.gguf",)))
    assert model_identity(here) != model_identity(replace(here, sha256={"m.gguf": "1" * 64}))


def test_numbers_have_one_spelling() -> None:
    assert canonical_json({"b": 1.0, "a": (True, 0.5)}) == '{"a":[true,0.5],"b":1}'


def test_no_two_checks_that_ship_measure_the_same() -> None:
    checks = load_checks().values()
    assert len({check.digest for check in checks}) == len(checks)


def test_the_digest_of_a_check_is_the_same_in_every_process() -> None:
    check: Check = load_check("synthetic-qwen35-tiny")
    assert check.digest == load_check("synthetic-qwen35-tiny").digest
    assert len(check.digest) == 64
