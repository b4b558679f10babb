"""Rows from samples: what was measured for each prompt, and what the servers said they run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.domain import Arm, Sample, SampleSet
from monitor.judge.metrics import tokens_after_first
from monitor.views import numbers
from monitor.views.text import safe

_COUNTERS = "counter."
_LONGEST = 200  # characters of a fact shown


@dataclass(frozen=True, slots=True)
class PromptSide:
    """One release's figures for one prompt: medians over its sessions and repeats, counts of all of them."""

    tokens: float | None
    drafted: int | None
    accepted: int | None
    baseline_rate: float | None
    mtp_rate: float | None
    ttft_mtp_s: float | None

    @property
    def acceptance(self) -> float | None:
        """Accepted / drafted."""
        return self.accepted / self.drafted if self.drafted and self.accepted is not None else None

    @property
    def speedup(self) -> float | None:
        """Median rate with MTP / median rate without."""
        return self.mtp_rate / self.baseline_rate if self.mtp_rate and self.baseline_rate else None


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt of both releases; None where a release did not answer it."""

    workload: str
    prompt: str
    reference: PromptSide | None
    candidate: PromptSide | None


@dataclass(frozen=True, slots=True)
class FactRow:
    """One thing a server said about itself."""

    arm: Arm
    name: str
    reference: str | None
    candidate: str | None

    @property
    def differs(self) -> bool:
        """Whether both releases said it and not alike."""
        return None not in (self.reference, self.candidate) and self.reference != self.candidate


def prompt_rows(reference: SampleSet | None, candidate: SampleSet | None) -> tuple[PromptRow, ...]:
    """Return a row a prompt, by workload and prompt."""
    sides = [_by_prompt(sample_set) for sample_set in (reference, candidate)]
    return tuple(
        PromptRow(key[0], key[1], *(_side(side.get(key, ())) for side in sides))
        for key in sorted(sides[0].keys() | sides[1].keys())
    )


def fact_rows(reference: SampleSet | None, candidate: SampleSet | None) -> tuple[FactRow, ...]:
    """Return what the first server of each arm said about itself, without counters; differences first."""
    rows = []
    for arm in Arm:
        old, new = (_facts(sample_set, arm) for sample_set in (reference, candidate))
        rows += [FactRow(arm, name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]
    return tuple(sorted(rows, key=lambda row: not row.differs))


def _by_prompt(sample_set: SampleSet | None) -> dict[tuple[str, str], list[Sample]]:
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in sample_set.samples if sample_set else ():
        found.setdefault((sample.workload, sample.prompt), []).append(sample)
    return found


def _side(samples: Iterable[Sample]) -> PromptSide | None:
    samples = list(samples)
    if not samples:
        return None
    mtp = [sample for sample in samples if sample.arm is Arm.MTP]
    return PromptSide(
        tokens=numbers.median([float(sample.n) for sample in samples]),
        drafted=_total(sample.drafted for sample in mtp),
        accepted=_total(sample.accepted for sample in mtp),
        baseline_rate=numbers.median([_rate(s) for s in samples if s.arm is Arm.BASELINE]),
        mtp_rate=numbers.median([_rate(sample) for sample in mtp]),
        ttft_mtp_s=numbers.median([sample.ttft_s for sample in mtp]),
    )


def _rate(sample: Sample) -> float | None:
    return tokens_after_first(sample) / sample.decode_s if sample.decode_s else None


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _facts(sample_set: SampleSet | None, arm: Arm) -> dict[str, str]:
    sessions = sample_set.sessions if sample_set else ()
    effective = next((s.effective for s in sessions if s.arm is arm and s.effective), None) or {}
    return {
        safe(name): safe(str(value))[:_LONGEST]
        for name, value in effective.items()
        if not name.startswith(_COUNTERS)
    }
