"""The checks and workloads that ship."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.checks.digest import measured_part
from monitor.checks.loader import load_checks, read_file, select_prompts, unpinned
from monitor.domain import JUDGED_ARMS, Arm, Check, Host, Tier
from monitor.engines.base import Setup
from monitor.engines.llama_server import LlamaServerEngine
from monitor.engines.vllm import VllmEngine
from monitor.host import satisfies
from monitor.resources import resource_dir
from monitor.settings import DEFAULT_CHECKS
from standins.engine import environment_of

CHECKS = load_checks()
REFERENCE = [check for check in CHECKS.values() if check.requires.gpu and check.model.kind != "synthetic"]
SMALL_MACHINE = Host(
    name="small",
    machine_id="m",
    hardware_class="cpu-some-2",
    boot_id="b",
    cpu="Some CPU",
    cores=2,
    memory_bytes=8 * 2**30,
)
CELLS = tuple(
    f"{model}-{kind}"
    for model in ("gemma-4-31b", "qwen-3.6-27b")
    for kind in ("vllm-fp8", "llama-q8", "llama-q4")
)


def test_each_cell_of_the_reference_machine_is_there_at_several_draft_lengths() -> None:
    for cell in CELLS:
        for length in (2, 3, 4, 5):
            assert CHECKS[f"{cell}.n{length}"].draft_length == length


@pytest.mark.parametrize("check", REFERENCE, ids=lambda check: check.id)
def test_a_reference_check_asks_fourteen_prompts_quickly_and_all_fully(check: Check) -> None:
    names = [workload.name for workload in check.workloads]
    narrow = {
        "thinking": (["code", "math", "chat"], 6),
        "long": (["long"], 4),
        "long16k": (["long16k"], 4),
        "cached": (["shared16k"], 2),
    }
    kind = next((kind for kind in narrow if check.id.endswith(f"-{kind}")), None)
    if kind is None:
        assert names == ["code", "math", "prose", "chat", "extract", "tool", "long"]
        # Sixteen streams would not be kept busy by fourteen prompts.
        assert len(select_prompts(check, Tier.QUICK)) == (33 if "-streams" in check.id else 14)
        assert len(select_prompts(check, Tier.FULL)) >= 52
    else:
        assert (names, len(select_prompts(check, Tier.QUICK))) == narrow[kind]
    assert all(prompt.messages for prompt in select_prompts(check, Tier.FULL))
    assert check.estimate_minutes["full"] > check.estimate_minutes["quick"] > 0
    assert check.expect.min_acceptance is not None
    assert check.sampling["temperature"] == (0.7 if check.id.endswith("-sampled") else 0)


def setup_of(check: Check, arm: Arm) -> Setup:
    here = Path("/")
    return Setup(check, arm, environment_of(here / "bin" / "python", "0.31.0"), here, None, here, 8000)


VLLM_CELLS = ("gemma-4-31b-vllm-fp8", "qwen-3.6-27b-vllm-fp8")


@pytest.mark.parametrize("cell", VLLM_CELLS)
def test_the_reference_models_have_a_cell_for_each_way_people_serve_them(cell: str) -> None:
    main = CHECKS[f"{cell}.n3"]
    assert [CHECKS[f"{cell}.n{n}"].draft_length for n in range(1, 7)] == [1, 2, 3, 4, 5, 6]
    assert [CHECKS[f"{cell}-streams.c{n}"].concurrency for n in (1, 4, 16)] == [1, 4, 16]
    assert CHECKS[f"{cell}-thinking"].sampling["chat_template_kwargs"] == {"enable_thinking": True}
    assert not main.sampling.get("chat_template_kwargs", {}).get("enable_thinking", False)
    assert CHECKS[f"{cell}-beside"].beside[Arm.NGRAM].draft_length == 4
    others = ("long", "long16k", "sampled", "thinking")
    assert all(CHECKS[f"{cell}-{kind}"].model == main.model for kind in others)
    assert main.step_bytes is not None


@pytest.mark.parametrize("cell", VLLM_CELLS)
def test_the_cells_with_several_streams_differ_from_the_one_with_one_in_nothing_else(cell: str) -> None:
    alone, *others = (measured_part(CHECKS[f"{cell}-streams.c{n}"]) for n in (1, 4, 16))
    for other in others:
        assert {key for key in alone | other if alone.get(key) != other.get(key)} == {"concurrency", "load"}


@pytest.mark.parametrize("check", [c for c in REFERENCE if c.engine == "vllm"], ids=lambda check: check.id)
def test_vllm_takes_every_setting_of_a_reference_check(check: Check) -> None:
    for arm in (*JUDGED_ARMS, *check.beside):
        argv = VllmEngine().launch(setup_of(check, arm)).argv
        assert ("--speculative-config" in argv) is (arm is not Arm.BASELINE)


@pytest.mark.parametrize(
    "check", [c for c in REFERENCE if c.quantisation == "FP8"], ids=lambda check: check.id
)
def test_fp8_weights_are_served_without_the_kernels_that_fail_on_the_reference_card(check: Check) -> None:
    for arm in (*JUDGED_ARMS, *check.beside):
        assert VllmEngine().launch(setup_of(check, arm)).environment["VLLM_USE_DEEP_GEMM"] == "0"


@pytest.mark.parametrize(
    ("repository", "flags"),
    [
        ("deepseek-ai/DeepSeek-V3.2", ["--trust-remote-code"]),
        ("XiaomiMiMo/MiMo-V2-Flash", ["--trust-remote-code"]),
        ("zai-org/GLM-4.6-FP8", ["--reasoning-parser", "glm45"]),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct-FP8", []),
    ],
)
def test_another_model_with_a_head_of_its_own_needs_a_check_file_and_nothing_else(
    tmp_path: Path, repository: str, flags: list[str]
) -> None:
    folder = resource_dir("checks")
    text = (folder / "qwen-3.6-27b-vllm-fp8-long.toml").read_text(encoding="utf-8")
    text = text.replace("Qwen/Qwen3.6-27B-FP8", repository).replace("qwen-3.6-27b", "another")
    text = text.replace('"workloads/', f'"{folder}/workloads/')
    text = text.replace(
        '"--reasoning-parser", "qwen3",', ", ".join(f'"{flag}"' for flag in [*flags, ""][:-1]) + ","
    )
    file = tmp_path / "another.toml"
    file.write_text(text.replace("\n    ,", ""), encoding="utf-8")
    (check,) = read_file(file)
    argv = list(VllmEngine().launch(setup_of(check, Arm.MTP)).argv)
    assert json.loads(argv[argv.index("--speculative-config") + 1]) == {
        "method": "mtp",
        "num_speculative_tokens": 3,
    }
    assert all(flag in argv for flag in flags)
    assert check.model.repository == repository


@pytest.mark.parametrize("check", REFERENCE, ids=lambda check: check.id)
def test_a_reference_check_is_explained_as_not_runnable_without_a_gpu(check: Check) -> None:
    (reason,) = satisfies(SMALL_MACHINE, check.requires)
    assert "needs an NVIDIA GPU" in reason


@pytest.mark.parametrize("check", REFERENCE, ids=lambda check: check.id)
def test_every_prompt_fits_the_context_with_its_answer(check: Check) -> None:
    for prompt in select_prompts(check, Tier.FULL):
        characters = sum(len(message["content"]) for message in prompt.messages)
        assert characters / 3 + prompt.max_tokens <= check.serve["context"]


def test_weights_that_nobody_pinned_yet_are_marked() -> None:
    assert unpinned(CHECKS["gemma-4-31b-vllm-fp8.n4"]) == ["gemma-4-31b-fp8", "gemma-4-31b-assistant"]
    assert unpinned(CHECKS["synthetic-qwen35-cpu"]) == []


SYNTHETIC = ("synthetic-qwen35-cpu", "synthetic-qwen35-native", "synthetic-qwen35-tiny")


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_synthetic_checks_run_anywhere_and_promise_equal_tokens(name: str) -> None:
    check = CHECKS[name]
    assert check.lossless_exact
    assert satisfies(SMALL_MACHINE, check.requires) == []
    assert check.sampling["temperature"] == 0
    assert check.sampling["ignore_eos"] is True
    assert all(prompt.text for prompt in select_prompts(check, Tier.FULL))


def test_one_check_asks_again_and_again_behind_the_same_beginning_with_the_prefix_cache_on() -> None:
    check = CHECKS["qwen-3.6-27b-vllm-fp8-cached"]
    texts = [prompt.messages[0]["content"] for prompt in select_prompts(check, Tier.FULL)]
    length = max(map(len, texts))
    assert len({text[: int(0.98 * length)] for text in texts}) == 1
    assert min(map(len, texts)) > 16_000 * 3.5
    assert check.repeats > 1
    assert check.warmup_prompts == len(texts), "the cache is warm before anything is measured"
    argv = VllmEngine().launch(setup_of(check, Arm.MTP)).argv
    assert "--enable-prefix-caching" in argv
    assert "--no-enable-prefix-caching" not in argv


def test_one_check_has_a_small_draft_model_beside_mtp() -> None:
    check = CHECKS["gemma-4-31b-llama-q4-beside"]
    arm = check.beside[Arm.DRAFT_MODEL]
    assert (arm.model is not None, Arm.NGRAM in check.beside) == (True, True)
    assert arm.model in check.models, "fetched and locked like the check's own"
    weights = Path("/weights.gguf")
    setup = replace(setup_of(check, Arm.DRAFT_MODEL), model=Path("/model.gguf"), draft_model=weights)
    argv = LlamaServerEngine().launch(setup).argv
    assert argv[argv.index("--model-draft") + 1] == str(weights)
    assert argv[argv.index("--spec-type") + 1] == "draft-simple"


@pytest.mark.parametrize("family", ["mimo", "qwen35", "gemma4"])
def test_a_synthetic_model_is_asked_the_same_on_a_cpu_and_on_a_gpu(family: str) -> None:
    cpu, cuda = (CHECKS[f"synthetic-{family}-vllm-{where}"] for where in ("cpu", "cuda"))
    assert (cpu.model, cpu.draft_model, cpu.sampling) == (cuda.model, cuda.draft_model, cuda.sampling)
    assert cpu.workloads == cuda.workloads
    assert cuda.projects == ("vllm",)
    (reason,) = satisfies(SMALL_MACHINE, cuda.requires)
    assert "needs an NVIDIA GPU" in reason


@pytest.mark.parametrize("family", ["mimo", "qwen35", "gemma4"])
def test_a_synthetic_model_on_a_gpu_has_its_graphs_and_no_setting_of_a_cpu(family: str) -> None:
    check = CHECKS[f"synthetic-{family}-vllm-cuda"]
    launch = VllmEngine().launch(setup_of(check, Arm.MTP))
    assert "--enforce-eager" not in launch.argv
    assert not any(name.startswith(("VLLM_CPU", "OMP_")) for name in launch.environment)


def test_the_two_ways_to_serve_the_synthetic_model_are_asked_the_same() -> None:
    library, binary = (measured_part(CHECKS[f"synthetic-qwen35-{name}"]) for name in ("cpu", "native"))
    differing = {key for key in library if library[key] != binary[key]}
    assert differing == {"engine", "serve"}
    assert library["serve"].items() <= binary["serve"].items()


def test_a_rate_can_be_taken_from_every_answer_that_is_forced_to_its_limit() -> None:
    for name in SYNTHETIC:
        assert all(prompt.max_tokens >= 48 for prompt in select_prompts(CHECKS[name], Tier.FULL))


def test_the_checks_given_to_a_project_by_default_exist_and_are_made_for_it() -> None:
    for project, ids in DEFAULT_CHECKS.items():
        for name in ids:
            assert project in CHECKS[name].projects


def test_every_foreign_prompt_has_its_licence_beside_it() -> None:
    folder: Path = resource_dir("checks") / "workloads"
    notice = (folder / "NOTICE.md").read_text(encoding="utf-8")
    for check in CHECKS.values():
        for prompt in select_prompts(check, Tier.FULL):
            assert prompt.licence in {"MIT", "Apache-2.0"}
            assert prompt.source in notice
    licences = {file.name for file in (folder / "licences").iterdir()}
    assert licences == {"LICENSE.fastchat", "LICENSE.gorilla_bfcl", "LICENSE.gsm8k", "LICENSE.humaneval"}
    assert all(name in notice for name in licences)


def test_tools_are_given_in_the_form_that_servers_accept() -> None:
    by_name = {workload.name: workload for workload in CHECKS["qwen-3.6-27b-vllm-fp8.n2"].workloads}
    for prompt in by_name["tool"].prompts:
        assert prompt.tools
        for tool in prompt.tools:
            function = tool["function"]
            assert tool["type"] == "function"
            assert function["name"].replace("_", "").replace("-", "").isalnum()
            assert function["parameters"]["type"] == "object"
