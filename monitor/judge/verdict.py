"""The way in: two measurements (four with a confirmation) in, one verdict out.

The verdict is the first that applies of invalid, regressed, inconclusive, improved, unchanged. (`failed` is
said of a release that could not be measured at all, so it never comes from samples.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from monitor.domain import (
    JUDGED_ARMS,
    ArmSummary,
    Attribution,
    Effect,
    Guard,
    Judgement,
    Look,
    Lossless,
    Metric,
    SampleSet,
    Signature,
    Verdict,
)
from monitor.errors import SampleFileError
from monitor.judge import (
    attribution,
    decision,
    effects,
    guards,
    headline,
    looks,
    lossless,
    noise,
    signatures,
    summary,
    totals,
)
from monitor.judge.comparison import Comparison, Design, design_of
from monitor.judge.guards import Side
from monitor.judge.metrics import Table, tabulate
from monitor.judge.policy import JudgingPolicy
from monitor.judge.signatures import Moves


@dataclass(frozen=True)
class _Finding:
    """What one pair of measurements says, before the two pairs of a confirmed run are put together."""

    verdict: Verdict
    signature: Signature | None
    effects: tuple[Effect, ...]
    attribution: Attribution | None
    guards: tuple[Guard, ...]
    lossless: Lossless
    reference_summary: tuple[ArmSummary, ...]
    candidate_summary: tuple[ArmSummary, ...]
    look: Look
    by_workload: tuple[Attribution, ...] = ()
    limit: str = ""
    """Why a limit that the check expects is missed."""


def judge(
    reference: SampleSet | None,
    candidate: SampleSet,
    *,
    confirm: tuple[SampleSet, SampleSet] | None = None,
    policy: JudgingPolicy | None = None,
) -> Judgement:
    """Judge a candidate against its reference.

    Args:
        reference: the last good release's samples; None for the first measurement of a series.
        candidate: the release's samples.
        confirm: fresh sessions of (reference, candidate) measured in alternation. They alone decide then;
            the screening sessions only tell a host that shifted from a release that did.
        policy: limits to judge by; default those of the candidate's header.

    Raises:
        SampleFileError: when the measurements are not of the same check.

    """
    if policy is None:
        policy = JudgingPolicy().with_overrides(candidate.header.judging)
    candidate = candidate.judged
    reference = reference.judged if reference is not None else None
    confirm = (confirm[0].judged, confirm[1].judged) if confirm is not None else None
    _same_check([candidate, *(() if reference is None else (reference,)), *(confirm or ())])
    if reference is None:
        return _first(candidate, policy)
    screen = _compare(reference, candidate, policy)
    if confirm is None or screen.verdict is Verdict.INVALID:
        return _judgement(
            screen, reference, candidate, policy, confirmed=None, sessions=_sessions(reference, candidate)
        )
    fresh = _compare(
        *confirm,
        policy,
        names=("confirming reference", "confirming candidate"),
        screened=screen.effects,
    )
    found = _host_shift(reference, confirm[0], screen, fresh, policy)
    sessions = _sessions(reference, candidate) | _sessions(*confirm, prefix="confirm_")
    confirmed = found.verdict is Verdict.REGRESSED if screen.verdict is Verdict.REGRESSED else None
    if found.verdict is Verdict.REGRESSED:
        confirmed = True
    return _judgement(found, reference, candidate, policy, confirmed=confirmed, sessions=sessions)


def _same_check(sets: Iterable[SampleSet]) -> None:
    headers = [sample_set.header for sample_set in sets]
    first = headers[0]
    for header in headers[1:]:
        if header.check_digest != first.check_digest:
            raise SampleFileError(
                f"The samples are of different checks: {first.check} ({first.check_digest[:12]}) and "
                f"{header.check} ({header.check_digest[:12]}).",
                kept="both files",
                advice="judge files with the same check_digest; a changed check begins a new series",
            )


# --- one pair ------------------------------------------------------------------------------------


def _compare(
    reference: SampleSet,
    candidate: SampleSet,
    policy: JudgingPolicy,
    *,
    names: tuple[str, str] = ("reference", "candidate"),
    screened: tuple[Effect, ...] | None = None,
) -> _Finding:
    """Compare one pair. `screened` is what a confirmation is about: the rows as screening decided them."""
    sides = [
        Side(name, samples, tabulate(samples, policy.min_rate_tokens, busy_limit=policy.busy_limit))
        for name, samples in zip(names, (reference, candidate), strict=True)
    ]
    tripped = (
        *guards.check_pair(sides[0], sides[1], policy),
        *guards.check_side(sides[0], policy),
        *guards.check_side(sides[1], policy),
    )
    (old, new), prompts = totals.side_by_side((reference, candidate), [side.table for side in sides])
    comparison = Comparison(
        reference=old,
        candidate=new,
        prompts=prompts,
        policy=policy,
        design=design_of(old, new),
        priors=noise.priors((candidate.header, reference.header), policy),
    )
    laid_out = effects.lay_out(comparison)
    look = _look(comparison, laid_out, confirms=screened is not None)
    rows = effects.effects(comparison, laid_out, look, _suspected(screened))
    if screened is not None:
        rows = decision.settled(rows, screened)
    equality = lossless.lossless(candidate, policy, reference)
    if policy.lossless_exact and equality.verdict is not Verdict.REGRESSED:
        equality = _moved_text(reference, candidate, equality)
    speedup_noise = comparison.priors.get(Metric.SPEEDUP)
    summaries = [
        summary.summarise(table, comparison.prompts, policy.level_shown, speedup_noise)
        for table in (old, new)
    ]
    verdict, signature, limit = decision.decide(comparison, rows, tripped, equality, summaries[1])
    return _Finding(
        verdict=verdict,
        signature=signature,
        effects=rows,
        attribution=attribution.attribute(comparison),
        by_workload=attribution.by_workload(comparison),
        guards=tripped,
        lossless=equality,
        reference_summary=summaries[0],
        candidate_summary=summaries[1],
        limit=limit,
        look=look,
    )


def _look(comparison: Comparison, rows: Iterable[effects.Row], *, confirms: bool) -> Look:
    """Return which look this is, by the blocks that the candidate has."""
    blocks = len({session.block for session in comparison.candidate.sessions})
    if confirms:
        return looks.confirming(comparison.policy, blocks=blocks)
    stored = min(len(comparison.reference.of(arm)) for arm in JUDGED_ARMS)
    noisy = sum(row.is_noisy_gate for row in rows)
    turns = comparison.design is Design.ALTERNATING
    return looks.screening(
        comparison.policy, blocks=blocks, reference=None if turns else stored, gating=noisy
    )


def _suspected(screened: Iterable[Effect] | None) -> frozenset[tuple[Metric, str]] | None:
    if screened is None:
        return None
    return frozenset((row.metric, row.workload) for row in screened if row.verdict is Verdict.REGRESSED)


def _moved_text(reference: SampleSet, candidate: SampleSet, equality: Lossless) -> Lossless:
    moved = lossless.moved_between_releases(reference, candidate)
    if moved is None:
        return equality
    return replace(
        equality,
        first_divergence=moved,
        verdict=Verdict.REGRESSED,
        note="the baseline gives other tokens than the reference release's, which is an error on this check",
    )


# --- first measurement, confirmation -------------------------------------------------------------


def _first(candidate: SampleSet, policy: JudgingPolicy) -> Judgement:
    table = tabulate(candidate, policy.min_rate_tokens, busy_limit=policy.busy_limit)
    tripped = tuple(guards.check_side(Side("candidate", candidate, table), policy))
    speedup_noise = noise.priors((candidate.header,), policy).get(Metric.SPEEDUP)
    (table,), prompts = totals.side_by_side((candidate,), (table,))
    figures = summary.summarise(table, prompts, policy.level_shown, speedup_noise)
    equality = lossless.lossless(candidate, policy)
    limit = decision.missed_limit(table, figures, policy)
    if decision.is_invalid(tripped):
        verdict, signature, words = Verdict.INVALID, Signature.HARNESS_DRIFT, headline.untrusted(tripped)
    elif not signatures.drafts(table):
        verdict, signature = Verdict.INVALID, Signature.SPECULATION_OFF
        words = "The mtp arm drafted nothing, so there is no speculation to measure."
    elif equality.verdict is Verdict.REGRESSED:
        verdict, signature = Verdict.REGRESSED, Signature.OUTPUT_CHANGED
        words = f"The output changed: {equality.note}."
    elif signatures.is_dead(table, policy):
        verdict, signature = Verdict.REGRESSED, Signature.DRAFTER_DEAD
        words = "The drafter is dead: hardly any drafted token is accepted."
    elif limit:
        verdict, signature, words = Verdict.REGRESSED, None, limit
    else:
        verdict, signature, words = Verdict.UNCHANGED, None, headline.first_measurement(figures[0])
    return Judgement(
        verdict=verdict,
        signature=signature,
        confirmed=None,
        headline=words,
        sessions=_sessions(None, candidate),
        effects=(),
        attribution=None,
        guards=tripped,
        lossless=equality,
        reference=None,
        candidate=candidate.header,
        reference_summary=(),
        candidate_summary=figures,
        undecided=(),
        policy_version=policy.version,
    )


def _host_shift(
    stored: SampleSet, again: SampleSet, screen: _Finding, fresh: _Finding, policy: JudgingPolicy
) -> _Finding:
    """Blame the host when the old release, measured again, moved the way the new one seemed to."""
    if screen.verdict is not Verdict.REGRESSED or fresh.verdict is Verdict.REGRESSED:
        return fresh
    tables: list[Table] = [
        tabulate(samples, policy.min_rate_tokens, busy_limit=policy.busy_limit) for samples in (stored, again)
    ]
    tables, prompts = totals.side_by_side((stored, again), tables)
    drift = Comparison(
        reference=tables[0],
        candidate=tables[1],
        prompts=prompts,
        policy=policy,
        design=Design.SEPARATE,
        priors=noise.priors((stored.header,), policy),
    )
    rows = effects.lay_out(drift)
    moved = (
        Moves.of(effects.effects(drift, rows, _look(drift, rows, confirms=True))).worse
        & Moves.of(screen.effects).worse
    )
    if not moved:
        return fresh
    return _Finding(
        verdict=Verdict.INCONCLUSIVE,
        signature=Signature.HOST_SHIFT,
        effects=fresh.effects,
        attribution=fresh.attribution,
        guards=fresh.guards,
        lossless=fresh.lossless,
        reference_summary=fresh.reference_summary,
        candidate_summary=fresh.candidate_summary,
        look=fresh.look,
        by_workload=fresh.by_workload,
    )


# --- putting it together -------------------------------------------------------------------------


def _judgement(
    found: _Finding,
    reference: SampleSet,
    candidate: SampleSet,
    policy: JudgingPolicy,
    *,
    confirmed: bool | None,
    sessions: dict[str, int],
) -> Judgement:
    overall = (
        found.reference_summary[0] if found.reference_summary else None,
        found.candidate_summary[0] if found.candidate_summary else None,
    )
    if found.verdict is Verdict.INVALID and found.signature is not Signature.SPECULATION_OFF:
        words = headline.untrusted(found.guards)
    elif found.verdict is Verdict.INVALID:
        words = "Neither release drafted anything, so there is no speculation to compare."
    elif found.signature is Signature.OUTPUT_CHANGED:
        words = f"The output changed: {found.lossless.note}."
    else:
        words = found.limit or headline.sentence(
            found.verdict, found.signature, found.effects, overall, confirmed=confirmed
        )
    return Judgement(
        verdict=found.verdict,
        signature=found.signature,
        confirmed=confirmed,
        headline=words,
        sessions=sessions,
        effects=found.effects,
        attribution=found.attribution,
        guards=found.guards,
        lossless=found.lossless,
        reference=reference.header,
        candidate=candidate.header,
        reference_summary=found.reference_summary,
        candidate_summary=found.candidate_summary,
        undecided=tuple(f"{row.metric}:{row.workload}" for row in found.effects if decision.is_open(row)),
        policy_version=policy.version,
        look=found.look,
        by_workload=found.by_workload,
    )


def _sessions(reference: SampleSet | None, candidate: SampleSet, *, prefix: str = "") -> dict[str, int]:
    counted = {}
    for name, samples in (("reference", reference), ("candidate", candidate)):
        for arm in JUDGED_ARMS:
            if samples is not None:
                counted[f"{prefix}{name}_{arm}"] = len({s.session for s in samples.samples if s.arm is arm})
    return counted
