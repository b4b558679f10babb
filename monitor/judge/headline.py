"""The verdict in one sentence of plain words."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.domain import ArmSummary, Effect, Guard, Metric, Signature, Verdict
from monitor.judge.effects import BUSY, SETTLED
from monitor.judge.signatures import overall

_SIGNATURE_WORDS = {
    Signature.SPECULATION_OFF: "Speculation is off: the mtp arm drafted nothing",
    Signature.DRAFTER_DEAD: "The drafter is dead: hardly any drafted token is accepted",
    Signature.ACCEPTANCE_DROP: "Acceptance dropped",
    Signature.STEP_SLOWER: "Each mtp step became slower",
    Signature.MIXED: "Acceptance and step time both moved",
    Signature.BASELINE_FASTER: "The baseline became faster, which is no loss",
    Signature.BASELINE_SLOWER: "The baseline became slower",
    Signature.ENGINE_SLOWER: "The engine became slower with and without speculation",
    Signature.PREFILL_COST: "The first token takes longer, only with mtp",
    Signature.DECAY: "The loss grows with the requests a server has answered",
    Signature.OUTPUT_CHANGED: "The output changed",
    Signature.CONFIGURATION_DRIFT: "The configuration drifted: another number of tokens is drafted a step",
    Signature.HOST_SHIFT: "The host shifted: the old release moved too when it was measured again",
    Signature.HARNESS_DRIFT: "The measurements cannot be compared",
}
_METRIC_WORDS = {
    Metric.ACCEPTANCE_LENGTH: "acceptance length",
    Metric.ACCEPTANCE_RATE: "acceptance rate",
    Metric.STEP_TIME: "step time",
    Metric.BASELINE_RATE: "baseline rate",
    Metric.TTFT_BASELINE: "baseline time to first token",
    Metric.TTFT_MTP: "mtp time to first token",
}


ALTERNATED = "confirmed by alternating with the old release"
IN_TURNS = "when old and new were measured in turns"
"""How a suspicion is usually confirmed; whoever does it otherwise has to say so."""


def first_measurement(summary: ArmSummary | None) -> str:
    """Return the sentence for a release that has nothing to be compared with."""
    if summary is None or summary.speedup is None:
        return "First measurement: there is nothing to compare it with yet."
    return f"First measurement: {_state(summary)}; there is nothing to compare it with yet."


def below_limit(what: str, found: float, limit: float) -> str:
    """Return the sentence for a release below a limit that the check expects."""
    return f"{what} is {_figure(what, found)}, below the {_figure(what, limit)} that the check expects."


def untrusted(guards: Sequence[Guard]) -> str:
    """Return the sentence for measurements that no verdict can rest on."""
    first = next(guard for guard in guards if guard.tripped and guard.outcome is Verdict.INVALID)
    return f"The measurement cannot be trusted ({first.name}): {first.detail}."


def sentence(
    verdict: Verdict,
    signature: Signature | None,
    effects: Sequence[Effect],
    summaries: tuple[ArmSummary | None, ArmSummary | None],
    *,
    confirmed: bool | None,
) -> str:
    """Return the sentence for a comparison of two releases; `summaries` are the overall ones."""
    if verdict is Verdict.REGRESSED:
        start = (
            _SIGNATURE_WORDS.get(signature, "Something became worse")
            if signature
            else "Something became worse"
        )
        text = f"{start}: {_moved(effects, Verdict.REGRESSED)}{_speedups(summaries)}"
        suffix = {
            True: f", {ALTERNATED}.",
            False: ".",
            None: ", not yet confirmed.",
        }
        return text + suffix[confirmed]
    if verdict is Verdict.INCONCLUSIVE:
        return _inconclusive(signature, effects)
    start = ""
    if confirmed is False:
        start = f"A suspected loss did not come back {IN_TURNS}. "
    if verdict is Verdict.IMPROVED:
        words = _SIGNATURE_WORDS[signature] if signature else "Better than before"
        return f"{start}{words}: {_moved(effects, Verdict.IMPROVED)}{_speedups(summaries)}."
    return f"{start}No change: {_acceptance(effects)}{_speedups(summaries)}."


def _inconclusive(signature: Signature | None, effects: Sequence[Effect]) -> str:
    if signature is Signature.HOST_SHIFT:
        return f"{_SIGNATURE_WORDS[signature]}; nothing is said about the release."
    open_rows = [
        row for row in effects if row.gates and row.verdict is Verdict.INCONCLUSIVE and row.note != SETTLED
    ]
    names = ", ".join(dict.fromkeys(_METRIC_WORDS.get(row.metric, row.metric) for row in open_rows))
    if open_rows and all(row.note == BUSY for row in open_rows):
        return f"{_acceptance(effects).capitalize()}; {BUSY}, so its times decide nothing on {names}."
    detectable = [row.mde for row in open_rows if row.mde is not None]
    limit = (
        f"; these sessions would have shown a change of {100 * max(detectable):.0f} %" if detectable else ""
    )
    return f"{_acceptance(effects).capitalize()}; too noisy to decide on {names}{limit}."


def _acceptance(effects: Sequence[Effect]) -> str:
    row = overall(effects, Metric.ACCEPTANCE_LENGTH)
    if row is None or row.change_percent is None or row.candidate is None:
        return "acceptance was not measured"
    if row.change_percent == 0:
        return f"acceptance is exactly the same ({row.candidate:.2f} tokens a step)"
    return f"acceptance length {_signed(row.change_percent)} % ({row.candidate:.2f} tokens a step)"


def _moved(effects: Sequence[Effect], verdict: Verdict) -> str:
    rows = [row for row in effects if row.gates and row.verdict is verdict]
    parts = {}
    for row in sorted(rows, key=lambda row: row.workload != "all"):
        if row.metric is Metric.ACCEPTANCE_RATE and Metric.ACCEPTANCE_LENGTH in parts:
            continue
        if row.metric not in parts and row.change_percent is not None:
            where = "" if row.workload == "all" else f" on {row.workload}"
            parts[row.metric] = (
                f"{_METRIC_WORDS.get(row.metric, row.metric)} {_signed(row.change_percent)} %{where}"
            )
    return ", ".join(parts.values()) or "see the rows below"


def _signed(percent: float) -> str:
    return f"{percent:+.1f}".replace("-", "−")


def _speedups(summaries: tuple[ArmSummary | None, ArmSummary | None]) -> str:
    old, new = summaries
    if old is None or new is None or old.speedup is None or new.speedup is None:
        return ""
    return f"; the speedup is {new.speedup:.2f}×{_range(new)}, was {old.speedup:.2f}×{_range(old)}"


def _range(summary: ArmSummary) -> str:
    if summary.speedup_low is None or summary.speedup_high is None:
        return ""
    return f" ({summary.speedup_low:.2f} to {summary.speedup_high:.2f})"


def _state(summary: ArmSummary) -> str:
    acceptance = f" at {100 * summary.acceptance_rate:.1f} % acceptance" if summary.acceptance_rate else ""
    return f"speedup {summary.speedup:.2f}×{_range(summary)}{acceptance}"


def _figure(what: str, value: float) -> str:
    return f"{value:.2f}×" if what == "The speedup" else f"{100 * value:.1f} %"
