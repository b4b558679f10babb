"""The limits a verdict is reached by. They have a version of their own, stored with each verdict."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from monitor.domain import Metric
from monitor.errors import ConfigurationError

VERSION = "4"

NOISE_FLOORS = ("policy", "measured")


@dataclass(frozen=True, slots=True)
class JudgingPolicy:
    """What counts as a change, and how sure one has to be.

    Floors are fractions (0.02 is 2 %); levels are one-sided confidence levels of a t distribution.
    A check may override any field in its `[judging]` table; the digest does not cover them.
    """

    version: str = VERSION
    floor_rate: float = 0.02
    """Rates, step time and acceptance length: the smallest relative change that counts."""
    floor_acceptance: float = 0.01
    """Acceptance rate: the smallest change that counts, in points (0.01 is one point)."""
    floor_ttft: float = 0.05
    inner_fraction: float = 0.5
    """A change is called when its bound lies beyond this part of the floor."""
    error_regressed: float = 0.20
    """Chance that a judgement suspects a release all of whose gating rows lost exactly the inner limit; it is
    divided by the gating rows and spent over the looks. A suspicion costs a confirmation, not an alarm."""
    error_unchanged: float = 0.05
    """Chance, over all looks, that a row is called unchanged whose true change is exactly the floor."""
    error_confirm: float = 0.10
    """Chance, over all looks, that confirming sessions confirm a suspicion whose true change is the inner
    limit. Both must err for a false alarm: 0.20 × 0.10 at the worst, and far less without any change."""
    level_shown: float = 0.975
    """One-sided level of the intervals that are shown; decisions use the levels of their look."""
    power: float = 0.90
    """Power that the minimum detectable effect is stated for."""
    noise_floor: str = "policy"
    """`measured`: a time's floor is never below what the sessions at hand can resolve (shared CPUs)."""
    measured_floor_max: float = 0.25
    """A measured floor ends here: calling times unchanged within more than this would say nothing."""
    session_noise: float | None = None
    """Deviation between sessions of a time's logarithm (0.10 is 10 %), as known of such a host. It is pooled
    with what the sessions at hand show, until a calibration of this host and check takes its place."""
    session_noise_df: float = 20.0
    """Degrees of freedom that `session_noise` is worth: how many sessions it would take to doubt it."""
    doubt_level: float = 0.95
    """Sessions that scatter more than this quantile of what the calibration allows are judged by their own
    scatter alone: the machine is not what it was when it was calibrated."""
    busy_limit: float = 0.25
    """Share of the CPUs that other work may take during a session; beyond it, its times are left out."""
    server_rate_tolerance: float = 0.02
    """Largest allowed gap between the client's decode rate and the server's own."""
    min_rate_tokens: int = 16
    """A rate needs at least this many tokens after the first chunk."""
    stop_change_limit: float = 0.25
    """Share of diverged prompts that may change their stop reason before the run is invalid."""
    length_change_limit: float = 0.20
    """How far the geometric mean length of diverged answers may move before the run is invalid."""
    drafted_per_step_tolerance: float = 0.05
    dead_acceptance: float = 0.02
    dead_drafted: int = 200
    lossless_exact: bool = False
    """Greedy tokens are exactly equal between arms and releases here, and a difference is an error."""
    near_tie_nats: float = 0.3
    """Where texts part, a margin of the baseline model up to this is a near-tie; more is one where the
    baseline parts from itself by more."""
    margins_max: int = 16
    """Places where texts part that the baseline model is asked about at the end of a session; 0: none."""
    margins_time_s: float = 60.0
    """Time that this may take, in seconds."""
    score_limit: float = 0.02
    """Share of right answers: a loss counts when its whole interval lies beyond this (0.02 is two points)."""
    score_prompts_min: int = 10
    """Scored prompts it takes to call a loss of score."""
    min_speedup: float | None = None
    min_acceptance: float | None = None
    """Published limits that alarm from the first run (`[expect]` of a check)."""
    blocks_min: int = 2
    blocks_max: int = 12
    """Blocks of one session per arm: where the first look is taken, and where looking ends."""
    blocks_reference: int = 6
    """Blocks of what later releases are compared with: a first measurement has them from the start, and a
    release that was found good is measured on to as many, after its verdict."""
    confirm_blocks_max: int = 5
    """Blocks of two sessions per release and arm, in the order A B B A."""

    def with_overrides(self, overrides: Mapping[str, Any] | None) -> JudgingPolicy:
        """Return a copy with a check's `[judging]` table applied.

        Raises `ConfigurationError` for an unknown key or a value of another type.
        """
        if not overrides:
            return self
        known = {f.name: f for f in fields(self) if f.name != "version"}
        for key, value in overrides.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
                raise ConfigurationError(f"The judging policy has no setting {key!r}.", advice=hint)
            _check_type(key, value, getattr(self, key))
        return replace(self, **overrides)

    def floor(self, metric: Metric) -> float:
        """Return the smallest change of a metric that counts, as a fraction (points for acceptance)."""
        if metric is Metric.ACCEPTANCE_RATE:
            return self.floor_acceptance
        if metric in (Metric.TTFT_BASELINE, Metric.TTFT_MTP, Metric.STARTUP):
            return self.floor_ttft
        return self.floor_rate


def confirm_reference(overrides: Mapping[str, Any]) -> None:
    """Confirm that a check's own `blocks_reference` lies between its first look and its last, or six.

    Sample files of earlier checks may carry another one, so `with_overrides` takes any.

    Raises:
        ConfigurationError: when it does not, with what is allowed.

    """
    if "blocks_reference" not in overrides:
        return
    policy = JudgingPolicy().with_overrides(overrides)
    blocks, most = policy.blocks_reference, max(policy.blocks_max, JudgingPolicy().blocks_reference)
    if not isinstance(blocks, int) or not policy.blocks_min <= blocks <= most:
        raise ConfigurationError(
            f"The judging setting 'blocks_reference' is {blocks!r}.",
            advice=f"allowed: a whole number from {policy.blocks_min} (blocks_min) to {most}",
        )


def _check_type(key: str, value: object, default: object) -> None:
    if key == "noise_floor":
        if value not in NOISE_FLOORS:
            raise ConfigurationError(
                f"noise_floor is {value!r}.", advice=f"allowed: {', '.join(NOISE_FLOORS)}"
            )
        return
    if isinstance(default, bool) or isinstance(value, bool):
        if not (isinstance(default, bool) and isinstance(value, bool)):
            raise ConfigurationError(
                f"The judging setting {key!r} is {value!r}.", advice="allowed: true, false"
            )
        return
    if value is None and default is None:
        return
    if not isinstance(value, int | float) or value < 0:
        raise ConfigurationError(
            f"The judging setting {key!r} is {value!r}.", advice="allowed: a number of at least 0"
        )
