"""Which of several ways of speculating is the fastest. Pure: samples in, standings out.

All cells are measured in turns within each block, so cells are compared block by block and a drift of the
machine falls out. After each block a cell is called slower than the best, or like it, with the levels of
`looks.spent_levels`; the error is divided among the cells, since the best was picked by the same sessions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from monitor.domain import ArmSummary, Cell, CellResult, Metric, SampleSet, Standing, Worth
from monitor.judge import looks, noise, statistics, summary
from monitor.judge.advice import worth_of
from monitor.judge.effects import floor_of
from monitor.judge.metrics import OVERALL, PromptKey, Table, comparable_prompts, session_means, tabulate
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Estimate, Prior


@dataclass(frozen=True, slots=True)
class Weighed:
    """How the cells stand after some blocks."""

    best: str | None
    standings: Mapping[str, Standing]
    against_best: Mapping[str, Estimate]
    """Of the others: log rate of the cell − that of the best."""
    floor: float

    @property
    def decided(self) -> bool:
        """No cell is open."""
        return Standing.OPEN not in self.standings.values()


def weigh(
    cells: Mapping[str, SampleSet],
    policy: JudgingPolicy,
    *,
    blocks: int,
    dropped: Mapping[str, Estimate] | None = None,
) -> Weighed:
    """Compare the cells after `blocks` blocks.

    Args:
        cells: name → its mtp sessions.
        policy: its `blocks_min` is the first look, its `blocks_max` the last; `error_confirm` is the chance
            that a cell as fast as the best within the inner limit is called slower, `error_unchanged` that
            one which is slower by the floor is called alike.
        blocks: complete ones.
        dropped: cells that were called slower at an earlier look and are not measured any more, each with
            its estimate against what was the best then.

    """
    tables = {name: tabulate(samples, policy.min_rate_tokens) for name, samples in cells.items()}
    prompts = comparable_prompts(tables.values())
    rates = {name: _by_block(table, prompts) for name, table in tables.items()}
    dropped = dropped or {}
    running = {name: values for name, values in rates.items() if values and name not in dropped}
    if not running:
        return Weighed(None, {}, {}, policy.floor(Metric.MTP_RATE))
    best = max(running, key=lambda name: fmean(running[name].values()))
    prior = _paired(noise.priors((samples.header for samples in cells.values()), policy).get(Metric.MTP_RATE))
    levels = _levels(policy, blocks, comparisons=len(rates) - 1)
    standings: dict[str, Standing] = {best: Standing.BEST, **dict.fromkeys(dropped, Standing.SLOWER)}
    estimates, floors = dict(dropped), [policy.floor(Metric.MTP_RATE)]
    for name, values in running.items():
        common = sorted(values.keys() & rates[best].keys())
        if name == best or not common:
            continue
        estimate = statistics.mean_of([values[block] - rates[best][block] for block in common], prior)
        floor = floor_of(policy, Metric.MTP_RATE, estimate)
        estimates[name] = estimate
        floors.append(floor)
        standings[name] = _standing(estimate, floor, policy, levels)
    return Weighed(best, standings, estimates, max(floors))


def _standing(
    estimate: Estimate, floor: float, policy: JudgingPolicy, levels: tuple[float, float]
) -> Standing:
    limit = floor if estimate.standard_error == 0 else policy.inner_fraction * floor
    if -estimate.difference - estimate.margin(levels[0]) > limit:
        return Standing.SLOWER
    if abs(estimate.difference) + estimate.margin(levels[1]) <= floor:
        return Standing.ALIKE
    return Standing.OPEN


def _levels(policy: JudgingPolicy, blocks: int, *, comparisons: int) -> tuple[float, float]:
    first, last = min(policy.blocks_min, policy.blocks_max), policy.blocks_max
    information = tuple(float(number) for number in range(first, last + 1))
    number = min(max(blocks, first), last) - first
    shared = max(1, comparisons)
    return (
        looks.spent_levels(policy.error_confirm / shared, information)[number],
        looks.spent_levels(policy.error_unchanged / shared, information)[number],
    )


def _paired(prior: Prior | None) -> Prior | None:
    """Return what is known of the noise of a difference of two sessions."""
    if prior is None:
        return None
    return Prior(prior.session_sd * math.sqrt(2), prior.degrees_of_freedom, prior.doubt_level)


def _by_block(table: Table, prompts: frozenset[PromptKey]) -> dict[int, float]:
    means = session_means(table, Metric.MTP_RATE, prompts) if prompts else {}
    return {session.block: means[session.session] for session in table.sessions if session.session in means}


# ---------------------------------------------------------------------------------------------
# What is told


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured in a sweep."""

    cells: Mapping[str, Cell]
    samples: Mapping[str, SampleSet]
    """Name of the cell → its mtp sessions."""
    baseline: SampleSet
    """The same for all cells."""
    failed: Mapping[str, str]
    """Name of the cell → why the engine does not serve with it."""


def results(measured: Measured, weighed: Weighed, policy: JudgingPolicy) -> tuple[CellResult, ...]:
    """Return every cell with its figures, in the order given."""
    return tuple(_result(cell, measured, weighed, policy) for cell in measured.cells.values())


def _result(cell: Cell, measured: Measured, weighed: Weighed, policy: JudgingPolicy) -> CellResult:
    samples, failure = measured.samples.get(cell.name), measured.failed.get(cell.name)
    estimate = weighed.against_best.get(cell.name)
    margin = estimate.margin(policy.level_shown) if estimate is not None else None
    figures = figures_of(measured.baseline, samples, policy) if samples is not None else None
    standing = Standing.FAILED if failure is not None else weighed.standings.get(cell.name, Standing.OPEN)
    return CellResult(
        cell=cell,
        standing=standing,
        sessions=len(samples.sessions) if samples is not None else 0,
        mtp_rate=figures.mtp_rate if figures else None,
        speedup=figures.speedup if figures else None,
        speedup_low=figures.speedup_low if figures else None,
        speedup_high=figures.speedup_high if figures else None,
        worth=worth_of(figures.speedup_low, figures.speedup_high, policy.floor_rate)
        if figures
        else Worth.UNKNOWN,
        acceptance_rate=figures.acceptance_rate if figures else None,
        acceptance_length=figures.acceptance_length if figures else None,
        step_time_s=figures.step_time_s if figures else None,
        change_percent=_percent(estimate.difference) if estimate is not None else None,
        change_low=_percent(estimate.difference - margin) if estimate and margin is not None else None,
        change_high=_percent(estimate.difference + margin) if estimate and margin is not None else None,
        reason=failure or "",
    )


def figures_of(baseline: SampleSet, cell: SampleSet, policy: JudgingPolicy) -> ArmSummary:
    """Return the overall figures of a cell together with the baseline that all cells share."""
    together = SampleSet(
        cell.header, (*baseline.sessions, *cell.sessions), (*baseline.samples, *cell.samples)
    )
    table = tabulate(together, policy.min_rate_tokens)
    prior = noise.priors((cell.header,), policy).get(Metric.SPEEDUP)
    found = summary.summarise(table, comparable_prompts((table,)), policy.level_shown, prior)
    return next(one for one in found if one.workload == OVERALL)


def choose(results: tuple[CellResult, ...], current: int) -> Cell | None:
    """Return what to use: of the best and those alike what the check uses, else what drafts least."""
    tied = [result.cell for result in results if result.standing in (Standing.BEST, Standing.ALIKE)]
    used = [cell for cell in tied if cell.draft_length == current and not cell.options]
    if used:
        return used[0]
    return min(tied, key=lambda cell: (cell.draft_length, len(cell.options), cell.name), default=None)


def _percent(change_log: float) -> float | None:
    return 100 * math.expm1(change_log) if math.isfinite(change_log) and change_log < 700 else None  # noqa: PLR2004
