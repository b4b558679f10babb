from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.domain import Arm, Check, Package
from monitor.domain.llama_builds import BUILD_PACKAGE
from monitor.engines import llama_flags
from monitor.engines.base import Setup
from monitor.engines.llama_server import LlamaServerEngine
from standins.engine import environment_of, standin_check

PYTHON = Path("/environments/one/bin/python")


def setup_of(check: Check, arm: Arm, draft: Path | None = None, packages: tuple[Package, ...] = ()) -> Setup:
    environment = replace(environment_of(PYTHON), packages=packages)
    return Setup(check, arm, environment, Path("/models/one.gguf"), draft, Path("/scratch"), 4711)


def launched(check: Check, arm: Arm, draft: Path | None = None) -> tuple[str, ...]:
    return LlamaServerEngine().launch(setup_of(check, arm, draft)).argv


def option(argv: tuple[str, ...], name: str) -> str:
    assert argv.count(name) == 1, name
    return argv[argv.index(name) + 1]


def test_llama_server_speculates_only_when_the_kind_of_speculation_is_named() -> None:
    check = standin_check(serve={"context": 128, "threads": 2}, draft_length=4, concurrency=2)
    baseline = launched(check, Arm.BASELINE)
    mtp = launched(check, Arm.MTP, Path("/models/draft.gguf"))
    assert baseline[:3] == ("/environments/one/bin/llama-server", "--model", "/models/one.gguf")
    assert not any(part.startswith("--spec") for part in baseline)
    assert mtp[: len(baseline)] == baseline
    assert mtp[len(baseline) :] == (
        *("--spec-type", "draft-mtp", "--spec-draft-n-max", "4"),
        *("--spec-draft-n-min", "0", "--spec-draft-p-min", "0.0", "--model-draft", "/models/draft.gguf"),
        *("--spec-draft-threads", "2", "--spec-draft-threads-batch", "2"),
    )


def test_llama_server_is_told_what_would_else_depend_on_the_machine_or_the_build() -> None:
    check = standin_check(serve={"context": 128}, concurrency=2)
    argv = launched(check, Arm.BASELINE)
    told = {"--ctx-size": "256", "--parallel": "2", "--fit": "off", "--cache-ram": "0", "--flash-attn": "on"}
    told |= {"--n-gpu-layers": "99", "--cache-type-k": "f16", "--batch-size": "2048", "--ubatch-size": "512"}
    assert {name: option(argv, name) for name in told} == told
    assert {"--no-cache-prompt", "--metrics", "--slots", "--props"} <= set(argv)


def test_flags_of_a_check_win_over_what_llama_server_is_told_however_they_are_spelt() -> None:
    flags = ["-ngl", "7", "-fit", "on", "--cache-ram=5", "-fa", "off", "-md", "/mine.gguf", "-td", "3"]
    check = standin_check(serve={"context": 128, "threads": 1, "flags": flags})
    argv = launched(check, Arm.MTP, Path("/models/draft.gguf"))
    assert argv[-len(flags) :] == tuple(flags)
    left = {"--n-gpu-layers", "--fit", "--cache-ram", "--flash-attn", "--model-draft", "--spec-draft-threads"}
    assert not left & set(argv)
    assert option(argv, "--spec-draft-threads-batch") == "1"


def test_what_a_build_of_llama_server_does_not_know_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = llama_flags.options_of(9294)[0]
    without = replace(
        known, by_name={n: s for n, s in known.by_name.items() if n not in {"--fit", "--spec-type"}}
    )
    check = standin_check(serve={"context": 128})
    asked: list[int] = []
    monkeypatch.setattr(llama_flags, "options_of", lambda build: (asked.append(build), (without, without))[1])
    setup = setup_of(check, Arm.MTP, packages=(Package(BUILD_PACKAGE, "b9294-abc1234"),))
    launch = LlamaServerEngine().launch(setup)
    assert "--fit" not in launch.argv
    # Without it the arm would not speculate and nobody would notice: the build has to refuse it aloud.
    assert "--spec-type" in launch.argv
    assert asked == [9294]
    assert LlamaServerEngine().facts(setup) == {"build": 9294, "missing": "--fit"}
