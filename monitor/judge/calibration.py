"""A check's own noise, found by measuring the same artifact again and again.

Noise has three levels: samples within a session, sessions within a measurement, measurements from day to day.
Each is estimated from what the level below leaves (a nested analysis of variance). The record goes into the
header of later samples, where `noise.priors` reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from monitor.domain import JUDGED_ARMS, Arm, Metric, SampleSet, Verdict
from monitor.errors import SampleFileError
from monitor.judge import counts, looks, statistics, totals
from monitor.judge.metrics import (
    CELL_VALUES,
    PromptKey,
    Table,
    comparable_prompts,
    session_means,
    tabulate,
)
from monitor.judge.noise import TIMED
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

DAY_LIMIT = 0.005
"""With a day effect of half a percent, a stored reference makes every fourth quiet release a suspect
(docs/judging.md, "Known error rates"): old and new then take turns from the start."""
_BOUND = 0.95
_GATING = 4  # noisy gating rows of a check whose counts repeat


@dataclass(frozen=True, slots=True)
class Levels:
    """A metric's noise: deviations of logarithms, each with its degrees of freedom."""

    within_sd: float
    """Of one sample around what its prompt and its session explain."""
    within_df: float
    session_sd: float
    """Of a session's mean around its measurement's: what one more session is worth."""
    session_df: float
    day_sd: float
    """Of a measurement around the others, beyond what its sessions explain; 0 when nothing is left."""
    day_df: float
    detectable: float
    """The change that is called with the policy's power at the cap, beyond the first inner limit."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What repeated measurements of one artifact say about a check on a host."""

    check_digest: str
    host: str | None
    artifact_sha256: str | None
    policy_version: str
    measurements: int
    sessions: int
    noise: Mapping[Metric, Levels]
    counts_repeat: bool
    """Draft and accept counts were the same in every mtp session of every measurement."""
    tokens_repeat: bool
    """So were the tokens of both arms."""
    judged: int
    """Each measurement judged against the one before, by the noise of the others."""
    alarms: int
    alarm_rate_below: float
    """Upper bound of the false-alarm rate that these judgements allow, at .95: with 0 of 20 it is 14 %."""

    @property
    def alternate(self) -> bool:
        """Say whether days differ so much that old and new must take turns from the start."""
        return any(levels.day_sd >= DAY_LIMIT for levels in self.noise.values())

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON, for `Header.calibration`."""
        document = {name: value for name, value in asdict(self).items() if name != "noise"}
        noise = {metric.value: asdict(levels) for metric, levels in self.noise.items()}
        return {**document, "alternate": self.alternate, "noise": noise}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Calibration:
        """Return what `document` gave.

        Raises:
            SampleFileError: when it is no such document.

        """
        try:
            noise = {Metric(name): Levels(**levels) for name, levels in document["noise"].items()}
            known = {name: document[name] for name in cls.__slots__ if name != "noise"}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SampleFileError(
                f"The calibration is not understood: {error!r}.",
                kept="the file",
                advice="calibrate the check again",
            ) from error
        return cls(noise=noise, **known)


def calibrate(measurements: Sequence[SampleSet], policy: JudgingPolicy) -> Calibration:
    """Return the noise of a check from measurements of one artifact, in the order they were made.

    Raises:
        SampleFileError: when fewer than two are given, or not all are of one artifact, check and host.

    """
    measurements = [measurement.judged for measurement in measurements]
    _same_artifact(measurements)
    tables = [tabulate(m, policy.min_rate_tokens, busy_limit=policy.busy_limit) for m in measurements]
    prompts = comparable_prompts(tables)
    shared, cells = totals.side_by_side(measurements, tables)
    judged, alarms = _own_alarms(measurements, policy)
    first = measurements[0].header
    tokens_repeat = all(
        counts.token_equal(tables[0], table, arm, prompts) == prompts
        for table in tables
        for arm in JUDGED_ARMS
    )
    return Calibration(
        check_digest=first.check_digest,
        host=first.host,
        artifact_sha256=first.artifact_sha256,
        policy_version=policy.version,
        measurements=len(tables),
        sessions=sum(len(table.sessions) for table in tables),
        noise=noise_of(shared, cells, policy),
        counts_repeat=_counts_repeat(shared, cells),
        tokens_repeat=tokens_repeat,
        judged=judged,
        alarms=alarms,
        alarm_rate_below=rate_below(alarms, judged),
    )


def rate_below(alarms: int, judged: int, level: float = _BOUND) -> float:
    """Return the upper bound of a rate by Clopper and Pearson (1934), one-sided."""
    return 1.0 if alarms >= judged else float(special.betaincinv(alarms + 1, judged - alarms, level))


def _same_artifact(measurements: Sequence[SampleSet]) -> None:
    seen = {
        (m.header.check_digest, m.header.host, m.header.artifact_sha256, m.header.version)
        for m in measurements
    }
    if len(measurements) < 2 or len(seen) > 1:  # noqa: PLR2004 - one measurement has nothing beside it
        raise SampleFileError(
            f"A calibration takes two measurements or more of one artifact on one host; these are "
            f"{len(measurements)} of {len(seen)}.",
            kept="the samples",
            advice="measure the same release again",
        )


# --- three levels --------------------------------------------------------------------------------


def noise_of(
    tables: Sequence[Table], prompts: frozenset[PromptKey], policy: JudgingPolicy
) -> dict[Metric, Levels]:
    """Return the three levels of each timed metric that has at least two sessions in a measurement."""
    found = {}
    for metric in TIMED:
        groups = [np.array(list(session_means(table, metric, prompts).values())) for table in tables]
        session_df = sum(max(0, len(group) - 1) for group in groups)
        if session_df == 0 or any(len(group) == 0 for group in groups):
            continue
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        session_variance = squares / session_df
        within_variance, within_df = _within(tables, metric, prompts)
        found[metric] = Levels(
            within_sd=math.sqrt(within_variance),
            within_df=within_df,
            session_sd=math.sqrt(session_variance),
            session_df=float(session_df),
            day_sd=math.sqrt(_day_variance(groups, session_variance)),
            day_df=float(len(groups) - 1),
            detectable=_detectable(policy, metric, math.sqrt(session_variance), session_df),
        )
    return found


def _within(tables: Sequence[Table], metric: Metric, prompts: frozenset[PromptKey]) -> tuple[float, float]:
    """Return variance and degrees of freedom of samples around prompt and session, over all measurements."""
    arm, value = CELL_VALUES[metric]
    squares, freedom = 0.0, 0.0
    order = sorted(prompts)
    for table in tables:
        rows = [[value(table.cells[s.session][key]) for key in order] for s in table.of(arm)]
        grid = np.array(rows, dtype=float)  # sessions × prompts; what was not measured is not a number
        if grid.size == 0 or not np.isfinite(grid).all():
            continue
        rest = grid - grid.mean(0) - grid.mean(1)[:, None] + grid.mean()
        squares += float((rest**2).sum())
        freedom += (grid.shape[0] - 1) * (grid.shape[1] - 1)
    return (squares / freedom if freedom else 0.0), freedom


def _day_variance(groups: Sequence[np.ndarray], session_variance: float) -> float:
    """Return what the means of measurements scatter beyond their sessions; the method of moments."""
    if len(groups) < 2:  # noqa: PLR2004 - one measurement has no days
        return 0.0
    means = np.array([group.mean() for group in groups])
    expected = session_variance * float(np.mean([1 / len(group) for group in groups]))
    return max(0.0, float(means.var(ddof=1)) - expected)


def _detectable(policy: JudgingPolicy, metric: Metric, session_sd: float, session_df: float) -> float:
    stored, most = policy.blocks_reference, policy.blocks_max
    look = looks.screening(policy, blocks=most, reference=stored, gating=_GATING)
    df = session_df + stored + most - 2
    quantiles = statistics.quantile_margin(df, look.level_regressed, policy.power)
    error = session_sd * math.sqrt(1 / stored + 1 / most)
    return policy.inner_fraction * policy.floor(metric) + quantiles * error


# --- counters and alarms -------------------------------------------------------------------------


def _counts_repeat(tables: Sequence[Table], prompts: frozenset[PromptKey]) -> bool:
    seen = {
        tuple(table.cells[session.session][key].counts for key in sorted(prompts))
        for table in tables
        for session in table.of(Arm.MTP)
    }
    return len(seen) == 1


def _own_alarms(measurements: Sequence[SampleSet], policy: JudgingPolicy) -> tuple[int, int]:
    """Judge each measurement against the one before; return how many were judged and called regressed.

    The noise they are judged by is that of the other measurements, so that none helps to acquit itself.
    """
    alarms = 0
    for place, (before, after) in enumerate(pairwise(measurements)):
        others = [m for i, m in enumerate(measurements) if i not in (place, place + 1)]
        tables = [tabulate(m, policy.min_rate_tokens, busy_limit=policy.busy_limit) for m in others]
        known = noise_of(*totals.side_by_side(others, tables), policy) if tables else {}
        document = {"noise": {metric.value: asdict(levels) for metric, levels in known.items()}}
        pair = [
            SampleSet(replace(m.header, calibration=document), m.sessions, m.samples) for m in (before, after)
        ]
        alarms += judge(pair[0], pair[1], policy=policy).verdict is Verdict.REGRESSED
    return len(measurements) - 1, alarms
