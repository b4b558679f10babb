"""What a judgement says, as plain JSON values and as sentences: the part that all messages share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from monitor.domain import (
    ArmSummary,
    Attribution,
    Channel,
    Effect,
    Judgement,
    Metric,
    Share,
    Signature,
    Verdict,
)
from monitor.judge.metrics import OVERALL
from monitor.views import numbers, words
from monitor.views.cost import Costs, money
from monitor.views.text import safe, shortened

MOST_ROWS = 5
NAME = 120
"""Most characters of a name or version."""
_TEXT = 600  # characters of any text that comes from outside

_ACCEPTANCE = (Metric.ACCEPTANCE_LENGTH, Metric.ACCEPTANCE_RATE)
_NOTABLE_SHARE = 0.05
"""A factor below it is not worth a sentence unless it moved."""
_NEXT_TO_NOTHING = 0.02
_TOKENS = 2
"""The tier of losslessness at which tokens alone are compared; above it the note says what was found."""


def finding(judgement: Judgement | None, costs: Costs | None = None) -> dict[str, Any]:
    """Return what a judgement found; every field is there, empty where nothing is known.

    Of a measurement that cannot be trusted no figure is told.
    """
    told = judgement if judgement and judgement.verdict is not Verdict.INVALID else None
    before, after = (
        _overall(told.reference_summary if told else ()),
        _overall(told.candidate_summary if told else ()),
    )
    rows = _worst(told.effects) if told else []
    return {
        "verdict": judgement.verdict.value if judgement else None,
        "signature": judgement.signature.value if judgement and judgement.signature else None,
        "confirmed": judgement.confirmed if judgement else None,
        "speedup": _speedup(before, after),
        "acceptance_rate": _pair(before, after, "acceptance_rate"),
        "attribution": _attribution(told.attribution) if told else None,
        "facts": [*(_facts(told, before, after) if told else []), *_cost(costs)],
        "rows": [_row(effect) for effect in rows[:MOST_ROWS]],
        "rows_total": len(rows),
        "advice": _advice(judgement),
    }


def _advice(judgement: Judgement | None) -> str | None:
    if judgement is None or judgement.verdict is not Verdict.REGRESSED:
        return None
    told = words.explanation(Verdict.REGRESSED, judgement.signature).advice
    # A report can point to what stands below; a message stands alone.
    return told if "below" not in told else words.explanation(Verdict.REGRESSED, None).advice


def line(text: str, most: int = _TEXT) -> str:
    """Return text from outside as one line that can be shown, with at most `most` characters."""
    return shortened(" ".join(safe(text).split()), most)


def figure(value: float | None) -> float | None:
    """Return a number as JSON can hold it, without digits that nobody measured."""
    return float(f"{value:.6g}") if numbers.known(value) else None


def speedups(judgement: Judgement | None) -> tuple[float, float] | None:
    """Return the speedups of (reference, candidate); None unless both are known."""
    if judgement is None or judgement.verdict is Verdict.INVALID:
        return None
    before, after = _overall(judgement.reference_summary), _overall(judgement.candidate_summary)
    if not before or not after or not numbers.known(before.speedup) or not numbers.known(after.speedup):
        return None
    return before.speedup, after.speedup


# ---------------------------------------------------------------------------------------------
# Figures


def _overall(summaries: Iterable[ArmSummary]) -> ArmSummary | None:
    return next((summary for summary in summaries if summary.workload == OVERALL), None)


def _pair(before: ArmSummary | None, after: ArmSummary | None, name: str) -> dict[str, Any] | None:
    values = [figure(getattr(summary, name)) if summary else None for summary in (before, after)]
    if values == [None, None]:
        return None
    return {"reference": values[0], "candidate": values[1]}


def _speedup(before: ArmSummary | None, after: ArmSummary | None) -> dict[str, Any] | None:
    found = _pair(before, after, "speedup")
    if found is None:
        return None
    for name, summary in (("reference", before), ("candidate", after)):
        found[f"{name}_low"] = figure(summary.speedup_low) if summary else None
        found[f"{name}_high"] = figure(summary.speedup_high) if summary else None
    return found


def _attribution(attribution: Attribution | None) -> dict[str, Any] | None:
    if attribution is None:
        return None
    return {
        "speedup_change_percent": _percent(attribution.speedup_change_log),
        **{
            field: {
                "change_percent": _percent(share.change_log),
                "ci_low": _percent(share.ci_low),
                "ci_high": _percent(share.ci_high),
                "share": figure(share.share),
            }
            for field, _, _ in words.FACTORS
            for share in (_share(attribution, field),)
        },
    }


def _share(attribution: Attribution, field: str) -> Share:
    found: Share = getattr(attribution, field)
    return found


def _percent(change_log: float) -> float | None:
    """Return a change of logs in percent; a bound that is not known stays unknown."""
    return figure(100 * math.expm1(change_log)) if math.isfinite(change_log) else None


# ---------------------------------------------------------------------------------------------
# Rows


def _worst(effects: Iterable[Effect]) -> list[Effect]:
    """Return the gating rows that regressed, those furthest beyond what counts first.

    Acceptance rate and length of one workload are one fact, so the rate's row is left out then.
    """
    lost = [row for row in effects if row.gates and row.verdict is Verdict.REGRESSED]
    lengths = {row.workload for row in lost if row.metric is Metric.ACCEPTANCE_LENGTH}
    kept = [row for row in lost if row.metric is not Metric.ACCEPTANCE_RATE or row.workload not in lengths]
    return sorted(kept, key=lambda row: (-_severity(row), row.workload != OVERALL, row.metric, row.workload))


def _severity(row: Effect) -> float:
    change = abs(row.change_log) if row.change_log is not None else 0.0
    return change / row.floor if math.isfinite(change) and row.floor > 0 else change


def _row(effect: Effect) -> dict[str, Any]:
    return {
        "metric": effect.metric.value,
        "workload": line(effect.workload, NAME),
        "reference": figure(effect.reference),
        "candidate": figure(effect.candidate),
        "unit": effect.unit,
        "change_percent": figure(effect.change_percent),
        "ci_low": figure(effect.ci_low),
        "ci_high": figure(effect.ci_high),
        "floor": figure(effect.floor),
        "exact": effect.channel is Channel.EXACT,
        "text": _row_text(effect),
    }


def _row_text(effect: Effect) -> str:
    where = " overall" if effect.workload == OVERALL else f" on {line(effect.workload, NAME)}"
    return f"{words.METRICS[effect.metric]}{where}: {_moved(effect)}"


def _moved(effect: Effect) -> str:
    """Return what was expected and found, and the change with its certainty: 2.89 → 1.74 tokens, −39.7 %."""
    before, after = (
        words.value_of(effect.metric, value, effect.unit) for value in (effect.reference, effect.candidate)
    )
    (number, _, unit), same = before.rpartition(" "), after.rpartition(" ")[2]
    return f"{number if number and unit == same else before} → {after}, {_change(effect)}"


def _change(effect: Effect) -> str:
    certainty = words.certainty_of(effect)
    bounds = f" ({certainty.strip('()')})" if certainty else ""
    return f"{words.shift_of(effect).shown}{bounds}"


# ---------------------------------------------------------------------------------------------
# Facts


def _facts(judgement: Judgement, before: ArmSummary | None, after: ArmSummary | None) -> list[dict[str, Any]]:
    """Return what moved and what did not: acceptance and speed are two facts, the output is a third."""
    if before is None or after is None:
        return []
    found = [_acceptance(judgement, before, after), *_speed(judgement)]
    if judgement.signature is Signature.OUTPUT_CHANGED or judgement.lossless.verdict is Verdict.REGRESSED:
        found.append({"about": "output", "moved": True, "share": None, "text": _output(judgement)})
    return [fact for fact in found if fact is not None]


def _acceptance(judgement: Judgement, before: ArmSummary, after: ArmSummary) -> dict[str, Any] | None:
    row = _overall_row(judgement, Metric.ACCEPTANCE_LENGTH)
    shares = judgement.attribution
    share = shares.acceptance_length.share if shares else None
    if judgement.signature is Signature.SPECULATION_OFF:
        text = "Not one token was drafted with MTP switched on."
        return {"about": "acceptance", "moved": True, "share": figure(share), "text": text}
    if row is None or not numbers.known(row.change_percent):
        return None
    moved = _lost(judgement, _ACCEPTANCE)
    if not moved and row.change_percent == 0:
        text = f"Acceptance is exactly the same, {numbers.percent(after.acceptance_rate)}."
    else:
        rates = f"{numbers.percent(before.acceptance_rate)} → {numbers.percent(after.acceptance_rate)}"
        text = f"Acceptance {_verb(row, moved=moved)}: {rates}; a step gains {_moved(row)}."
    return {
        "about": "acceptance",
        "moved": moved,
        "share": figure(share),
        "text": text + _explains(judgement, shares.acceptance_length if shares else None, moved=moved),
    }


def _speed(judgement: Judgement) -> list[dict[str, Any]]:
    if judgement.signature is Signature.SPECULATION_OFF:
        return []  # a step without drafts is another kind of step
    shares = judgement.attribution
    found = []
    for metric, factor in (
        (Metric.STEP_TIME, shares.step_time if shares else None),
        (Metric.BASELINE_RATE, shares.baseline if shares else None),
        (Metric.TTFT_MTP, None),
        (Metric.TTFT_BASELINE, None),
    ):
        row = _overall_row(judgement, metric)
        if row is None or not numbers.known(row.change_percent):
            continue
        moved, share = _lost(judgement, (metric,)), factor.share if factor else None
        if not moved and metric is not Metric.STEP_TIME and abs(share or 0) < _NOTABLE_SHARE:
            continue
        text = f"{words.METRICS[metric]} {_verb(row, moved=moved)}: {_moved(row)}."
        text += _explains(judgement, factor, moved=moved)
        found.append({"about": "speed", "moved": moved, "share": figure(share), "text": text})
    return found


def _cost(costs: Costs | None) -> list[dict[str, Any]]:
    """Return what a million tokens cost. No verdict rests on it, so it never counts as moved."""
    if costs is None:
        return []
    told = ", ".join(f"{money(row, costs.currency)} {words.ARMS[row.arm]}" for row in costs.arms)
    return [{"about": "cost", "moved": False, "share": None, "text": line(f"A million tokens cost {told}.")}]


def _lost(judgement: Judgement, metrics: tuple[Metric, ...]) -> bool:
    return any(
        row.gates and row.metric in metrics and row.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}
        for row in judgement.effects
    )


def _verb(row: Effect, *, moved: bool) -> str:
    if not moved:
        return "did not move" if row.verdict is Verdict.UNCHANGED else "is undecided"
    return "got worse" if words.harmful(row) else "got better"


def _explains(judgement: Judgement, factor: Share | None, *, moved: bool) -> str:
    """Return how much of the speedup's loss a factor explains; nothing where no loss was found."""
    attribution = judgement.attribution
    if judgement.verdict is not Verdict.REGRESSED or attribution is None or factor is None:
        return ""
    if attribution.speedup_change_log >= 0 or not numbers.known(factor.share):
        return ""
    size = abs(factor.share)
    if size < _NEXT_TO_NOTHING:
        return " It explains nothing of the lost speedup."
    noise = "" if moved or factor.ci_low > 0 or factor.ci_high < 0 else ", within the noise"
    if factor.share < 0:
        return f" It makes up for {100 * size:.0f} % of the lost speedup{noise}."
    part = f"{100 * size:.0f} % of the lost speedup"
    if size > 1 - _NEXT_TO_NOTHING:
        exact = f" ({100 * size:.0f} %, the rest is made up for)" if size > 1 + _NOTABLE_SHARE else ""
        part = f"all of the lost speedup{exact}"
    return f" It explains {part}{noise}."


def _output(judgement: Judgement) -> str:
    lossless = judgement.lossless
    if lossless.tier > _TOKENS and lossless.note:
        return f"The output changed: {lossless.note}."
    if lossless.mtp_pairs:
        differ = lossless.mtp_pairs - lossless.mtp_matches
        return f"The output changed: {differ} of {lossless.mtp_pairs} answers differ with MTP."
    return "The output changed beyond what rounding explains."


def _overall_row(judgement: Judgement, metric: Metric) -> Effect | None:
    return next((row for row in judgement.effects if row.metric is metric and row.workload == OVERALL), None)
