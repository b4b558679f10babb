"""Checks: what is measured, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Arm(StrEnum):
    """One way of serving in a check."""

    BASELINE = "baseline"
    MTP = "mtp"
    DRAFT_MODEL = "draft_model"
    NGRAM = "ngram"
    SYNTHETIC = "synthetic"
    """MTP as always, but a fixed share is accepted whatever was drafted: its text means nothing, its speed is
    that of the kernels alone."""


JUDGED_ARMS = (Arm.BASELINE, Arm.MTP)
"""What every check has and verdicts rest on; the others are measured beside them, where a check has them."""


class Tier(StrEnum):
    """How much of a check is run."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One fixed question. Either `text` (sent as it is) or `messages` (through the chat template)."""

    id: str
    workload: str
    max_tokens: int
    text: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    source: str = ""
    licence: str = ""
    answer: str = ""
    """The number that a right answer ends with; empty for a prompt that is not scored. Never sent."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A fixed list of prompts with output limits."""

    name: str
    prompts: tuple[Prompt, ...]
    sha256: str
    """Of the JSONL file the prompts were read from."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The weights a check serves, pinned: a synthetic recipe, a hub revision or a local path."""

    name: str
    kind: str
    """`synthetic`, `huggingface`, `path`, or `served`: whatever an attached server serves."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Synthetic only: the generator's parameters, seed included."""
    repository: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    """Huggingface: files wanted from the repository; empty means all. Path: the one file or folder."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name → expected sha256, where the check pins it."""


@dataclass(frozen=True, slots=True)
class BesideArm:
    """An arm beside the judged ones, to see MTP beside what it replaces, or apart from its drafts' quality.

    It decides nothing.
    """

    draft_length: int
    serve: dict[str, Any] = field(default_factory=dict)
    """Engine settings added in this arm."""
    model: ModelSpec | None = None
    """The draft model of the arm `draft_model`."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a host must have for a check to be runnable there."""

    gpu: bool = False
    gpu_memory_bytes: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    compute_capability: str | None = None

    @property
    def wants_gpu(self) -> bool:
        """Whether the check is measured on a GPU."""
        return bool(self.gpu or self.gpu_memory_bytes or self.compute_capability)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Limits that alarm from the very first run, taken from published figures."""

    min_speedup: float | None = None
    min_acceptance: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A fixed benchmark. `digest` covers what changes the measurement, and only that."""

    id: str
    title: str
    description: str
    engine: str
    """Name of the engine seam: `xllamacpp`, `llama-server`, `vllm`, `endpoint`, `command`."""
    projects: tuple[str, ...]
    model: ModelSpec
    draft_model: ModelSpec | None
    quantisation: str
    draft_length: int
    concurrency: int
    sampling: dict[str, Any]
    serve: dict[str, Any]
    """Engine settings of both arms (context length, threads, flags); the engine documents its keys."""
    serve_mtp: dict[str, Any]
    """Engine settings added in the mtp arm."""
    workloads: tuple[Workload, ...]
    warmup_prompts: int
    repeats: int
    quick_prompts_per_workload: int
    start_timeout_s: float
    request_timeout_s: float
    requires: Requirements
    expect: Expectation
    estimate_minutes: dict[str, float]
    """Tier → GPU minutes (CPU minutes for a CPU check) of one session pair, published or measured."""
    lossless_exact: bool
    """Token equality between the arms is exact here, and a difference is an error."""
    digest: str
    step_bytes: int | None = None
    """Weights that one decode step of the baseline reads at least: its roofline. Not part of the digest."""
    judging: dict[str, Any] = field(default_factory=dict)
    """Overrides of the judging policy. Not part of the digest."""
    beside: dict[Arm, BesideArm] = field(default_factory=dict)

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """Every model the check needs the weights of, the one that is measured first."""
        own = (self.model, self.draft_model, *(arm.model for arm in self.beside.values()))
        return tuple(spec for spec in own if spec is not None)
