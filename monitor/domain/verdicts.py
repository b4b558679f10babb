"""Verdicts: what the judge says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from monitor.domain.measurements import Header


class Verdict(StrEnum):
    """What is said of a release on a check, or of one metric of it."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    FAILED = "failed"


class Basis(StrEnum):
    """What a run was compared with. The verdict that counts is the one against the reference."""

    REFERENCE = "reference"
    PREDECESSOR = "predecessor"
    """The release measured before it, while an incident is open: is there a new change?"""
    GOOD_END = "good end"
    """The good end of a bisection, with a result that was there before it."""
    FIRST = "first good run"
    """The epoch's first good run, where the series has crept away from it: small steps that sum up."""


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
    workload: str = "all"
    """`all` for the overall one."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that must hold before any number is believed."""

    name: str
    tripped: bool
    detail: str
    outcome: Verdict | None = None
    """What a trip leads to: `invalid`, `inconclusive` or, for a flag that only informs, None."""


@dataclass(frozen=True, slots=True)
class Right:
    """How many answers of one arm to the scored prompts are right."""

    share: float
    """Mean over the prompts of the share of right answers to each."""
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """How far the share of right answers moved, prompt by prompt: 0.01 is one point, less is worse."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Score:
    """What the answers to prompts with a known answer say, with intervals."""

    prompts: int
    """Scored prompts that every arm compared has answered; the unit of the intervals."""
    baseline: Right
    mtp: Right
    between_arms: ScoreChange
    """From the baseline to mtp, in one release."""
    between_releases: ScoreChange | None = None
    """Of mtp, from the reference to the candidate."""


@dataclass(frozen=True, slots=True)
class Lossless:
    """How far the promise that speculation does not change the output was checked.

    `tier` is the highest that was reached: 1 the baseline against itself, 2 mtp against the baseline token by
    token, 3 the baseline model's margins where they part, 4 the score. 0: nothing could be compared.
    """

    tier: int
    exact_expected: bool
    baseline_pairs: int
    baseline_matches: int
    mtp_pairs: int
    mtp_matches: int
    first_divergence: dict[str, Any] | None
    verdict: Verdict
    note: str = ""
    divergences: int = 0
    """Places where mtp left the baseline's text, each counted once however often it was seen."""
    margins: int = 0
    """Of these, how many the baseline model told its margin at."""
    score: Score | None = None
    by_score: bool = False
    """The verdict rests on the score: texts alone would not have been called changed."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the sessions after a block, and how sure it had to be to call or to rule out a change."""

    number: int
    """From 1; a later look knows more and may err less."""
    of: int
    """The look after which nothing more is measured."""
    blocks: int
    """Complete blocks of the candidate so far."""
    gating: int
    """Noisy rows that could raise an alarm, and among which the error of a false one was divided."""
    level_regressed: float
    """One-sided confidence at which a row was called regressed or improved."""
    level_unchanged: float
    """One-sided confidence, on each side, at which a row was called unchanged."""


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

    @property
    def conditional_acceptance(self) -> tuple[float | None, ...] | None:
        """For each drafted place, the share accepted of those whose place before was; None where none was.

        A head whose later places are worse for a reason of their own shows here, where the plain shares fall
        with every place.
        """
        shares = self.accepted_per_position
        if shares is None:
            return None
        before = (1.0, *shares)
        return tuple(now / prior if prior else None for prior, now in zip(before, shares, strict=False))


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
    look: Look | None = None
    """The last look at the sessions that decided; None for a first measurement."""
    by_workload: tuple[Attribution, ...] = ()
    """The attribution of each workload by itself, where it has both arms and counts."""
