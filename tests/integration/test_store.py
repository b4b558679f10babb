"""Runs move as their states allow, are found again, and are written whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import store_values as values
from sqlmodel import Session as Database
from store_values import LATER, NOW

from monitor.domain import Artifact, Basis, RunState, Verdict
from monitor.errors import StoreError
from monitor.store import Store
from monitor.store.queries import checks, environments, epochs, hosts, judgements, runs


def walk(store: Store, run: runs.Run, *states: str, now: datetime = NOW) -> None:
    for word in states:
        with store.write() as db:
            runs.set_state(db, run.id, RunState(word), now=now)


def done(
    store: Store, artifact: Artifact, verdict: Verdict, *, now: datetime = NOW, **other: Any
) -> runs.Run:
    run = values.planned(store, artifact, **other)
    walk(store, run, "provisioning", "measuring", "judging", "done", now=now)
    with store.write() as db:
        judgements.save(db, run.id, values.judgement(verdict), now=now)
    return run


def test_a_run_is_found_by_check_artifact_and_host(store: Store) -> None:
    first = values.planned(store)
    assert (first.version, first.artifact_sha256, first.host) == ("1.0", values.artifact().sha256, "m1")
    assert (first.state, first.attempts, first.planned_at, first.requested_by) == (
        *(RunState.PLANNED, 0, NOW, "a test"),
    )
    second = values.planned(store)
    values.planned(store, host=values.host("m2"))
    values.planned(store, check=values.check("d2"))
    values.planned(store, values.artifact("2.0"))
    with store.read() as db:
        sha256 = values.artifact().sha256
        found = runs.find(db, check_digest="d1", artifact_sha256=sha256, machine_id="m1")
        assert found == [second, first]
        assert runs.get(db, first.id) == first
        assert [run.version for run in runs.recent(db, limit=2)] == ["2.0", "1.0"]


def test_the_states_of_a_run_are_dated_and_its_history_is_kept(store: Store) -> None:
    run = values.planned(store)
    walk(store, run, "provisioning", now=LATER)
    with store.write() as db:
        runs.set_state(db, run.id, RunState.PROVISIONING, stage="install", now=LATER)
        runs.set_state(
            db, run.id, RunState.FAILED, stage="install", reason="no wheel \x00", permanent=True, now=LATER
        )
        failed = runs.get(db, run.id)
    assert failed is not None
    assert (failed.stage, failed.reason, failed.permanent) == ("install", "no wheel \ufffd", True)
    assert (failed.started_at, failed.finished_at) == (LATER, LATER)
    walk(store, run, "provisioning", now=LATER + timedelta(hours=1))
    with store.read() as db:
        again = runs.get(db, run.id)
        assert again is not None
        assert (again.started_at, again.finished_at, again.reason) == (LATER, None, "")
        assert [run.id for run in runs.in_state(db, [RunState.PROVISIONING], machine_id="m1")] == [run.id]
        assert runs.in_state(db, [RunState.PROVISIONING], machine_id="m2") == []
        steps = [(step.source, step.target, step.reason) for step in runs.history(db, run.id)]
    assert steps == [
        ("planned", "provisioning", ""),
        ("provisioning", "failed", "no wheel \ufffd"),
        ("failed", "provisioning", ""),
    ]


def test_an_impossible_transition_is_refused_and_changes_nothing(store: Store) -> None:
    run = values.planned(store)
    with pytest.raises(StoreError, match="planned and cannot become done"), store.write() as db:
        runs.set_state(db, run.id, RunState.DONE, reason="wished", now=NOW)
    with store.read() as db:
        assert runs.get(db, run.id) == run
        assert runs.history(db, run.id) == []
    with pytest.raises(StoreError, match="no run 999"), store.write() as db:
        runs.set_state(db, 999, RunState.DONE, now=NOW)


def test_an_attempt_is_counted_before_its_work_and_closed_when_the_next_begins(store: Store) -> None:
    run, built = values.planned(store), values.environment(values.artifact())
    with store.write() as db:
        assert runs.last_attempt(db, run.id) is None
        environments.save(db, built)
        first = runs.begin_attempt(db, run.id, boot_id="boot-1", environment_key=built.key, now=NOW)
    with store.read() as db:
        counted = runs.get(db, run.id)
        assert counted is not None
        assert (counted.attempts, runs.last_attempt(db, run.id)) == (1, first)
        assert first == runs.Attempt(1, "boot-1", built.key, NOW)
    with store.write() as db:
        second = runs.begin_attempt(db, run.id, boot_id="boot-2", environment_key=None, now=LATER)
        runs.end_attempt(db, run.id, 2, outcome="done", now=LATER)
        assert runs.last_attempt(db, run.id) == replace(second, ended_at=LATER, outcome="done")
        with pytest.raises(StoreError, match="no attempt 3"):
            runs.end_attempt(db, run.id, 3, outcome="done", now=LATER)
    with store.write() as db, pytest.raises(StoreError, match="never-saved"):
        runs.set_environment(db, run.id, "never-saved")


def test_the_reference_is_the_good_run_of_the_epoch_that_is_furthest_on(store: Store) -> None:
    a, b, c, d = (values.artifact(version) for version in ("1.9", "1.10", "1.11", "1.12"))
    hours = [NOW + timedelta(hours=number) for number in range(10)]
    with store.write() as db:
        checks.save(db, values.check(), now=NOW)
        hosts.save(db, values.host(), now=NOW)
        series = {"machine_id": "m1", "project": "xllamacpp", "check_digest": "d1"}
        first, second = (
            epochs.begin(db, **series, conditions={"driver": number}, reason="", who="", now=NOW)
            for number in (1, 2)
        )

    def reference(before: runs.Run | None = None, epoch: int = first.id) -> int | None:
        with store.read() as db:
            found = runs.last_good(db, epoch_id=epoch, before=before)
        return found and found.id

    assert reference() is None
    newer = done(store, b, Verdict.UNCHANGED, now=hours[1], epoch_id=first.id)
    older = done(store, a, Verdict.IMPROVED, now=hours[3], epoch_id=first.id)
    bad = done(store, c, Verdict.REGRESSED, now=hours[4], epoch_id=first.id)
    done(store, c, Verdict.INCONCLUSIVE, now=hours[5], epoch_id=first.id)
    other = done(store, d, Verdict.UNCHANGED, now=hours[6], epoch_id=second.id)
    done(store, d, Verdict.UNCHANGED, now=hours[6], epoch_id=first.id, against="1.9")
    broken = values.planned(store, d, epoch_id=first.id)
    walk(store, broken, "provisioning", "measuring", "judging", "done", "measuring", "failed", now=hours[7])
    with store.write() as db:
        judgements.save(db, broken.id, values.judgement(Verdict.UNCHANGED), now=hours[7])

    assert reference() == newer.id
    assert reference(before=newer) == older.id
    assert reference(before=older) is None
    assert reference(epoch=second.id) == other.id
    with store.write() as db:  # judged again, with what is known now; the release before does not count
        judgements.save(db, newer.id, values.judgement(Verdict.REGRESSED), now=hours[8])
        judgements.save(
            db, bad.id, values.judgement(Verdict.UNCHANGED), now=hours[8], basis=Basis.PREDECESSOR
        )
        runs.set_reference(db, newer.id, older.id)
        judged = runs.get(db, newer.id)
    assert judged is not None
    assert judged.reference_run_id == older.id
    assert reference() == older.id


def test_runs_from_before_there_were_epochs_belong_to_the_first(store: Store) -> None:
    before = done(store, values.artifact("1.0"), Verdict.UNCHANGED)
    with store.write() as db:
        series = {"machine_id": "m1", "project": "xllamacpp", "check_digest": "d1"}
        first = epochs.begin(db, **series, conditions={}, reason="", who="", now=NOW)
        second = epochs.begin(db, **series, conditions={}, reason="", who="", now=NOW)
        assert (first.number, second.number) == (1, 2)
        assert [run.id for run in runs.of_epoch(db, first.id)] == [before.id]
        assert epochs.current(db, **series) == second


# ---------------------------------------------------------------------------------------------
# Transactions


def _move(db: Database, *run_ids: int) -> None:
    for run_id in run_ids:
        runs.set_state(db, run_id, RunState.PROVISIONING, now=NOW)
    db.commit()


def test_a_block_that_fails_leaves_nothing_behind(store: Store) -> None:
    run = values.planned(store)
    with pytest.raises(StoreError, match="no run 999"), store.write() as db:
        _move(db, run.id, 999)
    with store.read() as db:
        assert runs.get(db, run.id) == run


def test_a_reader_cannot_change_anything(store: Store) -> None:
    run = values.planned(store)
    with pytest.raises(StoreError), store.read() as db:
        _move(db, run.id)
    with store.read() as db:
        assert runs.get(db, run.id) == run


def test_a_date_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="time zone"), store.write() as db:
        hosts.save(db, values.host(), now=NOW.replace(tzinfo=None))
