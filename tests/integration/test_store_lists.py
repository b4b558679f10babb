"""What pages list: runs by limits, series, several judgements, standing of deliveries."""

from __future__ import annotations

from datetime import timedelta

from store_values import LATER, NOW, artifact, check, host, judgement, planned, sample_set, session

from monitor.domain import DeliveryState, MessageType, Role, RunState, SampleSet, Verdict
from monitor.store import Store, Subject
from monitor.store.queries import judgements, outbox, runs, series, sessions


def test_runs_are_listed_newest_first_within_every_limit(store: Store) -> None:
    first = planned(store, artifact("1.0"))
    second = planned(store, artifact("2.0"))
    other = planned(store, artifact("3.0"), check=check("d2"), host=host("m2"))
    with store.write() as db:
        runs.set_state(db, second.id, RunState.PROVISIONING, now=NOW)
        runs.set_state(db, second.id, RunState.FAILED, reason="x", now=LATER)
    with store.read() as db:

        def ids(**limits: object) -> list[int]:
            return [run.id for run in runs.listed(db, **limits)]  # type: ignore[arg-type]

        assert ids() == [other.id, second.id, first.id]
        assert ids(machine_id="m1") == [second.id, first.id]
        assert ids(project="xllamacpp", limit=1) == [other.id]
        assert ids(project="vllm") == []
        assert ids(check_id="nothing") == []
        assert ids(states=[RunState.FAILED]) == [second.id]
        assert ids(before=second.id) == [first.id]
        counted = runs.counts(db, "m1")
        assert counted[RunState.PLANNED] == counted[RunState.FAILED] == 1
        assert sum(counted.values()) == 2


def test_progress_is_the_last_transition_or_session_of_a_run_at_work(store: Store) -> None:
    run = planned(store)
    with store.read() as db:
        assert runs.last_progress(db, "m1") is None
    with store.write() as db:
        runs.set_state(db, run.id, RunState.PROVISIONING, now=NOW)
        runs.set_state(db, run.id, RunState.MEASURING, now=NOW + timedelta(minutes=1))
    with store.read() as db:
        assert runs.last_progress(db, "m1") == NOW + timedelta(minutes=1)
        assert runs.last_progress(db, "m2") is None
    begun = SampleSet(sample_set(0).header, (session(0, started_at=LATER),), ())
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, begun)
    with store.read() as db:
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) is not None
        assert runs.last_progress(db, "m1") == LATER
    with store.write() as db:
        runs.set_state(db, run.id, RunState.INTERRUPTED, now=LATER)
    with store.read() as db:
        assert runs.last_progress(db, "m1") is None


def test_a_series_is_one_check_digest_on_a_project_and_a_host(store: Store) -> None:
    planned(store, artifact("1.0"))
    newest = planned(store, artifact("2.0"))
    changed = planned(store, artifact("2.0"), check=check("d2"))
    elsewhere = planned(store, artifact("2.0"), host=host("m2"))
    with store.read() as db:
        found = series.all_of(db)
        assert [(one.check_digest, one.machine_id, one.newest_run_id) for one in found] == [
            ("d1", "m2", elsewhere.id),
            ("d2", "m1", changed.id),
            ("d1", "m1", newest.id),
        ]
        assert [one.newest_run_id for one in series.all_of(db, "m1")] == [changed.id, newest.id]


def test_of_several_runs_the_newest_judgement_counts(store: Store) -> None:
    one, two, none = (planned(store, artifact(version)) for version in ("1.0", "2.0", "3.0"))
    with store.write() as db:
        judgements.save(db, one.id, judgement(Verdict.INCONCLUSIVE), now=NOW)
        judgements.save(db, one.id, judgement(Verdict.UNCHANGED), now=LATER)
        judgements.save(db, two.id, judgement(), now=NOW)
    with store.read() as db:
        found = judgements.several(db, [one.id, two.id, none.id])
        assert {number: judged.verdict for number, judged in found.items()} == {
            one.id: Verdict.UNCHANGED,
            two.id: Verdict.REGRESSED,
        }
        assert found[two.id] == judgements.get(db, two.id)
        assert judgements.several(db, []) == {}


def test_deliveries_are_counted_by_destination_and_state(store: Store) -> None:
    with store.write() as db:
        outbox.write(db, MessageType.RUN_FINISHED, {}, ["a", "b"], now=NOW)
        outbox.write(db, MessageType.RUN_FINISHED, {}, ["a"], now=NOW)
        claimed = outbox.claim(db, ["a"], lease_s=60, now=NOW)
        assert claimed is not None
        outbox.fail(db, claimed[0].id, claimed[1], "410", retry_at=None, now=NOW)
    with store.read() as db:
        assert outbox.standing(db) == {
            ("a", DeliveryState.PENDING): 1,
            ("a", DeliveryState.DEAD): 1,
            ("b", DeliveryState.PENDING): 1,
        }
