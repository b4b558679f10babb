"""What can go wrong with vLLM unnoticed: each has a state, a signature or a fact of its own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.bench.margins import Inquiry
from monitor.checks.loader import load_check
from monitor.domain import (
    Arm,
    Artifact,
    Environment,
    Header,
    Judgement,
    Prompt,
    Sample,
    SampleSet,
    Session,
    Signature,
    Verdict,
)
from monitor.errors import EngineCrashError, EngineReplyError, EngineStartError
from monitor.judge.verdict import judge
from standins.engine import one_session, standin_check, tagged_by

PACKAGE = Path(__file__).parents[1] / "standins" / "vllm_package"
PROMPTS = tuple(Prompt(f"p{i}", "code", 97, text=f"prompt {i}") for i in range(3))


def measured(
    folder: Path,
    arm: Arm,
    fault: str = "",
    *,
    version: str = "0.32.0",
    inquiry: Inquiry | None = None,
    prompts: tuple[Prompt, ...] = PROMPTS,
    **serve_mtp: Any,
) -> tuple[Session, tuple[Sample, ...]]:
    """Measure the stand-in as the engine `vllm` starts it."""
    python = Path(sys.executable)
    artifact = Artifact("vllm", version, "vllm.whl", "0" * 64, "https://files.example/vllm.whl")
    environment = Environment(f"vllm-{version}", artifact, folder, python, "3.11", (), datetime.now(UTC))
    flags = ["--enable-prefix-caching"] if fault in {"prefix-cache", "no-prefix-cache"} else []
    check = standin_check(
        engine="vllm",
        projects=("vllm",),
        serve={
            "context": 128,
            "flags": flags,
            "environment": {
                "PYTHONPATH": str(PACKAGE),
                "STANDIN_FAULT": fault,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        },
        serve_mtp=serve_mtp,
    )
    return one_session(
        check,
        environment,
        folder / "model",
        folder,
        arm=arm,
        number=list(Arm).index(arm),
        prompts=prompts,
        log=folder / f"{arm}.log",
        inquiry=inquiry,
    )


def sample_set(folder: Path, version: str, fault: str = "") -> SampleSet:
    sides = [measured(folder / f"{version}{fault}", arm, fault) for arm in (Arm.BASELINE, Arm.MTP)]
    header = Header("standin", "0" * 64, "vllm", version, host="h", hardware_class="cpu", draft_length=3)
    # The stand-in answers in no time at all: its times say nothing, its counts all.
    samples = [
        replace(sample, decode_s=0.5, ttft_s=0.01, server_decode_tps=None)
        for _, found in sides
        for sample in found
    ]
    return SampleSet(header, tuple(session for session, _ in sides), tuple(samples))


def judged(folder: Path, fault: str) -> Judgement:
    return judge(sample_set(folder, "1"), sample_set(folder, "2", fault))


def effective(session: Session) -> dict[str, Any]:
    assert session.effective is not None
    return session.effective


def test_a_perfect_head_counts_as_designed_by_answers_and_by_counters(tmp_path: Path) -> None:
    session, samples = measured(tmp_path, Arm.MTP)
    assert [(s.n, s.n_first, s.drafted, s.accepted, s.steps) for s in samples] == [(97, 1, 72, 72, 24)] * 3
    facts = effective(session)
    assert (facts["counter.drafted"], facts["counter.accepted"]) == (216, 216)
    assert facts["memory.engine_bytes"] > 2**20
    assert tagged_by(os.getpid()) == []


def test_the_log_tells_what_was_resolved(tmp_path: Path) -> None:
    facts = effective(measured(tmp_path, Arm.MTP)[0])
    assert facts["speculative_config"].startswith("SpeculativeConfig(method='mtp'")
    assert (facts["model_runner"], facts["cudagraph_mode"], facts["dtype"]) == (
        "V1",
        "FULL_AND_PIECEWISE",
        "bfloat16",
    )
    assert facts["architectures"] == "StandinForCausalLM"
    assert (facts["newer_than_known"], facts["missing"]) == (False, "")
    baseline = effective(measured(tmp_path, Arm.BASELINE)[0])
    assert baseline["speculative_config"] == "None"
    assert "counter.drafts" not in baseline


def test_series_that_are_absent_are_speculation_that_is_off(tmp_path: Path) -> None:
    found = judged(tmp_path, "silently-off")
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_draft_weights_that_were_not_loaded_are_a_dead_drafter(tmp_path: Path) -> None:
    found = judged(tmp_path, "draft-not-loaded")
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.DRAFTER_DEAD)


def test_counters_with_other_names_are_not_taken_for_no_drafts(tmp_path: Path) -> None:
    with pytest.raises(EngineReplyError, match=r"metric missing.*spec_decode_total_accepted"):
        measured(tmp_path, Arm.MTP, "renamed")


def test_tools_are_offered_without_a_parser_for_their_calls(tmp_path: Path) -> None:
    (tool,) = [
        workload for workload in load_check("qwen-3.6-27b-vllm-fp8.n3").workloads if workload.name == "tool"
    ]
    _, samples = measured(tmp_path, Arm.MTP, prompts=tool.prompts)
    assert {sample.prompt for sample in samples} == {prompt.id for prompt in tool.prompts}


def test_a_deprecated_method_is_rewritten_by_the_server_and_recorded(tmp_path: Path) -> None:
    session, samples = measured(tmp_path, Arm.MTP, method="qwen3_5_mtp")
    assert effective(session)["deprecated_method"] == "qwen3_5_mtp"
    assert samples[0].accepted == 72
    assert "deprecated_method" not in effective(measured(tmp_path, Arm.MTP)[0])


def test_a_refused_key_of_the_configuration_is_told_in_the_words_of_vllm(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError) as caught:
        measured(tmp_path, Arm.MTP, speculative_config={"disable_by_batch_size": 1})
    told = "1 validation error for SpeculativeConfig disable_by_batch_size Unexpected keyword"
    assert told in caught.value.what


def test_a_checkpoint_without_a_head_is_told_by_its_cause_and_not_by_who_heard_of_it(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match="Following weights were not initialized") as caught:
        measured(tmp_path, Arm.MTP, "no-head")
    assert "root cause" not in caught.value.what


def test_an_unknown_flag_is_told_by_the_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"error: unrecognized arguments: --no-such-flag"):
        measured(tmp_path, Arm.MTP, flags=["--no-such-flag"])


def test_a_lost_prefix_cache_shows_in_the_configuration_of_the_sessions(tmp_path: Path) -> None:
    kept, lost = (measured(tmp_path, Arm.MTP, fault)[0] for fault in ("prefix-cache", "no-prefix-cache"))
    assert (effective(kept)["cached_prompt_tokens"], effective(lost)["cached_prompt_tokens"]) == (4, 0)


def test_another_model_runner_is_a_difference_of_configuration(tmp_path: Path) -> None:
    (guard,) = [g for g in judged(tmp_path, "other-runner").guards if g.name == "effective configuration"]
    assert guard.tripped
    assert "model_runner: V1 → V2" in guard.detail


def test_graphs_that_are_given_up_for_speculation_are_a_difference_of_configuration(tmp_path: Path) -> None:
    (guard,) = [g for g in judged(tmp_path, "fewer-graphs").guards if g.name == "effective configuration"]
    assert "mtp cudagraph_mode: FULL_AND_PIECEWISE → PIECEWISE" in guard.detail
    assert "mtp cudagraph_override: not said → CUDAGraphMode.FULL_AND_PIECEWISE is not" in guard.detail


def test_a_server_that_dies_while_measuring_is_a_crash_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineCrashError, match=r"SIGKILL.*EngineDeadError: EngineCore encountered"):
        measured(tmp_path, Arm.MTP, "dies")
    assert tagged_by(os.getpid()) == []


def test_steps_are_never_taken_for_tokens(tmp_path: Path) -> None:
    _, plain = measured(tmp_path, Arm.BASELINE)
    _, drafted = measured(tmp_path, Arm.MTP)
    # vLLM's "inter-token latency" would see 24 tokens here; what is counted are 96 after the first chunk.
    assert [(s.n - (s.n_first or 0), s.steps) for s in plain] == [(96, 96)] * 3
    assert [(s.n - (s.n_first or 0), s.steps) for s in drafted] == [(96, 24)] * 3
    assert [s.token_ids for s in plain] == [s.token_ids for s in drafted]


def test_a_version_that_nobody_knows_yet_is_asked_what_it_lists_and_says_so(tmp_path: Path) -> None:
    session, samples = measured(tmp_path, Arm.MTP, version="0.99.0")
    facts = effective(session)
    assert facts["newer_than_known"] is True
    # The stand-in has no parser that could be asked, so no option is given; the counters tell the drafts.
    assert "--per-request-spec-decode-metrics" in facts["missing"]
    assert [(s.drafted, s.accepted) for s in samples] == [(72, 72)] * 3
