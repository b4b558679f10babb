"""Arms measured beside the judged ones: how they are asked for, when run, and that they decide nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import factories
from monitor.checks.digest import digest_of
from monitor.checks.loader import load_check, read_file
from monitor.domain import Arm, BesideArm, Check, Environment, SampleSet
from monitor.engines.base import Setup
from monitor.engines.llama_server import LlamaServerEngine
from monitor.engines.vllm import VllmEngine
from monitor.errors import ConfigurationError
from monitor.judge.beside import arms_side_by_side
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge
from monitor.steps.measure import screen_slots
from monitor.views.report import render
from standins.engine import environment_of, standin_check

CHECK = (Path(__file__).parents[2] / "checks" / "synthetic-qwen35-tiny.toml").read_text(encoding="utf-8")
NGRAM = """
[arms.ngram]
draft_length = 6
serve = { ngram_size = 2 }
"""
DRAFT = """
[arms.draft_model]
model = { name = "small", kind = "huggingface", repository = "org/small", revision = "main" }
"""


def read(folder: Path, more: str) -> Check:
    file = folder / "mine.toml"
    text = CHECK.replace('"workloads/', f'"{Path(__file__).parents[2]}/checks/workloads/')
    file.write_text(text + more, encoding="utf-8")
    (check,) = read_file(file)
    return check


def test_an_arm_has_its_own_draft_length_settings_and_model(tmp_path: Path) -> None:
    check = read(tmp_path, NGRAM + DRAFT)
    assert check.beside[Arm.NGRAM] == BesideArm(6, {"ngram_size": 2})
    assert check.beside[Arm.DRAFT_MODEL].draft_length == check.draft_length
    assert [spec.name for spec in check.models] == ["synthetic-qwen35-tiny", "small"]


def test_another_arm_is_another_measurement_and_none_leaves_the_digest_as_it_was(tmp_path: Path) -> None:
    plain = load_check("synthetic-qwen35-tiny")
    assert digest_of(read(tmp_path, "")) == plain.digest
    assert read(tmp_path, NGRAM).digest != plain.digest


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("[arms.eagle]\n", "eagle"),
        ("[arms.draft_model]\n", "the arm draft_model needs a `model`"),
        (NGRAM + DRAFT.partition("\n[arms.draft_model]")[2], "the arm ngram has no `model`"),
    ],
)
def test_an_arm_that_cannot_be_served_is_refused(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, more)
    assert why in str(refused.value)


def test_they_are_run_after_the_judged_arms_in_the_first_two_blocks() -> None:
    slots = list(screen_slots(3, (Arm.NGRAM,)))
    assert [(slot.block, slot.arm.value) for slot in slots] == [
        (0, "baseline"),
        (0, "mtp"),
        (0, "ngram"),
        (1, "mtp"),
        (1, "baseline"),
        (1, "ngram"),
        (2, "baseline"),
        (2, "mtp"),
    ]
    assert len({slot.number for slot in slots}) == len(slots)
    assert [slot.number for slot in screen_slots(2)] == [0, 1, 2, 3]


# ---------------------------------------------------------------------------------------------
# What engines are told


def setup(arm: Arm, environment: Environment, folder: Path, **serve: Any) -> Setup:
    check = standin_check(
        serve={"context": 64, **serve},
        serve_mtp={"draft_min": 1} if not serve else {},
        beside={Arm.NGRAM: BesideArm(6, {"ngram_size": 2}), Arm.DRAFT_MODEL: BesideArm(2)},
    )
    draft = folder / "draft" if arm is Arm.DRAFT_MODEL else None
    return Setup(check, arm, environment, folder / "model", draft, folder, 8000)


def test_vllm_is_told_the_method_by_the_name_of_the_arm(tmp_path: Path) -> None:
    environment = environment_of(tmp_path / "bin" / "python", "0.31.0")
    told = {}
    for arm in Arm:
        check = standin_check(
            serve={"context": 64},
            beside={
                Arm.NGRAM: BesideArm(6, {"speculative_config": {"prompt_lookup_max": 4}}),
                Arm.DRAFT_MODEL: BesideArm(2),
            },
        )
        draft = tmp_path / "draft" if arm is Arm.DRAFT_MODEL else None
        launch = VllmEngine().launch(Setup(check, arm, environment, tmp_path, draft, tmp_path, 8000))
        words = list(launch.argv)
        place = words.index("--speculative-config") + 1 if "--speculative-config" in words else None
        told[arm] = json.loads(words[place]) if place else None
    assert told == {
        Arm.BASELINE: None,
        Arm.MTP: {"method": "mtp", "num_speculative_tokens": 3},
        Arm.NGRAM: {"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_max": 4},
        Arm.DRAFT_MODEL: {
            "method": "draft_model",
            "num_speculative_tokens": 2,
            "model": str(tmp_path / "draft"),
        },
        # Its shares are the check's own `speculative_config`.
        Arm.SYNTHETIC: {"method": "mtp", "num_speculative_tokens": 3},
    }


def test_llama_server_is_told_the_kind_of_speculation(tmp_path: Path) -> None:
    environment = environment_of(tmp_path / "bin" / "python")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "llama-server").touch(mode=0o755)
    words = {
        arm: list(LlamaServerEngine().launch(setup(arm, environment, tmp_path, threads=1)).argv)
        for arm in set(Arm) - {Arm.SYNTHETIC}
    }
    assert "--spec-type" not in words[Arm.BASELINE]
    kinds = {arm: own[own.index("--spec-type") + 1] for arm, own in words.items() if "--spec-type" in own}
    assert kinds == {Arm.MTP: "draft-mtp", Arm.NGRAM: "ngram-simple", Arm.DRAFT_MODEL: "draft-simple"}
    ngram = words[Arm.NGRAM]
    assert ngram[ngram.index("--spec-ngram-simple-size-m") + 1] == "6"
    assert "--spec-draft-n-max" not in ngram
    assert words[Arm.DRAFT_MODEL][words[Arm.DRAFT_MODEL].index("--model-draft") + 1] == str(
        tmp_path / "draft"
    )


# ---------------------------------------------------------------------------------------------
# What they decide, and how they are shown


def made(version: str) -> SampleSet:
    return factories.samples(version, factories.Machine(session_noise=0.002), blocks=4)


def with_ngrams(samples: SampleSet) -> SampleSet:
    """Add two n-gram sessions, half again as fast as the baseline, with a third of the drafts kept."""
    number = 1 + max(session.session for session in samples.sessions)
    plain = [session for session in samples.sessions if session.arm is Arm.BASELINE][:2]
    sessions, added = [], []
    for place, session in enumerate(plain):
        sessions.append(replace(session, session=number + place, arm=Arm.NGRAM))
        for sample in samples.samples:
            if sample.session == session.session:
                after = sample.n - (sample.n_first or 0)
                added.append(
                    replace(
                        sample,
                        session=number + place,
                        arm=Arm.NGRAM,
                        decode_s=(sample.decode_s or 0.0) / 1.5,
                        server_decode_tps=None,
                        drafted=3 * (after // 5),
                        accepted=after // 5,
                        steps=after - after // 5,
                        accepted_per_position=None,
                    )
                )
    return SampleSet(samples.header, (*samples.sessions, *sessions), (*samples.samples, *added))


def test_a_verdict_is_the_same_with_them_and_without() -> None:
    old, new = made("1.0"), made("2.0")
    assert judge(with_ngrams(old), with_ngrams(new)) == judge(old, new)
    assert judge(None, with_ngrams(new)) == judge(None, new)


def test_each_arm_stands_beside_the_same_baseline() -> None:
    samples = made("1.0")
    assert arms_side_by_side(samples, JudgingPolicy()) == (), "nothing to lay beside"
    rows = {row.arm: row for row in arms_side_by_side(with_ngrams(samples), JudgingPolicy())}
    assert list(rows) == [Arm.BASELINE, Arm.MTP, Arm.NGRAM]
    assert rows[Arm.NGRAM].speedup == pytest.approx(1.5, rel=0.01)
    assert rows[Arm.NGRAM].acceptance_rate == pytest.approx(1 / 3)
    assert rows[Arm.BASELINE].speedup is None
    found = judge(None, samples).candidate_summary[0]
    assert rows[Arm.MTP].speedup == pytest.approx(found.speedup)


def test_the_report_shows_them_and_says_which_one_did_not_run() -> None:
    run = factories.first()
    assert run.candidate_samples is not None
    check = replace(run.check, beside={Arm.NGRAM: BesideArm(4), Arm.DRAFT_MODEL: BesideArm(4)})
    page = render(
        factories.report(replace(run, check=check, candidate_samples=with_ngrams(run.candidate_samples)))
    )
    assert "MTP beside what it replaces" in page
    assert "with n-grams" in page
    assert "With a draft model: not measured" in page
    assert "MTP beside what it replaces" not in render(factories.report(factories.first()))
