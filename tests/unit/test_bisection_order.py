"""Which release a bisection visits next, and what it knows when nothing is left to visit."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import Answer, Bisection, BisectionState, Tier, Visit

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def bisection(releases: int, last_resorts: frozenset[int] = frozenset()) -> Bisection:
    """Return one whose ends have answered, over so many releases in all."""
    ends = {0: Answer.GOOD, releases - 1: Answer.BAD}
    visits = tuple(
        Visit(
            place,
            f"1.{place}",
            str(place),
            "stable",
            place in last_resorts,
            None,
            None,
            ends.get(place),
            "",
            False,
            None,
        )
        for place in range(releases)
    )
    return Bisection(
        id=1,
        check_id="check",
        check_digest="d",
        project="xllamacpp",
        machine_id="m1",
        tier=Tier.QUICK,
        requested_by="test",
        priority=0,
        incident_id=None,
        state=BisectionState.RUNNING,
        reason="",
        began_at=NOW,
        ended_at=None,
        visits=visits,
    )


def said(found: Bisection, place: int, answer: Answer) -> Bisection:
    visits = list(found.visits)
    visits[place] = replace(visits[place], answer=answer)
    return replace(found, visits=tuple(visits))


def searched(found: Bisection, first_bad: int, silent: frozenset[int]) -> tuple[Bisection, list[int]]:
    """Answer every visit until none is left; return what is known then, and the places in their order."""
    visited = []
    while (visit := found.next_visit) is not None:
        visited.append(visit.place)
        answer = Answer.BAD if visit.place >= first_bad else Answer.GOOD
        found = said(found, visit.place, Answer.SKIPPED if visit.place in silent else answer)
    return found, visited


@st.composite
def searches(draw: st.DrawFn) -> tuple[int, int, frozenset[int]]:
    releases = draw(st.integers(2, 60))
    silent = draw(st.frozensets(st.integers(1, max(1, releases - 2)))) if releases > 2 else frozenset()
    return releases, draw(st.integers(1, releases - 1)), silent


@given(searches())
def test_the_first_bad_release_is_found_or_shut_in_by_releases_that_say_nothing(
    search: tuple[int, int, frozenset[int]],
) -> None:
    releases, first_bad, silent = search
    found, visited = searched(bisection(releases), first_bad, silent)
    assert len(set(visited)) == len(visited)
    assert found.last_good.place < first_bad <= found.first_bad.place
    between = range(found.last_good.place + 1, found.first_bad.place)
    assert set(between) <= silent
    assert [visit.place for visit in found.suspects] == list(between)
    answering = [place for place in range(1, releases - 1) if place not in silent]
    # Not a release further away than need be: the nearest ones that answer are the ends.
    assert found.last_good.place == max([0, *(p for p in answering if p < first_bad)])
    assert found.first_bad.place == min([releases - 1, *(p for p in answering if p >= first_bad)])


@given(st.integers(2, 200), st.data())
def test_it_takes_no_more_steps_than_halving_does(releases: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(1, releases - 1))
    expected = bisection(releases).steps_left
    assert expected == math.ceil(math.log2(releases - 1))
    found, visited = searched(bisection(releases), first_bad, frozenset())
    assert len(visited) <= expected
    assert (found.first_bad.place, found.steps, found.steps_left) == (first_bad, len(visited), 0)


def test_a_neighbour_is_tried_when_the_middle_says_nothing() -> None:
    found = bisection(9)
    places = []
    for _ in range(3):
        visit = found.next_visit
        assert visit is not None
        places.append(visit.place)
        found = said(found, visit.place, Answer.SKIPPED)
    assert places == [4, 3, 5]


def test_a_yanked_release_is_visited_only_when_no_other_is_left() -> None:
    _, visited = searched(bisection(6, frozenset({2, 3})), 4, frozenset())
    assert visited == [1, 4, 2, 3]
