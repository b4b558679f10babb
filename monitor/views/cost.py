"""What a million tokens cost to decode, from the owner's prices: shown beside a verdict, never part of it."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import JUDGED_ARMS, Arm, ArmSummary, SampleSet

_MILLION = 1e6
_JOULES_A_KWH = 3.6e6
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Prices:
    """What running this machine costs its owner."""

    per_kwh: float | None
    per_gpu_hour: float | None
    currency: str

    @property
    def are_known(self) -> bool:
        """Say whether there is any price to reckon with."""
        return self.per_kwh is not None or self.per_gpu_hour is not None


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a million tokens of one arm cost; None where it cannot be told."""

    arm: Arm
    reference: float | None
    candidate: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """What a million tokens cost to decode, in the owner's currency. It decides nothing."""

    currency: str
    arms: tuple[CostRow, ...]


def costs(
    prices: Prices,
    streams: int,
    reference: tuple[ArmSummary | None, SampleSet | None],
    candidate: tuple[ArmSummary | None, SampleSet | None],
) -> Costs | None:
    """Return what `cost_rows` says with its currency; None where it says nothing."""
    rows = cost_rows(prices, streams, reference, candidate)
    return Costs(prices.currency, rows) if rows else None


def money(row: CostRow, currency: str) -> str:
    """Return what an arm cost before and costs now: `0.91 → 0.98 EUR`."""
    known = [f"{value:.2f}" for value in (row.reference, row.candidate) if value is not None]
    if row.candidate is None:
        return f"not measured (was {known[0]} {currency})"
    return f"{' → '.join(known)} {currency}"


def cost_rows(
    prices: Prices | None,
    streams: int,
    reference: tuple[ArmSummary | None, SampleSet | None],
    candidate: tuple[ArmSummary | None, SampleSet | None],
) -> tuple[CostRow, ...]:
    """Return what each arm costs in both releases; nothing without a price or where no side can be told.

    Args:
        prices: the owner's.
        streams: answers under way at a time, among which an hour of the GPU is shared.
        reference: overall figures and samples of the release compared with.
        candidate: those of the release.

    """
    if prices is None or not prices.are_known:
        return ()
    rows = [
        CostRow(arm, _cost(prices, streams, arm, *reference), _cost(prices, streams, arm, *candidate))
        for arm in JUDGED_ARMS
    ]
    return tuple(row for row in rows if row.reference is not None or row.candidate is not None)


def _cost(
    prices: Prices, streams: int, arm: Arm, summary: ArmSummary | None, samples: SampleSet | None
) -> float | None:
    """Return the sum of all that has a price; None where a part of it was not measured."""
    total = 0.0
    if prices.per_gpu_hour is not None:
        rate = None if summary is None else summary.mtp_rate if arm is Arm.MTP else summary.baseline_rate
        if not rate:
            return None
        total += prices.per_gpu_hour / _SECONDS_AN_HOUR / (rate * streams) * _MILLION
    if prices.per_kwh is not None:
        joules = _joules_a_token(arm, samples)
        if joules is None:
            return None
        total += prices.per_kwh * joules / _JOULES_A_KWH * _MILLION
    return total


def _joules_a_token(arm: Arm, samples: SampleSet | None) -> float | None:
    """Return the energy a token took over the sessions in which it was measured."""
    if samples is None:
        return None
    energy = {s.session: s.energy_j for s in samples.sessions if s.arm is arm and s.energy_j}
    tokens = sum(sample.n for sample in samples.samples if sample.session in energy)
    return sum(energy.values()) / tokens if tokens else None
