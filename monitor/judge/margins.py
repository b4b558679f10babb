"""Tier 3: where texts part, and whether the baseline model itself was nearly undecided there.

Rounding can turn a choice between two tokens that are almost equally likely; it cannot make the model say
what it finds unlikely. So the baseline model is asked for its margin at each place: forced along the common
beginning, by how much it prefers the one token to the other. The margins stand in the samples, so the judge
asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.domain import Arm, Divergence, Lossless, Margin, Sample, SampleSet, Session, Verdict
from monitor.judge.metrics import tokens_identity
from monitor.judge.policy import JudgingPolicy

NEAR_TIE_QUANTILE = 0.999

PromptRepeat = tuple[str, str, int]
"""(workload, prompt id, repeat)"""
_Place = tuple[int, str, str, int, int, int, int]


@dataclass(frozen=True)
class Partings:
    """The places where answers leave the text of the first baseline session, each once."""

    own: tuple[Divergence, ...]
    """Of later baseline sessions: what rounding alone does here."""
    mtp: tuple[Divergence, ...]
    unknown: int
    """Other answers of mtp of which it is not known where they part, or of which one ended there."""


def by_prompt(samples: Iterable[Sample], arm: Arm) -> dict[PromptRepeat, list[Sample]]:
    """Return the answers of an arm whose text is known, each group in the order of its sessions."""
    grouped: dict[PromptRepeat, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: s.session):
        if sample.arm is arm and tokens_identity(sample) is not None:
            grouped.setdefault((sample.workload, sample.prompt, sample.repeat), []).append(sample)
    return grouped


def partings(samples: Iterable[Sample]) -> Partings:
    """Return where the answers of a release part."""
    samples = tuple(samples)
    baseline, mtp = by_prompt(samples, Arm.BASELINE), by_prompt(samples, Arm.MTP)
    own: dict[_Place, Divergence] = {}
    arms: dict[_Place, Divergence] = {}
    unknown: set[tuple[PromptRepeat, str | None]] = set()
    for key, (first, *later) in sorted(baseline.items()):
        for other in later:
            if (found := _parting(first, other)) is not None:
                own[_place(found)] = found
        for other in mtp.get(key, ()):
            found = _parting(first, other)
            if found is not None:
                arms[_place(found)] = found
            elif tokens_identity(first) != tokens_identity(other):
                unknown.add((key, tokens_identity(other)))
    return Partings(tuple(own.values()), tuple(arms.values()), len(unknown))


def unasked(samples: Iterable[Sample], sessions: Iterable[Session], limit: int) -> tuple[Divergence, ...]:
    """Return the places of which no session knows the margin yet, those of mtp first, at most `limit`."""
    known, found = _known(sessions), partings(samples)
    return tuple(one for one in (*found.mtp, *found.own) if _place(one) not in known)[:limit]


def judged_by_margins(found: Lossless, candidate: SampleSet, policy: JudgingPolicy) -> Lossless:
    """Return the finding with what the margins in the samples say."""
    parted, known = partings(candidate.samples), _known(candidate.sessions)
    own = [known[_place(one)] for one in parted.own if _place(one) in known]
    arms = [known[_place(one)] for one in parted.mtp if _place(one) in known]
    return with_margins(found, own, arms, of=len(parted.mtp) + parted.unknown, policy=policy)


def with_margins(
    found: Lossless, own: Sequence[Margin], arms: Sequence[Margin], *, of: int, policy: JudgingPolicy
) -> Lossless:
    """Return the finding with tier 3: whether divergences are near-ties by the baseline model's own margins.

    A margin that is larger than the baseline's own divergences ever need, or than `near_tie_nats` where those
    are smaller, is no rounding: it is a fault. Of a margin that is only known to be at least something, that
    much is judged: beyond the limit it is a fault as well, else it says nothing.

    Args:
        found: what the answers say.
        own: margins where the baseline diverged from itself (may be empty).
        arms: margins where mtp diverged from the baseline, as far as they are known.
        of: how many such divergences there are.
        policy: for the limit.

    """
    found = replace(found, divergences=of)
    quantile = float(np.quantile([abs(one.nats) for one in own], NEAR_TIE_QUANTILE)) if own else 0.0
    limit = max(policy.near_tie_nats, quantile)
    faults = [one for one in arms if abs(one.nats) > limit]
    told = [one for one in arms if not one.at_least or abs(one.nats) > limit]
    if found.verdict is Verdict.REGRESSED or not told:
        return found
    found = replace(found, tier=3, margins=len(told))
    worst = max(told, key=lambda one: abs(one.nats))
    size = f"{abs(worst.nats):.2f} nat{' or more' if worst.at_least else ''} ({limit:.2f} allowed)"
    if faults:
        which = f"{len(faults)} of {of} divergences are no near-ties"
        note = f"{which}: the baseline model's margin is up to {size}"
        return replace(found, verdict=Verdict.REGRESSED, note=note)
    which = f"all {of} divergences"
    if len(told) < of:
        which = f"{len(told)} of {of} divergences, all that were told,"
    note = f"{which} are near-ties: the baseline model's margin is at most {size}"
    return replace(found, verdict=Verdict.UNCHANGED, note=note)


def _known(sessions: Iterable[Session]) -> Mapping[_Place, Margin]:
    return {
        (one.session, one.workload, one.prompt, one.repeat, one.position, one.expected, one.found): one
        for session in sessions
        for one in session.margins or ()
    }


def _place(one: Divergence) -> _Place:
    place = (one.session, one.workload, one.prompt, one.repeat)
    return (*place, len(one.common), one.expected, one.found)


def _parting(first: Sample, other: Sample) -> Divergence | None:
    """Return where two answers part; None where they do not, or not between two known tokens."""
    if first.token_ids is None or other.token_ids is None:
        return None
    pairs = zip(first.token_ids, other.token_ids, strict=False)
    place = next((i for i, (one, another) in enumerate(pairs) if one != another), None)
    if place is None:
        return None
    return Divergence(
        session=first.session,
        workload=first.workload,
        prompt=first.prompt,
        repeat=first.repeat,
        common=first.token_ids[:place],
        expected=first.token_ids[place],
        found=other.token_ids[place],
    )
