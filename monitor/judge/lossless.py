"""Whether speculation changed the output: measured by comparing token ids, never assumed.

Tier 1 is the noise floor, baseline against baseline; tier 2 compares mtp with baseline. Tier 3 asks the
baseline model for its own margin at each divergence, where an engine tells it. (Tier 4, scored tasks, is not
here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.domain import Arm, Lossless, Sample, SampleSet, Verdict
from monitor.judge.metrics import tokens_identity

NEAR_TIE_NATS = 0.3
NEAR_TIE_QUANTILE = 0.999


@dataclass(frozen=True)
class _Agreement:
    pairs: int
    matches: int
    first_divergence: dict[str, Any] | None


def lossless(candidate: SampleSet, *, exact_expected: bool) -> Lossless:
    """Compare the token ids of a release's arms, prompt by prompt."""
    baseline = _by_prompt(candidate, Arm.BASELINE)
    mtp = _by_prompt(candidate, Arm.MTP)
    own = _agreement(
        {key: group[:1] for key, group in baseline.items()}, {key: g[1:] for key, g in baseline.items()}
    )
    arms = _agreement({key: group[:1] for key, group in baseline.items()}, mtp)
    verdict, note = _verdict(own, arms, exact_expected=exact_expected)
    return Lossless(
        tier=2 if arms.pairs else 1 if own.pairs else 0,
        exact_expected=exact_expected,
        baseline_pairs=own.pairs,
        baseline_matches=own.matches,
        mtp_pairs=arms.pairs,
        mtp_matches=arms.matches,
        first_divergence=arms.first_divergence,
        verdict=verdict,
        note=note,
    )


def with_margins(found: Lossless, own: Sequence[float], arms: Sequence[float]) -> Lossless:
    """Return the finding with tier 3: whether divergences are near-ties by the baseline model's own margins.

    A margin is the difference, in nats, between the log probabilities that the baseline model, forced along
    the common beginning, gives the two tokens at which texts part. One that is larger than the baseline's own
    divergences ever need, or than 0.3 nat where those are smaller, is no rounding: it is a fault.

    Args:
        found: what token ids say.
        own: margins where the baseline diverged from itself (may be empty).
        arms: margins where mtp diverged from the baseline, one for each.

    """
    if found.verdict is Verdict.REGRESSED or not arms:
        return found
    limit = max(NEAR_TIE_NATS, float(np.quantile(own, NEAR_TIE_QUANTILE)) if own else 0.0)
    faults = [margin for margin in arms if abs(margin) > limit]
    if faults:
        worst = max(faults, key=abs)
        return replace(
            found,
            tier=3,
            verdict=Verdict.REGRESSED,
            note=f"{len(faults)} of {len(arms)} divergences are no near-ties: the baseline model prefers its "
            f"own token by up to {abs(worst):.2f} nat ({limit:.2f} allowed)",
        )
    return replace(
        found,
        tier=3,
        verdict=Verdict.UNCHANGED,
        note=f"all {len(arms)} divergences are near-ties: the baseline model's margin is at most "
        f"{max(map(abs, arms)):.2f} nat ({limit:.2f} allowed)",
    )


def moved_between_releases(reference: SampleSet, candidate: SampleSet) -> dict[str, Any] | None:
    """Return the first prompt whose baseline tokens differ between the releases, or None.

    Prompts that differ within one release already say nothing about the other.
    """
    old, new = _by_prompt(reference, Arm.BASELINE), _by_prompt(candidate, Arm.BASELINE)
    steady = {
        key: group[:1]
        for key, group in old.items()
        if len({tokens_identity(s) for s in group}) == 1
        and len({tokens_identity(s) for s in new.get(key, [])}) == 1
    }
    return _agreement(steady, {key: new[key][:1] for key in steady}).first_divergence


def _by_prompt(sample_set: SampleSet, arm: Arm) -> dict[tuple[str, str, int], list[Sample]]:
    grouped: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in sorted(sample_set.samples, key=lambda s: s.session):
        if sample.arm is arm and tokens_identity(sample) is not None:
            grouped.setdefault((sample.workload, sample.prompt, sample.repeat), []).append(sample)
    return grouped


def _agreement(
    first: dict[tuple[str, str, int], list[Sample]], others: dict[tuple[str, str, int], list[Sample]]
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
