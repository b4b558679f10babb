"""One run of the report, arranged for the template: sentences, figures, rows and charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitor.domain import Arm, ArmSummary, Channel, Effect, Guard, Judgement, Metric, SampleSet, Verdict
from monitor.judge.beside import ArmFigures, arms_side_by_side
from monitor.judge.metrics import OVERALL
from monitor.judge.policy import JudgingPolicy
from monitor.views import charts, numbers, words
from monitor.views.comparison_charts import Pair, dumbbells, positions
from monitor.views.cost import CostRow, cost_rows
from monitor.views.gpu import GpuSection, gpu_section
from monitor.views.models import RunView
from monitor.views.packages import PackageRow, package_rows
from monitor.views.sample_rows import FactRow, PromptRow, fact_rows, prompt_rows
from monitor.views.scales import Squeezed
from monitor.views.session_chart import SessionPoint, session_chart, session_points
from monitor.views.text import plain_log
from monitor.views.words import Explanation, Shift, VerdictWords


@dataclass(frozen=True, slots=True)
class Figure:
    """One key figure of the candidate beside the reference's."""

    label: str
    meaning: str
    value: str
    interval: str
    before: str | None
    """The reference's figure; None when there is no reference."""
    change: str
    css: str


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One row of the table of effects."""

    effect: Effect
    title: str
    meaning: str
    reference: str
    candidate: str
    shift: Shift
    certainty: str
    detectable: str
    verdict: VerdictWords
    drawing: Markup


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One factor of the speedup's change, as a row beside the waterfall."""

    title: str
    meaning: str
    factor: str
    share: str


@dataclass(frozen=True, slots=True)
class RunSection:
    """Everything the template shows of a run."""

    view: RunView
    anchor: str
    verdict: VerdictWords
    headline: str
    explanation: Explanation | None
    signature: str
    sessions: str
    look: str
    measured_on: str
    figures: tuple[Figure, ...]
    waterfall: Markup | None
    factors: tuple[FactorRow, ...]
    anatomy: Markup | None
    axis: Markup | None
    gating: tuple[EffectRow, ...]
    shown: tuple[EffectRow, ...]
    by_workload: tuple[EffectRow, ...]
    summaries: tuple[tuple[ArmSummary | None, ArmSummary], ...]
    """(reference, candidate) of each workload, the overall one first."""
    speedups: Markup | None
    acceptance: Markup | None
    positions: Markup | None
    session_chart: Markup | None
    gpu: GpuSection | None
    beside: tuple[ArmFigures, ...]
    """MTP beside other ways of speculation; empty where no other was measured."""
    beside_missing: tuple[tuple[Arm, str], ...]
    """Other ways that did not run, or not always, and why; "" where that is not known."""
    costs: tuple[CostRow, ...]
    """What a million tokens cost; empty where no price is known."""
    points: tuple[SessionPoint, ...]
    tripped: tuple[Guard, ...]
    broken: bool
    """Whether a condition was broken that must hold, not only one that informs."""
    held: tuple[Guard, ...]
    packages: tuple[PackageRow, ...]
    prompts: tuple[PromptRow, ...]
    facts: tuple[FactRow, ...]
    log: str


def run_section(view: RunView) -> RunSection:
    """Arrange one run; whatever was not measured stays empty."""
    anchor, judgement = f"run-{view.run_id}", view.judgement
    limits = JudgingPolicy().with_overrides(view.check.judging)
    points = session_points(
        (
            ("reference", view.reference_samples),
            ("candidate", view.candidate_samples),
            ("reference", view.confirm_reference),
            ("candidate", view.confirm_candidate),
            ("candidate", view.onward_samples),
        ),
        limits.min_rate_tokens,
    )
    # Of an invalid run no figure is believed, so none is shown beside another; sessions and samples are.
    believed = judgement if judgement and judgement.verdict is not Verdict.INVALID else None
    summaries = _side_by_side(believed)
    effects = believed.effects if believed else ()
    scale = charts.forest_scale(effects)
    rows = [_effect_row(f"{anchor}-effect-{number}", effect, scale) for number, effect in enumerate(effects)]
    overall = [row for row in rows if row.effect.workload == OVERALL]
    several = [pair for pair in summaries if pair[1].workload != OVERALL]
    drawn = several or summaries
    # Figures of the judged pair: the confirming one where there is one.
    old, new = (
        (view.confirm_reference, view.confirm_candidate)
        if view.confirm_reference and view.confirm_candidate
        else (view.reference_samples, view.candidate_samples)
    )
    beside = arms_side_by_side(view.candidate_samples, limits) if view.candidate_samples else ()
    return RunSection(
        view=view,
        anchor=anchor,
        verdict=_verdict(view),
        headline=judgement.headline if judgement else _state_in_words(view),
        explanation=_explanation(view),
        signature=str(judgement.signature) if judgement and judgement.signature else "",
        sessions=words.sessions_in_words(judgement.sessions) if judgement else "",
        look=words.look_in_words(judgement.look) if judgement else "",
        measured_on=words.measured_on_in_words(view.measured_on),
        figures=_figures(believed) if believed else (),
        waterfall=_waterfall(f"{anchor}-waterfall", view) if believed else None,
        factors=_factors(believed) if believed else (),
        anatomy=_anatomy(f"{anchor}-anatomy", view) if believed and not effects else None,
        axis=charts.forest_axis(f"{anchor}-axis", scale) if rows else None,
        gating=tuple(row for row in overall if row.effect.gates),
        shown=tuple(row for row in overall if not row.effect.gates),
        by_workload=tuple(row for row in rows if row.effect.workload != OVERALL) if len(several) > 1 else (),
        summaries=tuple(summaries),
        speedups=dumbbells(
            f"{anchor}-speedups",
            [Pair(new.workload, old.speedup if old else None, new.speedup) for old, new in drawn],
            numbers.times,
            title="Speedup of each workload",
            base=1.0,
        ),
        acceptance=dumbbells(
            f"{anchor}-acceptance",
            [
                Pair(new.workload, old.acceptance_rate if old else None, new.acceptance_rate)
                for old, new in drawn
            ],
            numbers.percent,
            title="Acceptance rate of each workload",
        ),
        positions=_positions(f"{anchor}-positions", summaries),
        session_chart=session_chart(f"{anchor}-sessions", points),
        gpu=_gpu(f"{anchor}-gpu", view),
        beside=beside,
        beside_missing=_beside_missing(view, {one.arm for one in beside}),
        costs=_costs(view, summaries, (old, new)) if believed else (),
        points=tuple(points),
        tripped=tuple(guard for guard in judgement.guards if guard.tripped) if judgement else (),
        broken=any(guard.tripped and guard.outcome for guard in judgement.guards) if judgement else False,
        held=tuple(guard for guard in judgement.guards if not guard.tripped) if judgement else (),
        packages=package_rows(view.reference_environment, view.environment)
        if view.reference_environment and view.environment
        else (),
        prompts=prompt_rows(old, new),
        facts=fact_rows(old, new),
        log=plain_log(view.log_tail),
    )


# ---------------------------------------------------------------------------------------------
# Words


def _beside_missing(view: RunView, measured: set[Arm]) -> tuple[tuple[Arm, str], ...]:
    if view.candidate_samples is None:
        return ()
    wanted = [arm for arm in view.check.beside if arm not in measured or arm in view.left_out]
    return tuple((arm, view.left_out.get(arm, "")) for arm in wanted)


def _costs(
    view: RunView,
    summaries: Sequence[tuple[ArmSummary | None, ArmSummary]],
    judged: tuple[SampleSet | None, SampleSet | None],
) -> tuple[CostRow, ...]:
    if not summaries:
        return ()
    old, new = summaries[0]
    return cost_rows(view.prices, view.check.concurrency, (old, judged[0]), (new, judged[1]))


def _verdict(view: RunView) -> VerdictWords:
    if view.judgement:
        return words.said_of(view.judgement.verdict, first=_is_first(view.judgement))
    by_state = {"failed": Verdict.FAILED, "invalid": Verdict.INVALID}
    return words.said_of(by_state.get(view.state))


def _is_first(judgement: Judgement) -> bool:
    return judgement.reference is None


def _state_in_words(view: RunView) -> str:
    reason = f": {view.reason.rstrip('.')}" if view.reason else ""
    if view.state == "failed":
        return f"{view.project} {view.version} failed{reason}."
    if view.state == "invalid":
        return f"The measurement of {view.project} {view.version} cannot be trusted{reason}."
    return f"{view.project} {view.version} has no verdict: its run is {view.state}{reason}."


def _explanation(view: RunView) -> Explanation | None:
    judgement = view.judgement
    if judgement:
        return words.explanation(judgement.verdict, judgement.signature, first=_is_first(judgement))
    if view.state == "failed":
        return words.explanation(Verdict.FAILED, None)
    return words.explanation(Verdict.INVALID, None) if view.state == "invalid" else None


# ---------------------------------------------------------------------------------------------
# Figures and rows


def _side_by_side(judgement: Judgement | None) -> list[tuple[ArmSummary | None, ArmSummary]]:
    if judgement is None:
        return []
    before = {summary.workload: summary for summary in judgement.reference_summary}
    return [(before.get(summary.workload), summary) for summary in judgement.candidate_summary]


_KEY_FIGURES: tuple[tuple[Metric, str], ...] = (
    (Metric.SPEEDUP, "speedup"),
    (Metric.ACCEPTANCE_RATE, "acceptance_rate"),
    (Metric.ACCEPTANCE_LENGTH, "acceptance_length"),
    (Metric.MTP_RATE, "mtp_rate"),
    (Metric.BASELINE_RATE, "baseline_rate"),
    (Metric.TTFT_MTP, "ttft_mtp_s"),
)


def _figures(judgement: Judgement) -> tuple[Figure, ...]:
    pair = next((pair for pair in _side_by_side(judgement) if pair[1].workload == OVERALL), None)
    if pair is None:
        return ()
    reference, candidate = pair
    moved = {effect.metric: effect for effect in judgement.effects if effect.workload == OVERALL}
    figures = []
    for metric, field in _KEY_FIGURES:
        effect = moved.get(metric)
        speedup = metric is Metric.SPEEDUP
        figures.append(
            Figure(
                label=words.METRICS[metric],
                meaning=words.MEANINGS[metric],
                value=words.value_of(metric, getattr(candidate, field)),
                interval=numbers.times_interval(candidate.speedup_low, candidate.speedup_high)
                if speedup
                else "",
                before=_before(metric, getattr(reference, field), effect) if reference else None,
                change=_change(effect),
                css=words.VERDICTS[effect.verdict].css if effect else "",
            )
        )
    return tuple(figures)


def _before(metric: Metric, value: float | None, effect: Effect | None) -> str:
    if effect and effect.channel is Channel.EXACT and effect.change_percent == 0:
        return "exactly as before"
    return f"was {words.value_of(metric, value)}"


def _change(effect: Effect | None) -> str:
    if effect is None or not numbers.known(effect.change_percent):
        return ""
    if effect.channel is Channel.EXACT and effect.change_percent == 0:
        return ""
    return words.shift_of(effect).shown


def _effect_row(identity: str, effect: Effect, scale: Squeezed) -> EffectRow:
    shift = words.shift_of(effect)
    exact = effect.mde == 0
    unit = "points" if shift.unit == "points" else "%"
    return EffectRow(
        effect=effect,
        title=words.METRICS[effect.metric],
        meaning=words.MEANINGS[effect.metric],
        reference=words.value_of(effect.metric, effect.reference, effect.unit),
        candidate=words.value_of(effect.metric, effect.candidate, effect.unit),
        shift=shift,
        certainty=words.certainty_of(effect),
        detectable="any"
        if exact
        else f"{numbers.digits(100 * effect.mde, 2)} {unit}"
        if numbers.known(effect.mde)
        else "not known",
        verdict=words.VERDICTS[effect.verdict],
        drawing=charts.forest(identity, effect, scale),
    )


def _factors(judgement: Judgement) -> tuple[FactorRow, ...]:
    attribution = judgement.attribution
    if attribution is None:
        return ()
    rows = []
    for field, title, meaning in words.FACTORS:
        share = getattr(attribution, field)
        shown = numbers.percent(share.share) if share.share is not None else "the speedup did not move"
        rows.append(FactorRow(title, meaning, f"×{math.exp(share.change_log):.3f}", shown))
    return tuple(rows)


# ---------------------------------------------------------------------------------------------
# Charts


def _waterfall(identity: str, view: RunView) -> Markup | None:
    judgement = view.judgement
    if (
        judgement is None
        or judgement.attribution is None
        or not math.isfinite(judgement.attribution.speedup_change_log)
    ):
        return None
    start = _overall_speedup(judgement.effects) or _overall_speedup(judgement.reference_summary)
    if not start:
        return None
    return charts.waterfall(
        identity,
        judgement.attribution,
        start,
        reference=view.reference_version or (judgement.reference.version if judgement.reference else ""),
        candidate=view.version,
    )


def _overall_speedup(rows: Iterable[Effect] | Iterable[ArmSummary]) -> float | None:
    for row in rows:
        if row.workload != OVERALL:
            continue
        if isinstance(row, ArmSummary):
            return row.speedup
        if row.metric is Metric.SPEEDUP:
            return row.reference
    return None


def _anatomy(identity: str, view: RunView) -> Markup | None:
    summaries = view.judgement.candidate_summary if view.judgement else ()
    overall = next((summary for summary in summaries if summary.workload == OVERALL), None)
    return charts.anatomy(identity, overall, release=view.version) if overall else None


def _gpu(identity: str, view: RunView) -> GpuSection | None:
    sides = (
        ("reference", view.reference_samples),
        ("candidate", view.candidate_samples),
        ("reference", view.confirm_reference),
        ("candidate", view.confirm_candidate),
    )
    header = view.candidate_samples.header if view.candidate_samples else None
    return gpu_section(identity, sides, header.roofline_tokens_per_s if header else None)


def _positions(identity: str, summaries: list[tuple[ArmSummary | None, ArmSummary]]) -> Markup | None:
    for reference, candidate in summaries:
        if candidate.workload == OVERALL and candidate.accepted_per_position:
            before = reference.accepted_per_position if reference else None
            return positions(identity, before, candidate.accepted_per_position)
    return None
