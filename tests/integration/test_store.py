"""Runs move as their states allow, are found again, and are written whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import store_values as values
from sqlmodel import Session as Database
from store_values import LATER, NOW

from monitor.domain import (
    Artifact,
    RunState,
    Verdict,
)
from monitor.errors import StoreError
from monitor.store import Store
from monitor.store.queries import environments, hosts, judgements, runs


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


def test_the_reference_is_the_last_good_run_of_the_same_series(store: Store) -> None:
    a, b, c, d = (values.artifact(version) for version in ("1.0", "1.1", "1.2", "1.3"))
    hours = [NOW + timedelta(hours=number) for number in range(10)]
    series: dict[str, Any] = {"check_digest": "d1", "machine_id": "m1", "project": "xllamacpp"}

    def reference(**other: Any) -> runs.Run | None:
        with store.read() as db:
            return runs.last_good(db, **series | other)

    assert reference() is None
    newest = done(store, b, Verdict.UNCHANGED, now=hours[3])
    oldest = done(store, a, Verdict.IMPROVED, now=hours[1])
    done(store, c, Verdict.REGRESSED, now=hours[4])
    done(store, c, Verdict.INCONCLUSIVE, now=hours[5])
    done(store, d, Verdict.UNCHANGED, now=hours[6], host=values.host("m2"))
    done(store, d, Verdict.UNCHANGED, now=hours[6], check=values.check("d2"))
    broken = values.planned(store, d)
    walk(store, broken, "provisioning", "measuring", "judging", "done", "measuring", "failed", now=hours[7])
    with store.write() as db:
        judgements.save(db, broken.id, values.judgement(Verdict.UNCHANGED), now=hours[7])

    def found(run: runs.Run | None) -> int | None:
        return run and run.id

    assert found(reference()) == newest.id
    assert found(reference(exclude_sha256=b.sha256)) == oldest.id
    assert found(reference(version="1.0")) == oldest.id
    assert reference(version="1.2") is None
    assert reference(project="vllm") is None
    with store.write() as db:  # judged again, with what is known now
        judgements.save(db, newest.id, values.judgement(Verdict.REGRESSED), now=hours[8])
        runs.set_reference(db, newest.id, oldest.id)
        judged = runs.get(db, newest.id)
    assert judged is not None
    assert judged.reference_run_id == oldest.id
    assert found(reference()) == oldest.id


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
