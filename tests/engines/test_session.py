"""The real llama.cpp server, in builds months apart, with weights that have a real MTP head."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import keeper
from monitor.checks.loader import load_check
from monitor.domain import Arm, Environment, Prompt, Sample, Session
from monitor.errors import ConfigurationError, EngineCrashError, EngineStartError
from standins.engine import one_session, tagged_by

NEWEST = "2026.10.11549"
BUILDS = ("2026.5.9294", "2026.8.10566", NEWEST)
WITH_COUNTERS = 10566

Measure = Callable[..., tuple[Session, tuple[Sample, ...]]]


@pytest.fixture
def measure(
    environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path
) -> Iterator[Measure]:
    def run(version: str, arm: Arm, **changes: Any) -> tuple[Session, tuple[Sample, ...]]:
        on_sample = changes.pop("on_sample", None)
        model = changes.pop("model_file", tiny_model)
        check = load_check("synthetic-qwen35-tiny")
        prompts = changes.pop("prompts", [p for workload in check.workloads for p in workload.prompts])
        return one_session(
            replace(check, **changes),
            environment_for(version),
            model,
            tmp_path,
            arm=arm,
            prompts=prompts,
            on_sample=on_sample,
        )

    yield run
    assert tagged_by(os.getpid()) == []
    assert not any((tmp_path / "scratch").iterdir())


def counts(samples: tuple[Sample, ...]) -> list[tuple[Any, ...]]:
    return [(s.prompt, s.n, s.n_first, s.prompt_tokens, s.drafted, s.accepted, s.token_ids) for s in samples]


def test_draft_counts_and_tokens_are_the_same_in_builds_months_apart(measure: Measure) -> None:
    measured = {version: counts(measure(version, Arm.MTP)[1]) for version in BUILDS}
    assert measured[BUILDS[0]] == measured[BUILDS[1]] == measured[BUILDS[2]]
    assert all(drafted > accepted > 0 for *_, drafted, accepted, _ in measured[NEWEST])


@pytest.mark.parametrize("version", BUILDS)
def test_both_arms_give_the_same_tokens_and_only_one_of_them_drafts(measure: Measure, version: str) -> None:
    baseline, plain = measure(version, Arm.BASELINE)
    mtp, drafted = measure(version, Arm.MTP)
    assert [s.token_ids for s in plain] == [s.token_ids for s in drafted]
    for sample in plain + drafted:
        assert (sample.n, sample.n_first, sample.stop) == (48, 1, "length")
        assert sample.token_ids is not None
        assert len(sample.token_ids) == 48
        assert min(sample.prompt_tokens or 0, sample.ttft_s or 0, sample.server_decode_tps or 0) > 0
    assert all((s.drafted, s.accepted, s.steps) == (0, 0, 47) for s in plain)
    assert baseline.effective is not None
    assert mtp.effective is not None
    assert baseline.effective["slot.speculative"] is False
    assert mtp.effective["slot.speculative"] is True
    assert mtp.effective["set.speculative.draft.n_max"] == 3
    assert mtp.effective["missing"] == ("" if version == NEWEST else "load_mtp")
    assert mtp.effective["n_ctx"] == 1024
    assert mtp.effective["build"] == int(version.rpartition(".")[2])
    assert mtp.effective["cached_prompt_tokens"] == 0
    assert mtp.startup_s is not None


@pytest.mark.parametrize("version", BUILDS)
def test_steps_agree_with_the_counters_of_the_server_where_a_build_has_them(
    measure: Measure, version: str
) -> None:
    session, samples = measure(version, Arm.MTP, repeats=2)
    effective = session.effective or {}
    if int(version.rpartition(".")[2]) < WITH_COUNTERS:
        assert "counter.drafts" not in effective
        assert {s.accepted_per_position for s in samples} == {None}
        return
    assert effective["counter.drafted"] == sum(s.drafted or 0 for s in samples)
    assert effective["counter.accepted"] == sum(s.accepted or 0 for s in samples)
    # A step without room for a draft, at the end of an answer, is a step and no draft.
    steps = sum(s.steps or 0 for s in samples)
    assert steps - len(samples) <= effective["counter.drafts"] <= steps
    for sample in samples:
        assert sample.accepted_per_position is not None
        assert sum(sample.accepted_per_position) == sample.accepted
        assert sorted(sample.accepted_per_position, reverse=True) == list(sample.accepted_per_position)


@pytest.mark.parametrize("version", [BUILDS[0], NEWEST])
def test_messages_go_through_the_chat_template_and_are_counted_alike(measure: Measure, version: str) -> None:
    chat = Prompt("chat-1", "chat", 24, messages=({"role": "user", "content": "if x then y"},))
    _, plain = measure(version, Arm.BASELINE, prompts=[chat])
    _, drafted = measure(version, Arm.MTP, prompts=[chat])
    assert [(s.n, s.n_first, s.stop) for s in plain + drafted] == [(24, 1, "length")] * 2
    assert plain[0].tokens_sha256 == drafted[0].tokens_sha256
    assert (plain[0].accepted, plain[0].steps) == (0, 23)
    assert drafted[0].accepted
    assert drafted[0].steps == 23 - drafted[0].accepted


def test_two_streams_are_answered_by_one_server(measure: Measure) -> None:
    _, alone = measure(NEWEST, Arm.MTP)
    session, together = measure(NEWEST, Arm.MTP, concurrency=2)
    assert [s.token_ids for s in together] == [s.token_ids for s in alone]
    assert (session.effective or {})["slots"] == 2


def test_four_streams_are_kept_busy_and_counted_to_the_token(measure: Measure) -> None:
    base = [p for workload in load_check("synthetic-qwen35-tiny").workloads for p in workload.prompts]
    lengths = (32, 160, 48, 96, 192, 64, 40, 128)
    prompts = [
        replace(base[i % len(base)], id=f"q{i}", max_tokens=lengths[i % len(lengths)]) for i in range(40)
    ]
    session, samples = measure(NEWEST, Arm.MTP, concurrency=4, prompts=prompts)
    facts = session.effective or {}
    # Asked in groups of four it is between a third and a half.
    assert facts["streams.full_share"] > 0.8
    assert facts["counter.drafted"] == sum(s.drafted or 0 for s in samples)
    assert facts["counter.accepted"] == sum(s.accepted or 0 for s in samples)


def test_an_engine_killed_inside_a_session_is_a_crash(measure: Measure) -> None:
    def kill(_: Sample) -> None:
        keeper.send([pid for pid in tagged_by(os.getpid()) if _is_launcher(pid)], signal.SIGKILL)

    with pytest.raises(EngineCrashError, match="SIGKILL") as caught:
        measure(NEWEST, Arm.MTP, on_sample=kill)
    assert caught.value.log_tail


def test_a_model_file_that_is_cut_is_an_engine_that_does_not_start(
    measure: Measure, tiny_model: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_model.read_bytes()[:-5000])
    with pytest.raises(EngineStartError) as caught:
        measure(NEWEST, Arm.MTP, model_file=cut)
    assert "cut.gguf" in caught.value.log_tail


def test_a_setting_the_engine_does_not_know_is_refused_before_anything_starts(measure: Measure) -> None:
    with pytest.raises(ConfigurationError, match="no setting 'contxt'"):
        measure(NEWEST, Arm.BASELINE, serve={"contxt": 1024, "threads": 1})
    with pytest.raises(ConfigurationError, match=r"sampling\.n_predict"):
        measure(NEWEST, Arm.BASELINE, sampling={"n_predict": 3})


def _is_launcher(pid: int) -> bool:
    return b"xllamacpp_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
