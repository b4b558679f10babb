"""Which state of a run may follow which, and that the page about it says the same."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.domain import RunState
from monitor.store import transitions

PAGE = Path(__file__).parents[2] / "docs" / "run_lifecycle.md"
WORKING = ("provisioning", "measuring", "judging", "confirming")


@pytest.mark.parametrize(
    "story",
    [
        "planned provisioning measuring judging done",
        "planned provisioning measuring judging measuring judging confirming done",
        "planned provisioning measuring judging confirming judging done",
        "planned skipped",
        "measuring interrupted provisioning measuring",
        "provisioning failed provisioning",
        "judging done confirming judging done measuring judging done judging",
    ],
)
def test_a_run_can_live_through_every_usual_story(story: str) -> None:
    states = [RunState(word) for word in story.split()]
    assert all(transitions.allowed(*pair) for pair in pairwise(states))


@pytest.mark.parametrize("working", WORKING)
@pytest.mark.parametrize("end", ["failed", "invalid", "interrupted", "cancelled"])
def test_work_can_break_off_at_any_point(working: str, end: str) -> None:
    assert transitions.allowed(RunState(working), RunState(end))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("planned", "measuring"),
        ("planned", "done"),
        ("provisioning", "done"),
        ("provisioning", "judging"),
        ("measuring", "done"),
        ("measuring", "skipped"),
        ("failed", "done"),
        ("invalid", "done"),
        ("interrupted", "measuring"),
        ("skipped", "provisioning"),
        ("done", "failed"),
        ("done", "planned"),
    ],
)
def test_no_state_is_skipped_on_the_way_to_a_verdict(source: str, target: str) -> None:
    assert not transitions.allowed(RunState(source), RunState(target))


def test_every_state_can_be_reached_and_only_chosen_ones_are_ends() -> None:
    reached = {RunState.PLANNED}
    while grown := {
        target for source in reached for target in transitions.followers(source) if target not in reached
    }:
        reached |= grown
    assert reached == set(RunState)
    assert set(transitions.ENDED).isdisjoint(transitions.WORKING)


def test_the_page_draws_and_lists_exactly_these_transitions() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert transitions.table() in page
    assert f"```mermaid\n{transitions.diagram()}\n```" in page


def test_the_diagram_shows_every_transition() -> None:
    drawn = set(re.findall(r"(\w+) --> (\w+)", transitions.diagram()))
    for item in transitions.TRANSITIONS:
        source = "working" if ("working", item.target) in drawn and item.source in WORKING else item.source
        assert (source, item.target) in drawn
