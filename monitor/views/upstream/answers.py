"""Which prompt shows the loss best, and what each release answered to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.domain import JUDGED_ARMS, Arm, Check, Prompt, Sample, SampleSet
from monitor.judge.metrics import tokens_identity
from monitor.views.upstream.parts import BAD, GOOD

MOST_ASKED = 12_000
"""Characters of a prompt that an issue can hold beside the rest."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one release answered to the prompt in one arm, over all its sessions."""

    name: str
    """As the script calls it: good-mtp."""
    tokens: int
    drafted: int
    accepted: int
    repeats: bool
    """Every session counted the same."""

    @property
    def line(self) -> str:
        """As `read.py` begins its line."""
        return f"{self.name}: tokens={self.tokens} drafted={self.drafted} accepted={self.accepted}"


@dataclass(frozen=True, slots=True)
class Shown:
    """The prompt that is asked in the text, and the answers to it."""

    prompt: Prompt
    answers: tuple[Answered, ...]

    @property
    def repeats(self) -> bool:
        """Every count repeated in every session, so it will again."""
        return all(answer.repeats for answer in self.answers)


def shown(check: Check, good: SampleSet, bad: SampleSet) -> Shown | str:
    """Return the prompt of which the bad release accepts the least against the good one.

    Prompts answered with the same tokens come first, since only their counts compare; short ones before long.
    Where there is none, it is said in words why.
    """
    prompts = {
        prompt.id: prompt
        for workload in check.workloads
        for prompt in workload.prompts
        if len(f"{prompt.text}{prompt.messages}{prompt.tools}") <= MOST_ASKED
    }
    if not prompts:
        return "Every prompt of the check is longer than an issue can hold, so there are no commands here."
    answered: dict[str, list[list[Sample]]] = {}
    for name in prompts:
        cells = [
            [sample for sample in samples.samples if sample.prompt == name and sample.arm is arm]
            for samples in (good, bad)
            for arm in JUDGED_ARMS
        ]
        if all(cells):
            answered[name] = cells
    if not answered:
        return (
            "No prompt was answered by both releases, with and without MTP, in the sessions that were kept, "
            "so there are no commands here."
        )
    best = min(answered, key=lambda name: _rank(answered[name], prompts[name]))
    names = [f"{side}-{arm}" for side in (GOOD, BAD) for arm in JUDGED_ARMS]
    answers = [_answer(name, cell) for name, cell in zip(names, answered[best], strict=True)]
    return Shown(prompts[best], tuple(answers))


def _rank(cells: list[list[Sample]], prompt: Prompt) -> tuple[bool, float, int]:
    mtp = JUDGED_ARMS.index(Arm.MTP)
    old, new = cells[mtp], cells[len(JUDGED_ARMS) + mtp]
    same = {tokens_identity(sample) for sample in (*old, *new)}
    return len(same) > 1, round(_accepted_share(new) - _accepted_share(old), 3), prompt.max_tokens


def _accepted_share(samples: Iterable[Sample]) -> float:
    """Return accepted drafts for each token, which also falls where fewer are drafted."""
    samples = list(samples)
    return sum(sample.accepted or 0 for sample in samples) / max(1, sum(sample.n for sample in samples))


def _answer(name: str, samples: list[Sample]) -> Answered:
    first = samples[0]
    counts = {(sample.n, sample.drafted or 0, sample.accepted or 0) for sample in samples}
    return Answered(name, first.n, first.drafted or 0, first.accepted or 0, len(counts) == 1)
