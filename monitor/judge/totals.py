"""Session totals: what is compared above one stream.

Requests that are answered together share the engine's steps, and an engine's counters cannot be shared out
among them. So a session is one cell there: its tokens, its streams' decode time and its counts, summed. The
identity speedup = acceptance length × baseline step time / mtp step time holds for totals as for a prompt.
Texts that part from session to session, as batches do, are part of what scatters between sessions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from monitor.domain import Sample, SampleSet, Session
from monitor.judge.metrics import (
    OVERALL,
    Cell,
    PromptKey,
    Table,
    comparable_prompts,
    tokens_after_first,
)

SESSION: PromptKey = (OVERALL, "session")
"""The one cell of a session."""


def side_by_side(
    sample_sets: Sequence[SampleSet], tables: Sequence[Table]
) -> tuple[list[Table], frozenset[PromptKey]]:
    """Return the tables to compare, with the cells all have: prompts, or above one stream whole sessions.

    `tables` are those of `metrics.tabulate`, one for each set.
    """
    prompts = comparable_prompts(tables)
    alone = all((samples.header.concurrency or 1) == 1 for samples in sample_sets)
    if alone or not prompts:
        return list(tables), prompts
    totals = [_in_total(*pair, prompts) for pair in zip(sample_sets, tables, strict=True)]
    return totals, frozenset({SESSION})


def _in_total(samples: SampleSet, table: Table, prompts: frozenset[PromptKey]) -> Table:
    answers: dict[int, list[Sample]] = {session.session: [] for session in table.sessions}
    for sample in samples.samples:
        if sample.session in answers:
            answers[sample.session].append(sample)
    cells = {
        session.session: {SESSION: _total(session, answers[session.session], prompts)}
        for session in table.sessions
    }
    return replace(table, cells=cells)


def _total(session: Session, answers: Sequence[Sample], prompts: frozenset[PromptKey]) -> Cell:
    own = [sample for sample in answers if (sample.workload, sample.prompt) in prompts]
    after = sum(map(tokens_after_first, own))
    seconds = sum(sample.decode_s or 0.0 for sample in own)
    counted = _counted(session, own, whole=len(own) == len(answers))
    drafted, accepted, places = counted if counted is not None else (0, 0, None)
    steps = after - accepted if counted is not None else 0
    return Cell(
        log_rate=_log(after, seconds),
        log_ttft=_mean(math.log(s.ttft_s) for s in own if s.ttft_s is not None and s.ttft_s > 0),
        log_step_time=_log(seconds, steps),
        log_acceptance_length=_log(after, steps),
        n=sum(sample.n for sample in answers),
        tokens_after_first=after,
        drafted=drafted,
        accepted=accepted,
        steps=steps,
        accepted_per_position=places,
        counts=((after, drafted, accepted),),
        tokens=(),
        stops=(),
        prompt_tokens=None,
    )


def _counted(
    session: Session, own: Sequence[Sample], *, whole: bool
) -> tuple[int, int, tuple[int, ...] | None] | None:
    """Return (drafted, accepted, accepted by place) of the answers; None where they cannot be told.

    An engine that counts only for all streams says it once a session, so only for all that was asked.
    """
    if any(sample.drafted is not None for sample in own):
        by_place = [s.accepted_per_position for s in own if s.accepted_per_position is not None]
        places = _summed(by_place) if by_place and len(by_place) == len(own) else None
        return sum(s.drafted or 0 for s in own), sum(s.accepted or 0 for s in own), places
    told = session.effective or {}
    drafted, accepted = told.get("counter.drafted"), told.get("counter.accepted")
    if not isinstance(drafted, int | float) or not isinstance(accepted, int | float):
        return 0, 0, None  # a baseline, or speculation that is off
    if not whole:
        return None
    width = sum(name.startswith("counter.accepted.") for name in told)
    by_place_told = tuple(int(told[f"counter.accepted.{place}"]) for place in range(width))
    return int(drafted), int(accepted), by_place_told or None


def _summed(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    width = max(map(len, rows))
    return tuple(sum(row[place] for row in rows if place < len(row)) for place in range(width))


def _log(above: float, below: float) -> float | None:
    return math.log(above / below) if above > 0 and below > 0 else None


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None
