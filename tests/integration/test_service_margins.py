"""From texts that part to a judged margin: who is asked, and when; the samples alone say the same again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline, sample_file
from monitor.domain import Arm, Divergence, Judgement, Margin, Role, Sample, SampleSet, Session, Verdict
from monitor.judge.verdict import judge
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import judgements, runs, sessions
from standins.service import World, check

TEXT = tuple(range(100, 228))
PARTED = (*TEXT[:5], 7, *TEXT[6:])
PROMPTS = 4
LIMITS = {"blocks_min": 2, "blocks_max": 4, "blocks_reference": 3, "confirm_blocks_max": 2}
GREEDY = {"temperature": 0}


@dataclass
class Telling(World):
    """A world whose mtp arm says something else at the sixth token, and whose baseline tells margins."""

    nats: float = 0.1
    inquired: list[tuple[Arm, int | None]] = field(default_factory=list)
    """Each session's arm, and how many places it was asked about; None: it was to ask for nothing."""

    def measure(self, **asked: Any) -> tuple[Session, tuple[Sample, ...]]:
        keep, inquiry = asked["on_sample"], asked["inquiry"]
        session, samples = super().measure(**asked | {"on_sample": lambda _: None})
        text = PARTED if session.arm is Arm.MTP else TEXT
        samples = tuple(replace(sample, token_ids=text, tokens_sha256=None) for sample in samples)
        for sample in samples:
            keep(sample)
        places = inquiry.divergences(samples) if inquiry is not None else None
        self.inquired.append((session.arm, None if places is None else len(places)))
        if places is not None:
            session = replace(session, margins=tuple(self.told(place) for place in places))
        return session, samples

    def told(self, place: Divergence) -> Margin:
        where = (place.session, place.workload, place.prompt, place.repeat, len(place.common))
        return Margin(*where, place.expected, place.found, self.nats)


def world_of(folder: Path, nats: float = 0.1, **changes: Any) -> Telling:
    known = {"lossless_exact": False, "sampling": GREEDY, "judging": LIMITS}
    world = Telling(folder, checks=(check(**known | changes),), nats=nats)
    world.release("2026.6.9294")
    return world


def judged(station: Station) -> tuple[Judgement, SampleSet]:
    with station.store.read() as db:
        (run,) = runs.recent(db)
        found = judgements.get(db, run.id)
        measured = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
    assert found is not None
    assert measured is not None
    return found, measured


def test_the_first_baseline_session_after_a_divergence_is_asked_about_it_and_no_other(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    with world.station() as station:
        pipeline.cycle(station)
        found, measured = judged(station)

    # Blocks: baseline, mtp; mtp, baseline; baseline, mtp.
    told = {Arm.BASELINE: [0, PROMPTS, 0], Arm.MTP: [None, None, None]}
    assert {arm: [n for one, n in world.inquired if one is arm] for arm in told} == told
    assert (found.lossless.tier, found.lossless.verdict) == (3, Verdict.UNCHANGED)
    assert (found.lossless.margins, found.lossless.divergences) == (PROMPTS, PROMPTS)
    places = [margin for session in measured.sessions for margin in session.margins or ()]
    assert {(one.session, one.position, one.expected, one.found) for one in places} == {(0, 5, 105, 7)}


def test_the_samples_alone_give_the_same_judgement_again(tmp_path: Path) -> None:
    world = world_of(tmp_path, nats=2.5)
    with world.station() as station:
        pipeline.cycle(station)
        found, measured = judged(station)
    file = tmp_path / "exported.jsonl"
    sample_file.write(file, measured)

    assert found.verdict is Verdict.REGRESSED
    assert "4 of 4 divergences are no near-ties" in found.headline
    assert judge(None, sample_file.read(file)) == found


@pytest.mark.parametrize(
    "changes",
    [
        {"lossless_exact": True},
        {"judging": {**LIMITS, "lossless_exact": True}},
        {"sampling": {"temperature": 0.7}},
        {"judging": {**LIMITS, "margins_max": 0}},
    ],
    ids=["exact", "exact by policy", "sampled", "none allowed"],
)
def test_where_a_margin_would_say_nothing_none_is_asked_for(tmp_path: Path, changes: dict[str, Any]) -> None:
    world = world_of(tmp_path, **changes)
    with world.station() as station:
        pipeline.cycle(station)

    assert world.inquired
    assert {places for _, places in world.inquired} == {None}


def test_a_session_asks_no_more_than_the_policy_allows_and_the_next_goes_on(tmp_path: Path) -> None:
    world = world_of(tmp_path, judging={**LIMITS, "margins_max": 3})
    with world.station() as station:
        pipeline.cycle(station)
        found, _ = judged(station)

    assert [n for arm, n in world.inquired if arm is Arm.BASELINE] == [0, 3, 1]
    assert found.lossless.margins == PROMPTS
