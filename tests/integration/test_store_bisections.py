"""Bisections in the store: what was begun, what each release said, and how it ended."""

from __future__ import annotations

import pytest
from store_values import LATER, NOW, artifact, check, host, judgement, planned

from monitor.domain import Answer, Basis, Bisection, BisectionState, Tier
from monitor.errors import StoreError
from monitor.store import Store
from monitor.store.queries import bisections, hosts, judgements

STOPS = [bisections.Stop(artifact(version), "stable") for version in ("1.0", "2.0", "3.0")]
SHA256 = STOPS[1].artifact.sha256
COMMITS = [artifact(f"2.1.dev{number}+g{number}{'a' * 8}") for number in range(3)]


def begun(store: Store, *, priority: int = 0) -> Bisection:
    with store.write() as db:
        hosts.save(db, host(), now=NOW)
        return bisections.create(
            db,
            check=check(),
            machine_id="m1",
            tier=Tier.QUICK,
            requested_by="test",
            priority=priority,
            incident_id=None,
            stops=STOPS,
            now=NOW,
        )


def test_what_a_release_said_is_kept_with_its_run_and_judgement(store: Store) -> None:
    found = begun(store)
    assert [visit.version for visit in found.visits] == ["1.0", "2.0", "3.0"]
    run = planned(store, artifact("2.0"))
    with store.write() as db:
        bisections.set_run(db, found.id, SHA256, run.id, own=True)
        number = judgements.save(db, run.id, judgement(), now=NOW, basis=Basis.GOOD_END)
        # Kept once, under one number, and apart from the verdict that counts for the run.
        assert judgements.save(db, run.id, judgement(), now=LATER, basis=Basis.GOOD_END) == number
        assert judgements.get(db, run.id) is None
        bisections.set_judgement(db, found.id, SHA256, number)
        bisections.answer(db, found.id, SHA256, Answer.BAD, why="by counts", now=LATER)
    with store.read() as db:
        of_run = bisections.of_run(db, run.id)
        assert of_run is not None
        now, visit = of_run
        assert (visit.answer, visit.why, visit.answered_at) == (Answer.BAD, "by counts", LATER)
        assert now.first_bad == visit
        assert judgements.numbered(db, visit.judgement_id or 0) == judgement()


def test_an_answer_is_not_changed_by_a_second_process(store: Store) -> None:
    found = begun(store)
    with store.write() as db:
        bisections.answer(db, found.id, SHA256, Answer.GOOD, why="", now=NOW)
    with pytest.raises(StoreError), store.write() as db:
        bisections.answer(db, found.id, SHA256, Answer.BAD, why="", now=NOW)
    with store.read() as db:
        now = bisections.get(db, found.id)
        assert now is not None
        assert now.last_good.place == 1


def test_those_that_go_on_come_in_the_order_of_their_turn_and_end_once(store: Store) -> None:
    first, urgent = begun(store), begun(store, priority=10)
    with store.read() as db:
        assert [item.id for item in bisections.running(db, "m1")] == [urgent.id, first.id]
    with store.write() as db:
        assert bisections.end(db, urgent.id, BisectionState.FOUND, reason="2.0", now=LATER)
        assert not bisections.end(db, urgent.id, BisectionState.CANCELLED, reason="", now=LATER)
    with store.read() as db:
        assert [item.id for item in bisections.running(db, "m1")] == [first.id]
        assert [item.id for item in bisections.listed(db)] == [urgent.id, first.id]
        ended = bisections.get(db, urgent.id)
        assert ended is not None
        assert (ended.state, ended.reason, ended.ended_at) == (BisectionState.FOUND, "2.0", LATER)


def put_in(store: Store, number: int, *, before: str, since: Bisection | None = None) -> bool:
    """Let the search visit a commit before a release, as it is now or was."""
    with store.read() as db:
        (now,) = bisections.listed(db)
    place = next(visit for visit in now.visits if visit.version == before)
    stop = bisections.Stop(COMMITS[number], "nightly")
    with store.write() as db:
        return bisections.insert(db, since or now, place, stop, commit=f"{number}" * 40, now=LATER)


def test_a_commit_comes_in_between_and_what_was_said_stays_with_its_release(store: Store) -> None:
    found = begun(store)
    with store.write() as db:
        bisections.answer(db, found.id, STOPS[2].artifact.sha256, Answer.BAD, why="by counts", now=NOW)
        bisections.answer(db, found.id, SHA256, Answer.GOOD, why="", now=NOW)
    assert put_in(store, 1, before="3.0")
    assert put_in(store, 0, before=COMMITS[1].version)
    assert put_in(store, 2, before="3.0")
    with store.write() as db:
        # By whoever knows the releases as they stood before.
        bisections.answer(db, found.id, COMMITS[1].sha256, Answer.BAD, why="", now=NOW)
    with store.read() as db:
        (now,) = bisections.listed(db)
    way = ["1.0", "2.0", *(made.version for made in COMMITS), "3.0"]
    assert [visit.version for visit in now.visits] == way
    assert [visit.place for visit in now.visits] == [0, 1, 2, 3, 4, 5]
    assert [visit.commit for visit in now.visits] == [None, None, "0" * 40, "1" * 40, "2" * 40, None]
    assert (now.last_good.version, now.first_bad.version) == ("2.0", COMMITS[1].version)
    assert now.next_visit is not None
    assert now.next_visit.commit == "0" * 40


def test_a_commit_comes_in_once_when_two_processes_go_on_with_a_search(store: Store) -> None:
    begun(store)
    with store.read() as db:
        (before,) = bisections.listed(db)
    assert put_in(store, 0, before="3.0", since=before)
    assert not put_in(store, 0, before="3.0", since=before)
    with store.read() as db:
        (now,) = bisections.listed(db)
    assert len(now.visits) == 4
