"""What versions of vLLM are given and what their logs say.

The lines of `LOG` were printed by 0.32.0 on a CPU; those of `GPU_LOG` are put together from the sources of
0.27.1 to 0.33.0, which have them word for word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from monitor.bench import lastwords
from monitor.domain import Arm
from monitor.engines import engine_for, vllm_versions
from monitor.engines.base import Event, Setup
from monitor.engines.vllm_http import VllmHttp
from monitor.errors import EngineCrashError, EngineReplyError
from standins.engine import PROMPTS, environment_of, standin_check

LOG = """\
(APIServer pid=7) INFO 11-24 18:26:51 [model.py:733] Resolved architecture: MiMoForCausalLM
(APIServer pid=7) WARNING 11-24 18:27:34 [speculative.py:1143] method `mimo_mtp` is \
deprecated and replaced with mtp.
(APIServer pid=7) INFO 11-24 18:27:34 [model.py:733] Resolved architecture: MiMoMTPModel
(APIServer pid=7) WARNING 11-24 18:27:34 [vllm.py:2276] max_num_scheduled_tokens is set to 2048 based on the \
speculative decoding settings. This may lead to suboptimal performance.
(APIServer pid=7) WARNING 11-24 18:27:34 [vllm.py:725] Model Runner V2 requires Triton; using the V1 model \
runner instead.
(EngineCore pid=8) INFO 11-24 18:28:10 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
model='/m', speculative_config=SpeculativeConfig(method='mtp', model='/m', num_spec_tokens=3), \
tokenizer='/m', dtype=torch.bfloat16, max_seq_len=1024, quantization=None, enforce_eager=True, \
kv_cache_dtype=auto, device_config=cpu, enable_prefix_caching=False, enable_chunked_prefill=True, \
compilation_config={'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>}
(EngineCore pid=8) INFO 11-24 18:28:12 [cuda.py:507] Using FLASH_ATTN attention backend out of potential \
backends: ['FLASH_ATTN', 'FLASHINFER'].
(EngineCore pid=8) INFO 11-24 18:28:12 [mxfp4.py:110] Using Marlin FP8 MoE backend.
(EngineCore pid=8) INFO 11-24 18:29:12 [kv_cache_utils.py:1229] GPU KV cache size: 838,784 tokens
"""


def test_the_log_of_a_start_says_what_was_resolved() -> None:
    assert vllm_versions.facts(LOG) == {
        "speculative_config": "SpeculativeConfig(method='mtp', model='/m', num_spec_tokens=3)",
        "architectures": "MiMoForCausalLM, MiMoMTPModel",
        "dtype": "bfloat16",
        "quantization": "None",
        "kv_cache_dtype": "auto",
        "enforce_eager": "True",
        "prefix_caching": "False",
        "chunked_prefill": "True",
        "cudagraph_mode": "NONE",
        "model_runner": "V1",
        "model_runner_reason": "requires Triton",
        "attention_backend": "FLASH_ATTN",
        "moe_backend": "Marlin FP8",
        "kv_cache_tokens": "838,784",
        "scheduled_tokens": "2048",
        "deprecated_method": "mimo_mtp",
    }


GPU_LOG = """\
(EngineCore pid=8) INFO 11-24 18:28:10 [core.py:133] Initializing a V1 LLM engine (v0.33.0) with config: \
model='/m', speculative_config=SpeculativeConfig(method='mtp', model='/d', num_spec_tokens=4), \
quantization=compressed-tensors, quantization_config=None, enforce_eager=False, kv_cache_dtype=fp8_e4m3, \
compilation_config={'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>}
(EngineCore pid=8) WARNING 11-24 18:28:11 [vllm.py:1634] Auto-disabled DeepGemm for \
model_type=qwen3_5_text on Blackwell. To disable DeepGemm globally, set VLLM_USE_DEEP_GEMM=0.
(EngineCore pid=8) INFO 11-24 18:28:11 [gpu_worker.py:513] Using V2 Model Runner
(EngineCore pid=8) INFO 11-24 18:28:11 [cuda_communicator.py:354] Using ['CUSTOM', 'PYNCCL'] all-reduce \
backends (in dispatch order) for group 'tp:0' out of potential backends: ['CUSTOM', 'PYNCCL'].
(EngineCore pid=8) INFO 11-24 18:28:12 [cuda.py:448] Using AttentionBackendEnum.FLASHINFER backend.
(EngineCore pid=8) INFO 11-24 18:28:12 [flash_attn.py:1122] Using FlashAttention version 2
(EngineCore pid=8) INFO 11-24 18:28:12 [qwen_gdn_linear_attn.py:301] Using Triton/FLA GDN prefill kernel \
(requested=auto, head_k_dim=128).
(EngineCore pid=8) INFO 11-24 18:28:13 [__init__.py:779] Selected CutlassFp8BlockScaledMMKernel for \
Fp8LinearMethod
(EngineCore pid=8) INFO 11-24 18:28:13 [wNa16.py:153] Using MarlinLinearKernel for CompressedTensorsWNA16
(EngineCore pid=8) INFO 11-24 18:28:13 [fp8.py:422] Using TRITON Fp8 MoE backend out of 2.
(EngineCore pid=8) WARNING 11-24 18:28:13 [fp8_utils.py:954] Using default W8A8 Block FP8 kernel config. \
Performance might be sub-optimal! Config file not found at /x/N=1.json
(EngineCore pid=8) INFO 11-24 18:28:14 [topk_topp_sampler.py:149] Using FlashInfer for top-p & top-k sampling.
(EngineCore pid=8) INFO 11-24 18:28:14 [utils.py:381] Using HND KV cache layout.
(EngineCore pid=8) WARNING 11-24 18:28:15 [compilation.py:1465] CUDAGraphMode.FULL_AND_PIECEWISE is not \
supported with spec-decode for attention backend FlashInferBackend (support: \
AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE); setting cudagraph_mode=PIECEWISE
"""


def test_the_log_of_a_start_on_a_gpu_says_which_kernels_were_chosen() -> None:
    found = vllm_versions.facts(GPU_LOG)
    assert found.pop("cudagraph_override").startswith(
        "CUDAGraphMode.FULL_AND_PIECEWISE is not supported with"
    )
    assert found == {
        "speculative_config": "SpeculativeConfig(method='mtp', model='/d', num_spec_tokens=4)",
        "quantization": "compressed-tensors",
        "kv_cache_dtype": "fp8_e4m3",
        "enforce_eager": "False",
        "model_runner": "V2",
        "all_reduce": "['CUSTOM', 'PYNCCL']",
        "attention_backend": "FLASHINFER",
        "attention_kernel": "FlashAttention version 2",
        "gdn_kernel": "Triton/FLA",
        "linear_kernel": "CutlassFp8BlockScaledMMKernel, MarlinLinearKernel",
        "deep_gemm": "Auto-disabled DeepGemm for model_type=qwen3_5_text",
        "moe_backend": "TRITON Fp8",
        "fp8_block_config": "default",
        "sampler": "FlashInfer for top-p & top-k sampling",
        "kv_cache_layout": "HND",
        "cudagraph_mode": "PIECEWISE",
    }


def test_a_model_runner_that_names_itself_nowhere_is_v1_where_the_version_is_known() -> None:
    silent = GPU_LOG.replace("Using V2 Model Runner", "")
    assert vllm_versions.facts(silent)["model_runner"] == "V1"
    assert "model_runner" not in vllm_versions.facts(silent, newer=True)
    assert "model_runner" not in vllm_versions.facts("Resolved architecture: A")
    # A process that only reads the configuration may have refused V2 before the worker takes it.
    both = (
        "[vllm.py:761] Model Runner V2 does not yet support x; using the V1 model runner instead.\n" + GPU_LOG
    )
    assert vllm_versions.facts(both)["model_runner"] == "V2"


OVERRIDES = """\
CUDAGraphMode.FULL is not supported with X backend (support: NEVER); setting cudagraph_mode=NONE because of it
Cudagraph mode FULL requires piecewise capture, but there is no submodule. Overriding to FULL_DECODE_ONLY.
Cudagraph mode PIECEWISE is not compatible with compilation mode CompilationMode.NONE.Overriding to NONE.
Dynamic speculation. Overriding cudagraph_mode from FULL to PIECEWISE for reliability.
CUDA graphs are not supported in Model Runner V2. Overriding cudagraph_mode FULL to NONE.
Pooling models do not support full cudagraphs. Overriding cudagraph_mode to PIECEWISE.
"""
MODES = ("NONE", "FULL_DECODE_ONLY", "NONE", "PIECEWISE", "NONE", "PIECEWISE")


@pytest.mark.parametrize(("line", "mode"), [*zip(OVERRIDES.splitlines(), MODES, strict=True)])
def test_the_mode_of_cuda_graphs_is_the_one_that_holds_in_the_end(line: str, mode: str) -> None:
    configured = "'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>"
    after = vllm_versions.facts(f"{configured}\n{line}\n")
    assert (after["cudagraph_mode"], after["cudagraph_override"] in line) == (mode, True)
    # Before the configuration is printed, it is in it.
    before = vllm_versions.facts(f"{line}\n{configured}\n")
    assert (before["cudagraph_mode"], before["cudagraph_override"] in line) == ("FULL_AND_PIECEWISE", True)
    assert vllm_versions.facts(configured) == {"cudagraph_mode": "FULL_AND_PIECEWISE"}


def test_a_hostile_log_gives_bounded_facts_or_none() -> None:
    assert vllm_versions.facts("") == {}
    kernels = "".join(f"Selected Kernel{number} for x\n" for number in range(1000))
    assert len(vllm_versions.facts(kernels)["linear_kernel"]) == 400
    flood = "speculative_config=SpeculativeConfig(" + "a" * 10**6 + ")\n" + "Resolved architecture: x" * 1000
    assert all(len(value) < 1000 for value in vllm_versions.facts(flood).values())


@pytest.mark.parametrize(
    ("version", "arm", "flags"),
    [
        ("0.20.0", Arm.MTP, ["--enable-prompt-tokens-details"]),
        ("0.27.1", Arm.MTP, ["--enable-prompt-tokens-details", "--enable-per-request-metrics"]),
        (
            "0.32.0",
            Arm.MTP,
            [
                "--enable-prompt-tokens-details",
                "--enable-per-request-metrics",
                "--per-request-spec-decode-metrics",
            ],
        ),
        ("0.32.0", Arm.BASELINE, ["--enable-prompt-tokens-details", "--enable-per-request-metrics"]),
    ],
)
def test_a_version_is_given_the_options_it_knows(version: str, arm: Arm, flags: list[str]) -> None:
    assert [option.flag for option in vllm_versions.options(Version(version), arm)] == flags


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("0.33.0", False),
        ("0.33.4", False),
        ("0.33.0+cu129", False),
        ("0.32.1rc1.dev7+gabc", False),
        ("0.33.0rc2", True),
        ("0.33.1rc1.dev400+gabc", True),
        ("0.34.0", True),
        ("0.34.0rc1", True),
        ("0123abc", True),
    ],
)
def test_a_version_past_the_table_or_a_bare_commit_is_asked(version: str, newer: bool) -> None:
    assert vllm_versions.is_newer_than_known(vllm_versions.version_of(version)) is newer


def launched(version: str, arm: Arm = Arm.MTP, **serve: Any) -> Any:
    check = standin_check(engine="vllm", serve={"context": 128, **serve})
    environment = environment_of(Path("/e/bin/python"), version)
    setup = Setup(check, arm, environment, Path("/m"), None, Path("/scratch"), 4711)
    return engine_for("vllm").launch(setup)


def test_a_known_version_is_started_as_a_module_and_a_newer_one_through_who_asks_it() -> None:
    known, newer = launched("0.32.0").argv, launched("0.40.0").argv
    assert known[2:4] == ("-m", "vllm.entrypoints.openai.api_server")
    assert newer[2].endswith("launchers/vllm_server.py")
    assert launched("0.33.1rc1.dev400+gabc").argv[:3] == newer[:3]
    count = int(newer[4])
    assert newer[5 : 5 + count] == known[4 : 4 + count]
    assert newer[5 + count :] == known[4 + count :]


def test_modules_that_are_absent_are_answered_with_empty_ones_where_the_check_says_so() -> None:
    launch = launched("0.32.0", absent_modules=["torchvision.transforms.v2"])
    assert launch.environment["MTP_MONITOR_ABSENT"] == "torchvision.transforms.v2"
    assert launch.environment["PYTHONPATH"] == "/scratch"
    assert "sitecustomize.py" in launch.files
    assert not launched("0.32.0").files


def test_a_long_name_of_the_state_folder_is_no_obstacle() -> None:
    # A socket's path may not be longer than 107 characters, and the private folder's may.
    assert launched("0.32.0").environment["VLLM_RPC_BASE_PATH"] == "."


# --- answers -------------------------------------------------------------------------------------


def answer(metrics: Any) -> list[Event]:
    """Return an answer of 8 tokens in three chunks, as 0.32.0 streams it."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "text": "x", "token_ids": tokens, "finish_reason": reason}]}
        for tokens, reason in (([1], None), ([2, 3, 4, 5], None), ([6, 7, 8], "length"))
    ]
    last: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 8}}
    return [Event(float(at), data) for at, data in enumerate([*chunks, last | {"metrics": metrics}])]


SPECULATION = {"num_spec_steps": 2, "num_accepted_draft_tokens": 5, "num_draft_tokens": 6}


def read(metrics: Any) -> Any:
    return VllmHttp("m").read(answer(metrics), PROMPTS[0], standin_check())


def test_an_answer_that_tells_its_own_drafts_is_believed_for_itself() -> None:
    found = read({"generation_time_ms": 70.0, "mean_itl_ms": 10.0, "speculative_decoding": SPECULATION})
    assert (found.drafted, found.accepted) == (6, 5)
    assert found.server_decode_tps == pytest.approx(100.0)
    assert (read(None).drafted, read(None).server_decode_tps) == (None, None)
    assert read({"generation_time_ms": None, "speculative_decoding": None}).drafted is None


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ("many", "`metrics` should be an object"),
        ({"speculative_decoding": SPECULATION | {"num_draft_tokens": -1}}, "should be a count"),
        ({"speculative_decoding": SPECULATION | {"num_draft_tokens": 4}}, "5 draft tokens accepted of 4"),
        ({"speculative_decoding": {}}, "should be a count"),
        ({"generation_time_ms": 0}, "in no time at all"),
        ({"generation_time_ms": -3.0}, "not negative"),
    ],
)
def test_counts_of_an_answer_that_cannot_be_are_refused(metrics: Any, reason: str) -> None:
    with pytest.raises(EngineReplyError, match=reason):
        read(metrics)


def test_a_server_that_says_its_core_died_is_a_crash_and_no_odd_answer() -> None:
    # As 0.32.0 answered, with status 200, when its core was killed while it streamed.
    message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    said = {"error": {"message": message, "type": "InternalServerError", "code": 500}}
    with pytest.raises(EngineCrashError, match="EngineCore encountered an issue"):
        VllmHttp("m").read([*answer(None)[:2], Event(9.0, said)], PROMPTS[0], standin_check())
    with pytest.raises(EngineReplyError, match="out of range"):
        VllmHttp("m").read([Event(0.0, {"error": "out of range"})], PROMPTS[0], standin_check())


# --- last words ----------------------------------------------------------------------------------

REFUSED = """\
(APIServer pid=7) Traceback (most recent call last):
(APIServer pid=7)   File "/e/vllm/config/speculative.py", line 7, in __init__
(APIServer pid=7) pydantic_core._pydantic_core.ValidationError: 1 validation error for SpeculativeConfig
(APIServer pid=7) disable_by_batch_size
(APIServer pid=7)   Unexpected keyword argument [type=unexpected_keyword_argument, input_value=4]
(APIServer pid=7)     For further information visit https://errors.pydantic.dev/2.12/v/unexpected_keyword_argument
"""
NO_HEAD = """\
(Worker pid=9) ERROR 11-24 18:28:52 [multiproc_executor.py:953] ValueError: MTP weights not found: \
{'model.fc'}
(EngineCore pid=8) ERROR 11-24 18:28:56 [core.py:1510] Exception: WorkerProc initialization failed due to an \
exception in a background process. See stack trace for root cause.
(EngineCore pid=8) INFO 11-24 18:28:57 [multiproc_executor.py:479] [shutdown] Exception: none of interest
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (REFUSED, "1 validation error for SpeculativeConfig (APIServer pid=7) disable_by_batch_size"),
        (NO_HEAD, "ValueError: MTP weights not found: {'model.fc'}"),
        (
            "usage: x\nx: error: unrecognized arguments: --no-such\n",
            "error: unrecognized arguments: --no-such",
        ),
        (
            "(APIServer pid=7) ERROR 11-24 18:28:56 [core_client.py:7] Engine core proc died unexpectedly.\n",
            "Engine core proc died unexpectedly.",
        ),
        ("loading\nno such tensor: blk.4\n\n", "no such tensor: blk.4"),
        ("", ""),
    ],
)
def test_the_last_words_are_the_reason_and_not_who_heard_of_it(tmp_path: Path, log: str, told: str) -> None:
    file = tmp_path / "engine.log"
    file.write_text(log)
    words = lastwords.telling(file)
    assert told.replace("(APIServer pid=7) ", "") in words.replace("(APIServer pid=7) ", "")
    assert "root cause" not in words
    assert len(words) <= 400


def test_an_error_that_sends_its_reader_up_the_log_is_not_the_reason(tmp_path: Path) -> None:
    level = "(APIServer pid=6) ERROR 11-28 23:25:52 [registry.py:1120] "
    cause = "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory"
    said = (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Model architectures ['MiMoForCausalLM'] failed to be inspected. "
        "Please check the logs for more details. [type=value_error]\n"
        "    For further information visit the documentation\n"
    )
    file = tmp_path / "engine.log"
    file.write_text(f"{level}Traceback (most recent call last):\n{level}{cause}\n{said}", encoding="utf-8")
    assert lastwords.telling(file) == cause
    file.write_text(said, encoding="utf-8")
    assert lastwords.telling(file).startswith("pydantic_core._pydantic_core.ValidationError")


def test_a_missing_log_has_no_last_words(tmp_path: Path) -> None:
    assert lastwords.telling(tmp_path / "none.log") == ""
