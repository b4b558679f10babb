"""From samples to one number a session: the metrics, exactly as `docs/judging.md` defines them.

All averaging is done on logarithms, first over a prompt's repeats, then over the prompts of a
workload, then over workloads, with the same weights for every metric. That is what makes the identity
speedup = acceptance length × baseline step time / mtp step time hold for the means as well.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from monitor.domain import Arm, Metric, Sample, SampleSet, Session

OVERALL = "all"

PromptKey = tuple[str, str]
"""(workload, prompt id)"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One prompt in one session: logs averaged and counts summed over its repeats."""

    log_rate: float | None
    log_ttft: float | None
    log_step_time: float | None
    log_acceptance_length: float | None
    n: int
    tokens_after_first: int
    drafted: int
    accepted: int
    steps: int
    accepted_per_position: tuple[int, ...] | None
    counts: tuple[tuple[int, int, int], ...]
    """(n, drafted, accepted) of each repeat: what must repeat exactly."""
    tokens: tuple[str | None, ...]
    """Identity of the token ids of each repeat."""
    stops: tuple[str | None, ...]
    prompt_tokens: int | None


@dataclass(frozen=True)
class Table:
    """The complete sessions of one release, cell by cell."""

    sessions: tuple[Session, ...]
    cells: Mapping[int, Mapping[PromptKey, Cell]]
    dropped: tuple[int, ...]
    """Sessions left out because prompts are missing in them."""
    disturbed: tuple[int, ...] = ()
    """Sessions left out because other work took too much of the host, or because the GPU was slowed down or
    shared; the arm has quiet ones beside them."""
    busy_arms: frozenset[Arm] = frozenset()
    """Arms that have only disturbed sessions: their counts are kept, their times say nothing."""

    def of(self, arm: Arm) -> tuple[Session, ...]:
        """Return the sessions of one arm in the order they were run."""
        return tuple(s for s in self.sessions if s.arm is arm)

    def prompts(self, arm: Arm) -> frozenset[PromptKey]:
        """Return the prompts every session of the arm answered."""
        own = [frozenset(self.cells[s.session]) for s in self.of(arm)]
        return frozenset.intersection(*own) if own else frozenset()


def tabulate(sample_set: SampleSet, min_rate_tokens: int, *, busy_limit: float = 1.0) -> Table:
    """Arrange a sample file by session and prompt; sessions that lack prompts are left out.

    So are those during which other work took more than `busy_limit` of the host's CPUs, and those that hold
    answers for which the GPU was slowed down or shared.
    """
    by_cell: dict[int, dict[PromptKey, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in sample_set.samples:
        by_cell[sample.session][(sample.workload, sample.prompt)].append(sample)
    sessions = _sessions(sample_set)
    asked: dict[Arm, set[PromptKey]] = defaultdict(set)
    for session in sessions:
        asked[session.arm] |= set(by_cell[session.session])
    complete = [s for s in sessions if by_cell[s.session] and set(by_cell[s.session]) == asked[s.arm]]
    dropped = tuple(s.session for s in sessions if s not in complete)
    disturbed = {s.session for s in complete if others_share(s) > busy_limit or contaminated_answers(s)}
    quiet_arms = {s.arm for s in complete if s.session not in disturbed}
    busy_arms = frozenset(s.arm for s in complete) - quiet_arms
    left_out = tuple(s.session for s in complete if s.session in disturbed and s.arm in quiet_arms)
    complete = [s for s in complete if s.session not in left_out]
    cells = {
        s.session: {key: _cell(samples, min_rate_tokens) for key, samples in by_cell[s.session].items()}
        for s in complete
    }
    return Table(tuple(complete), cells, dropped, left_out, busy_arms)


def others_share(session: Session) -> float:
    """Return the share of the host's CPUs that other work took during a session; 0 where it is not known."""
    share = (session.effective or {}).get("load.others")
    return float(share) if isinstance(share, int | float) else 0.0


def contaminated_answers(session: Session) -> int:
    """Return how many answers of a session had the GPU slowed down or shared, however often asked."""
    found = (session.gpu or {}).get("contaminated")
    return int(found) if isinstance(found, int | float) else 0


def _sessions(sample_set: SampleSet) -> list[Session]:
    """Return the file's sessions; where it has none, those its samples imply, in order of number."""
    known = {s.session: s for s in sample_set.sessions}
    next_block: dict[Arm, int] = defaultdict(int)
    for sample in sorted(sample_set.samples, key=lambda s: s.session):
        if sample.session not in known:
            block = next_block[sample.arm]
            next_block[sample.arm] += 1
            known[sample.session] = Session(session=sample.session, arm=sample.arm, block=block, order=0)
    return [known[number] for number in sorted(known)]


def _cell(samples: list[Sample], min_rate_tokens: int) -> Cell:
    samples = sorted(samples, key=lambda s: s.repeat)
    log_rates, log_ttfts, log_steps, log_lengths = [], [], [], []
    for sample in samples:
        after = tokens_after_first(sample)
        if sample.ttft_s is not None and sample.ttft_s > 0:
            log_ttfts.append(math.log(sample.ttft_s))
        if after >= min_rate_tokens and sample.decode_s is not None and sample.decode_s > 0:
            log_rates.append(math.log(after / sample.decode_s))
            steps = decode_steps(sample)
            if steps > 0:
                log_steps.append(math.log(sample.decode_s / steps))
                log_lengths.append(math.log(after / steps))
    per_position = [s.accepted_per_position for s in samples if s.accepted_per_position is not None]
    return Cell(
        log_rate=_mean_if_all(log_rates, samples),
        log_ttft=_mean_if_all(log_ttfts, samples),
        log_step_time=_mean_if_all(log_steps, samples),
        log_acceptance_length=_mean_if_all(log_lengths, samples),
        n=sum(s.n for s in samples),
        tokens_after_first=sum(tokens_after_first(s) for s in samples),
        drafted=sum(s.drafted or 0 for s in samples),
        accepted=sum(s.accepted or 0 for s in samples),
        steps=sum(decode_steps(s) for s in samples),
        accepted_per_position=_add_positions(per_position) if len(per_position) == len(samples) else None,
        counts=tuple((s.n, s.drafted or 0, s.accepted or 0) for s in samples),
        tokens=tuple(tokens_identity(s) for s in samples),
        stops=tuple(s.stop for s in samples),
        prompt_tokens=samples[0].prompt_tokens,
    )


def tokens_after_first(sample: Sample) -> int:
    """Return n − n_first; a missing n_first counts as one token in the first chunk."""
    return sample.n - (sample.n_first if sample.n_first is not None else 1)


def decode_steps(sample: Sample) -> int:
    """Return n − n_first − accepted: the decode steps after the first chunk."""
    return tokens_after_first(sample) - (sample.accepted or 0)


def tokens_identity(sample: Sample) -> str | None:
    """Return what two samples share exactly when their token ids are equal; None when unknown."""
    if sample.token_ids is not None:
        return ",".join(map(str, sample.token_ids))
    return sample.tokens_sha256


def _mean_if_all(values: list[float], samples: list[Sample]) -> float | None:
    return sum(values) / len(values) if values and len(values) == len(samples) else None


def _add_positions(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    rows = list(rows)
    width = max(len(row) for row in rows)
    return tuple(sum(row[i] for row in rows if i < len(row)) for i in range(width))


# --- one number a session ------------------------------------------------------------------------

CellValue = Callable[[Cell], float | None]

CELL_VALUES: dict[Metric, tuple[Arm, CellValue]] = {
    Metric.STEP_TIME: (Arm.MTP, lambda cell: cell.log_step_time),
    Metric.ACCEPTANCE_LENGTH: (Arm.MTP, lambda cell: cell.log_acceptance_length),
    Metric.MTP_RATE: (Arm.MTP, lambda cell: cell.log_rate),
    Metric.BASELINE_RATE: (Arm.BASELINE, lambda cell: cell.log_rate),
    Metric.TTFT_BASELINE: (Arm.BASELINE, lambda cell: cell.log_ttft),
    Metric.TTFT_MTP: (Arm.MTP, lambda cell: cell.log_ttft),
}
"""Metrics that are a mean of logs over prompts, and the arm each is read from."""


def comparable_prompts(tables: Iterable[Table]) -> frozenset[PromptKey]:
    """Return the prompts with a usable rate in every session of both arms of every table.

    One set of prompts for all metrics: the identity needs the same weights in each factor.
    """
    usable: list[frozenset[PromptKey]] = []
    for table in tables:
        for session in table.sessions:
            cells = table.cells[session.session]
            usable.append(frozenset(key for key, cell in cells.items() if cell.log_rate is not None))
    return frozenset.intersection(*usable) if usable else frozenset()


def weighted_mean(values: Mapping[PromptKey, float]) -> float:
    """Return the mean over workloads of the means over each workload's prompts."""
    by_workload: dict[str, list[float]] = defaultdict(list)
    for (workload, _), value in values.items():
        by_workload[workload].append(value)
    return float(np.mean([np.mean(column) for column in by_workload.values()]))


def prompt_weights(prompts: Iterable[PromptKey]) -> dict[PromptKey, float]:
    """Return the weight each prompt has in `weighted_mean`; they sum to one."""
    prompts = list(prompts)
    sizes: dict[str, int] = defaultdict(int)
    for workload, _ in prompts:
        sizes[workload] += 1
    return {key: 1 / (len(sizes) * sizes[key[0]]) for key in prompts}


def session_means(table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> dict[int, float]:
    """Return session number → mean log of the metric over the prompts (shape: sessions of its arm)."""
    arm, value = CELL_VALUES[metric]
    means: dict[int, float] = {}
    for session in table.of(arm):
        cells = table.cells[session.session]
        logs = {key: value(cells[key]) for key in prompts}
        known = {key: log for key, log in logs.items() if log is not None}
        if known and len(known) == len(logs):
            means[session.session] = weighted_mean(known)
    return means


def within(prompts: frozenset[PromptKey], workload: str) -> frozenset[PromptKey]:
    """Return the prompts of one workload, or all of them for the overall row."""
    return prompts if workload == OVERALL else frozenset(key for key in prompts if key[0] == workload)


def workloads(prompts: Iterable[PromptKey]) -> list[str]:
    """Return the workload names in alphabetical order; totals of sessions belong to none."""
    return sorted({workload for workload, _ in prompts} - {OVERALL})
