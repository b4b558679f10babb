"""Whether speculation changed the output: measured by comparing answers, never assumed.

Tier 1 is the noise floor, baseline against baseline; tier 2 compares mtp with baseline, token by token.
Tier 3 has the baseline model's own margin where texts part (`margins.py`), tier 4 the score on prompts whose
answer is known (`score.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from monitor.domain import Arm, Lossless, Sample, SampleSet, Verdict
from monitor.judge import score
from monitor.judge.margins import PromptRepeat, by_prompt, judged_by_margins
from monitor.judge.metrics import tokens_identity
from monitor.judge.policy import JudgingPolicy


@dataclass(frozen=True)
class _Agreement:
    pairs: int
    matches: int
    first_divergence: dict[str, Any] | None


def lossless(candidate: SampleSet, policy: JudgingPolicy, reference: SampleSet | None = None) -> Lossless:
    """Compare the answers of a release's arms, prompt by prompt, and its score with the reference's."""
    baseline, mtp = by_prompt(candidate.samples, Arm.BASELINE), by_prompt(candidate.samples, Arm.MTP)
    own = _agreement(
        {key: group[:1] for key, group in baseline.items()}, {key: g[1:] for key, g in baseline.items()}
    )
    arms = _agreement({key: group[:1] for key, group in baseline.items()}, mtp)
    verdict, note = _verdict(own, arms, exact_expected=policy.lossless_exact)
    found = Lossless(
        tier=2 if arms.pairs else 1 if own.pairs else 0,
        exact_expected=policy.lossless_exact,
        baseline_pairs=own.pairs,
        baseline_matches=own.matches,
        mtp_pairs=arms.pairs,
        mtp_matches=arms.matches,
        first_divergence=arms.first_divergence,
        verdict=verdict,
        note=note,
    )
    if not policy.lossless_exact:
        found = judged_by_margins(found, candidate, policy)
    return _scored(found, candidate, policy, reference)


def _scored(
    found: Lossless, candidate: SampleSet, policy: JudgingPolicy, reference: SampleSet | None
) -> Lossless:
    scored = score.score(candidate, reference, policy)
    if scored is None:
        return found
    found = replace(found, tier=4, score=scored)
    lost = score.loss(scored, policy)
    if not lost or found.verdict is Verdict.REGRESSED:
        return found
    return replace(found, verdict=Verdict.REGRESSED, note=lost, by_score=True)


def moved_between_releases(reference: SampleSet, candidate: SampleSet) -> dict[str, Any] | None:
    """Return the first prompt whose baseline tokens differ between the releases, or None.

    Prompts that differ within one release already say nothing about the other.
    """
    old, new = by_prompt(reference.samples, Arm.BASELINE), by_prompt(candidate.samples, Arm.BASELINE)
    steady = {
        key: group[:1]
        for key, group in old.items()
        if len({tokens_identity(s) for s in group}) == 1
        and len({tokens_identity(s) for s in new.get(key, [])}) == 1
    }
    return _agreement(steady, {key: new[key][:1] for key in steady}).first_divergence


def _agreement(
    first: dict[PromptRepeat, list[Sample]], others: dict[PromptRepeat, list[Sample]]
) -> _Agreement:
    pairs = matches = 0
    divergence = None
    for key in first.keys() & others.keys():
        for one in first[key]:
            for other in others[key]:
                pairs += 1
                if tokens_identity(one) == tokens_identity(other):
                    matches += 1
                elif divergence is None or key < (divergence["workload"], divergence["prompt"], 0):
                    divergence = _divergence(one, other)
    return _Agreement(pairs, matches, divergence)


def _divergence(one: Sample, other: Sample) -> dict[str, Any]:
    found: dict[str, Any] = {"workload": one.workload, "prompt": one.prompt, "session": other.session}
    if one.token_ids is not None and other.token_ids is not None:
        pairs = zip(one.token_ids, other.token_ids, strict=False)
        shorter = min(len(one.token_ids), len(other.token_ids))
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
        found["position"] = place
        found["expected"] = one.token_ids[place] if place < len(one.token_ids) else None
        found["found"] = other.token_ids[place] if place < len(other.token_ids) else None
    return found


def _verdict(own: _Agreement, arms: _Agreement, *, exact_expected: bool) -> tuple[Verdict, str]:
    if not arms.pairs:
        return Verdict.INCONCLUSIVE, "no token ids to compare"
    if arms.matches == arms.pairs:
        return Verdict.UNCHANGED, "every token of the mtp arm equals the baseline's"
    if exact_expected:
        return (
            Verdict.REGRESSED,
            "the mtp arm gave other tokens than the baseline, which is an error on this check",
        )
    if not own.pairs:
        return Verdict.INCONCLUSIVE, "the baseline was run once, so its own agreement is not known"
    return Verdict.UNCHANGED, (
        f"the baseline agrees with itself on {own.matches} of {own.pairs}, mtp with it on {arms.matches} of "
        f"{arms.pairs}; whether the others are near-ties was not measured"
    )
