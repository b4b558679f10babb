"""The words of the house as values: frozen, without behaviour that needs a disk, a network or a clock.

`docs/glossary.md` defines each word once; the classes here carry them in code. Times are in seconds,
sizes in bytes, rates in tokens per second, dates are aware and in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

# ---------------------------------------------------------------------------------------------
# Releases


class ReleaseState(StrEnum):
    """How far a release has come on its way to a run; every release is in exactly one state."""

    SEEN = "seen"
    SETTLING = "settling"
    AGED = "aged"
    PLANNED = "planned"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """Why a release is not measured."""

    COALESCED = "coalesced"
    INCOMPLETE = "incomplete"
    YANKED = "yanked"
    WITHDRAWN = "withdrawn"
    NO_ARTIFACT = "no artifact"
    TOO_OLD = "too old"
    ODD_VERSION = "odd version"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One installable file of a release; its identity is its sha256, never its name."""

    project: str
    version: str
    filename: str
    sha256: str
    url: str
    size: int | None = None
    requires_python: str | None = None
    uploaded_at: datetime | None = None
    yanked: str | None = None
    """None when not yanked, else the reason given ("" when none was given)."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a project on a channel, with every file its source lists for it."""

    project: str
    version: str
    channel: str
    artifacts: tuple[Artifact, ...]
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """One distribution installed in an environment."""

    name: str
    version: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """An isolated install of one artifact, complete and never changed afterwards."""

    key: str
    artifact: Artifact
    path: Path
    python: Path
    python_version: str
    packages: tuple[Package, ...]
    built_at: datetime
    reused: bool = False


# ---------------------------------------------------------------------------------------------
# Checks


class Arm(StrEnum):
    """One way of serving in a check."""

    BASELINE = "baseline"
    MTP = "mtp"


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
    """`synthetic`, `huggingface` or `path`."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Synthetic only: the generator's parameters, seed included."""
    repository: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    """Huggingface: files wanted from the repository; empty means all. Path: the one file or folder."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name → expected sha256, where the check pins it."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a host must have for a check to be runnable there."""

    gpu: bool = False
    gpu_memory_bytes: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    compute_capability: str | None = None


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
    """Name of the engine seam: `xllamacpp`, `llama-server`, `vllm`, `endpoint`."""
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
    judging: dict[str, Any] = field(default_factory=dict)
    """Overrides of the judging policy. Not part of the digest."""


# ---------------------------------------------------------------------------------------------
# Measurements: what one sample file holds


class Role(StrEnum):
    """Why a session was run."""

    SCREEN = "screen"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Header:
    """What every sample of a file has in common."""

    check: str
    check_digest: str
    project: str
    version: str
    artifact_sha256: str | None = None
    host: str | None = None
    hardware_class: str | None = None
    draft_length: int | None = None
    concurrency: int | None = 1
    sampling: dict[str, Any] | None = None
    judging: dict[str, Any] | None = None
    """The check's overrides of the judging policy."""
    calibration: dict[str, Any] | None = None
    model_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One start of one engine server for one arm: the unit of replication."""

    session: int
    arm: Arm
    block: int
    order: int
    """Place among the sessions of its block, from 0, in the order they were run."""
    role: Role = Role.SCREEN
    started_at: datetime | None = None
    startup_s: float | None = None
    gpu_memory_bytes: int | None = None
    energy_j: float | None = None
    effective: dict[str, Any] | None = None
    """What the server said it really runs (flags, backends, speculation), as flat facts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt answered in one session, with its times, counts and token ids."""

    session: int
    arm: Arm
    workload: str
    prompt: str
    repeat: int
    n: int
    n_first: int | None
    ttft_s: float | None
    decode_s: float | None
    """From the first chunk that carries tokens to the chunk with the finish reason."""
    prompt_tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    steps: int | None = None
    """n − n_first − accepted: decode steps after the first chunk, drafted or not."""
    accepted_per_position: tuple[int, ...] | None = None
    stop: str | None = None
    server_decode_tps: float | None = None
    token_ids: tuple[int, ...] | None = None
    tokens_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One sample file: all sessions and samples of one check on one artifact on one host."""

    header: Header
    sessions: tuple[Session, ...]
    samples: tuple[Sample, ...]


# ---------------------------------------------------------------------------------------------
# Verdicts: what the judge says


class Verdict(StrEnum):
    """What is said of a release on a check, or of one metric of it."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    FAILED = "failed"


class Signature(StrEnum):
    """The pattern behind a verdict, in the words an engineer would use for the cause."""

    SPECULATION_OFF = "speculation off"
    DRAFTER_DEAD = "drafter dead"
    ACCEPTANCE_DROP = "acceptance drop"
    STEP_SLOWER = "step slower"
    MIXED = "mixed"
    BASELINE_FASTER = "baseline faster"
    BASELINE_SLOWER = "baseline slower"
    ENGINE_SLOWER = "engine slower"
    PREFILL_COST = "prefill cost"
    DECAY = "decay"
    OUTPUT_CHANGED = "output changed"
    CONFIGURATION_DRIFT = "configuration drift"
    BROKEN_RELEASE = "broken release"
    HOST_SHIFT = "host shift"
    HARNESS_DRIFT = "harness drift"


class Metric(StrEnum):
    """What is compared between two releases; the first group gates, the second is only shown."""

    STEP_TIME = "step_time"
    ACCEPTANCE_LENGTH = "acceptance_length"
    BASELINE_RATE = "baseline_rate"
    TTFT_BASELINE = "ttft_baseline"
    TTFT_MTP = "ttft_mtp"
    ACCEPTANCE_RATE = "acceptance_rate"
    SPEEDUP = "speedup"
    MTP_RATE = "mtp_rate"
    STARTUP = "startup"
    GPU_MEMORY = "gpu_memory"
    ENERGY = "energy_per_token"


class Channel(StrEnum):
    """Whether an effect was decided by exact counters or by noisy times."""

    EXACT = "exact"
    TIMED = "timed"


@dataclass(frozen=True, slots=True)
class Effect:
    """How much one metric moved between reference and candidate.

    `change_log` is ln(candidate / reference); the bounds are those of `change_percent`'s interval,
    in percent. For an exact effect the interval is the point itself.
    """

    metric: Metric
    workload: str
    """`all` for the overall row."""
    channel: Channel
    gates: bool
    reference: float | None
    candidate: float | None
    unit: str
    change_log: float | None
    change_percent: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    floor: float
    """The smallest change that counts, as a fraction (0.02 is 2 %)."""
    mde: float | None
    """Minimum detectable effect with these sessions, as a fraction; 0 for an exact effect."""
    degrees_of_freedom: float | None
    outliers: bool
    hodges_lehmann_percent: float | None
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """One factor's signed contribution to the change of log speedup."""

    change_log: float
    ci_low: float
    ci_high: float
    share: float | None
    """Part of the speedup's change that this factor explains; None when the speedup did not move."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Three signed contributions that sum to the speedup's change_log."""

    acceptance_length: Share
    step_time: Share
    baseline: Share
    speedup_change_log: float


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that must hold before any number is believed."""

    name: str
    tripped: bool
    detail: str
    outcome: Verdict | None = None
    """What a trip leads to: `invalid`, `inconclusive` or, for a flag that only informs, None."""


@dataclass(frozen=True, slots=True)
class Lossless:
    """How far the promise that speculation does not change the output was checked."""

    tier: int
    exact_expected: bool
    baseline_pairs: int
    baseline_matches: int
    mtp_pairs: int
    mtp_matches: int
    first_divergence: dict[str, Any] | None
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """Plain figures of one release for people: geometric means over prompts, then workloads."""

    workload: str
    baseline_rate: float | None
    mtp_rate: float | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    acceptance_rate: float | None
    acceptance_length: float | None
    step_time_s: float | None
    baseline_step_time_s: float | None
    ttft_baseline_s: float | None
    ttft_mtp_s: float | None
    accepted_per_position: tuple[float, ...] | None
    """Share of decode steps in which the token drafted at this place (0 first) was accepted."""
    baseline_sessions: int
    mtp_sessions: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with everything it rests on."""

    verdict: Verdict
    signature: Signature | None
    confirmed: bool | None
    """None: no confirmation was asked for or needed."""
    headline: str
    """The verdict in one sentence of plain words."""
    sessions: dict[str, int]
    effects: tuple[Effect, ...]
    attribution: Attribution | None
    guards: tuple[Guard, ...]
    lossless: Lossless
    reference: Header | None
    candidate: Header
    reference_summary: tuple[ArmSummary, ...]
    candidate_summary: tuple[ArmSummary, ...]
    undecided: tuple[str, ...]
    """Gating rows that further sessions could still decide."""
    policy_version: str


# ---------------------------------------------------------------------------------------------
# Runs


class RunState(StrEnum):
    """Where a run stands; `docs/run_lifecycle.md` draws the transitions."""

    PLANNED = "planned"
    PROVISIONING = "provisioning"
    MEASURING = "measuring"
    JUDGING = "judging"
    CONFIRMING = "confirming"
    DONE = "done"
    FAILED = "failed"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Host:
    """One machine with its accelerator, as far as it decides what may be compared."""

    name: str
    machine_id: str
    hardware_class: str
    boot_id: str
    cpu: str
    cores: int
    memory_bytes: int
    gpu: dict[str, Any] | None = None
    kernel: str = ""
