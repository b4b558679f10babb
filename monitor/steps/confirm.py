"""Confirm: fresh sessions of old and new in alternation, before anyone is told of a loss."""

from __future__ import annotations

from dataclasses import replace

from monitor.domain import Judgement, Role, SampleSet, Verdict
from monitor.errors import EngineError
from monitor.judge import headline
from monitor.judge.verdict import judge
from monitor.steps.measure import Bench, Build, confirm_slots, measure
from monitor.store import Subject


class Unconfirmable(Exception):  # noqa: N818  # nothing has failed: the old release is not to be had
    """The old release cannot be measured again, so a suspicion of the new one stays a suspicion."""


def confirm(  # noqa: PLR0917  # the two sides of a comparison, built and as they were measured before
    bench: Bench,
    reference: Build,
    candidate: Build,
    stored: SampleSet,
    screened: SampleSet,
    role: Role = Role.CONFIRM,
) -> Judgement:
    """Measure both releases in turns until the suspicion is decided, and return the final judgement.

    `stored` are the reference's samples that raised the suspicion, `screened` the candidate's. The fresh
    sessions are kept in `role`, the old release's as `reference.subject`.

    Raises:
        EngineError: when the candidate does not answer; complete sessions are kept.
        Unconfirmable: when the reference does not answer any more.

    """
    most = bench.policy().confirm_blocks_max
    found: list[Judgement] = []

    def decided(_: int) -> bool:
        old, new = bench.stored(reference.subject, role), bench.stored(Subject.CANDIDATE, role)
        if old is None or new is None:
            raise RuntimeError("a block of a confirmation holds sessions of both releases")
        found.append(judge(stored, screened, confirm=(old, new)))
        return found[-1].verdict is not Verdict.INCONCLUSIVE

    try:
        measure(bench, confirm_slots(most, role, reference.subject), (reference, candidate), decided)
    except EngineError as error:
        if error.subject != reference.subject:
            raise
        version = reference.header.version
        raise Unconfirmable(f"the old release {version} {error.reason} now") from error
    return found[-1]


def confirm_alone(
    bench: Bench, candidate: Build, stored: SampleSet, screened: SampleSet, role: Role = Role.CONFIRM
) -> Judgement:
    """Measure the candidate again against the stored reference, which an attached engine has replaced.

    Fresh sessions rule out that a bad start of the servers was taken for a loss. What they cannot rule out is
    that the machine has changed since the reference was measured, so the headline says how it was confirmed.

    Raises:
        EngineError: when the candidate does not answer; complete sessions are kept.

    """
    slots = [
        slot
        for slot in confirm_slots(bench.policy().confirm_blocks_max, role)
        if slot.subject == Subject.CANDIDATE
    ]
    found: list[Judgement] = []

    def decided(_: int) -> bool:
        fresh = bench.stored(Subject.CANDIDATE, role)
        if fresh is None:
            raise RuntimeError("a block of a confirmation holds sessions of the candidate")
        found.append(judge(stored, screened, confirm=(stored, fresh)))
        return found[-1].verdict is not Verdict.INCONCLUSIVE

    measure(bench, slots, (candidate,), decided)
    text = found[-1].headline
    for usual, here in _ALONE.items():
        text = text.replace(usual, here)
    return replace(found[-1], headline=text)


_ALONE = {
    headline.ALTERNATED: "confirmed by fresh sessions; what ran before could not be measured again",
    headline.IN_TURNS: "in fresh sessions; what ran before could not be measured again",
}


def unconfirmed(suspicion: Judgement, obstacle: str) -> Judgement:
    """Return a suspicion that nobody is told of, because it could not be confirmed, with the reason in words.

    The recovery of a release, likewise, is no recovery before it is confirmed.
    """
    return replace(
        suspicion,
        verdict=Verdict.INCONCLUSIVE,
        confirmed=False,
        headline=f"Not confirmed, because {obstacle}. Suspected: {suspicion.headline}",
    )
