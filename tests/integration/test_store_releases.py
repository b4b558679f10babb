"""Releases keep their history, and what was installed and measured with stays known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import store_values as values
from store_values import LATER, NOW

from monitor.domain import (
    Package,
    ReleaseState,
    SkipReason,
)
from monitor.errors import StoreError
from monitor.store import Store
from monitor.store.queries import artifacts, checks, environments, hosts, listings, releases, runs


def test_a_second_look_tells_only_what_is_new(store: Store) -> None:
    old, late = values.artifact("1.0"), values.artifact("1.0", build="-1", uploaded_at=LATER)
    with store.write() as db:
        first = listings.record(db, [values.release("1.0", old)], source="index", now=NOW)
        assert (first.new, first.new_artifacts) == ((("xllamacpp", "1.0"),), (old,))
        again = listings.record(db, [values.release("1.0", old)], source="index", now=LATER)
        assert again == listings.Recorded((), (), (), ())
        grown = listings.record(
            db, [values.release("1.0", old, late), values.release("0.9")], source="index", now=LATER
        )
        assert grown.new == (("xllamacpp", "0.9"),)
        assert grown.new_artifacts == (late, values.artifact("0.9"))
    with store.read() as db:
        assert artifacts.of_version(db, "xllamacpp", "1.0") == [old, late]
        row = next(row for row in releases.all_of(db) if row.release.version == "1.0")
    assert row.release == values.release("1.0", old, late)
    assert (row.first_seen_at, row.last_seen_at, row.source) == (NOW, LATER, "index")
    assert (row.state, row.reason) == (ReleaseState.SEEN, None)


def test_a_file_that_vanishes_is_marked_and_comes_back_unmarked(store: Store) -> None:
    kept, gone = values.artifact("1.0"), values.artifact("1.0", build="-1")
    both, one = values.release("1.0", gone, kept), values.release("1.0", kept)
    with store.write() as db:
        listings.record(db, [both], source="index", now=NOW)
        assert listings.record(db, [one], source="index", now=LATER).withdrawn == (gone,)
        assert listings.record(db, [one], source="index", now=LATER).withdrawn == ()
        assert artifacts.of_version(db, "xllamacpp", "1.0") == [kept, gone]
        assert artifacts.with_content(db, gone.sha256) == gone
        assert releases.all_of(db)[0].release.artifacts == (kept,)
        back = listings.record(db, [both], source="index", now=LATER)
        assert (back.new_artifacts, back.withdrawn) == ((), ())
        assert releases.all_of(db)[0].release.artifacts == (gone, kept)


def test_a_release_whose_files_are_all_gone_is_skipped_until_one_is_back(store: Store) -> None:
    others = [values.release("2.0")]
    with store.write() as db:
        listings.record(db, [values.release("1.0"), *others], source="index", now=NOW)
        releases.decide(db, "xllamacpp", "1.0", "stable", ReleaseState.PLANNED)
        listings.record(db, others, source="index", now=LATER)
        row = releases.all_of(db)[0]
        assert (row.state, row.reason) == (ReleaseState.SKIPPED, SkipReason.WITHDRAWN)
        listings.record(db, [values.release("1.0"), *others], source="index", now=LATER)
        row = releases.all_of(db)[0]
        assert (row.state, row.reason, row.detail) == (ReleaseState.SEEN, None, "")


def test_what_another_source_or_channel_lists_is_not_withdrawn(store: Store) -> None:
    stable, nightly = values.release("1.0"), values.release("1.1", channel="nightly")
    with store.write() as db:
        listings.record(db, [stable], source="index", now=NOW)
        listings.record(db, [nightly], source="index", now=NOW)
        assert listings.record(db, [values.release("3.0")], source="folder", now=NOW).withdrawn == ()
        assert listings.record(db, [], source="index", now=NOW).withdrawn == ()
        assert listings.record(db, [nightly], source="index", now=NOW).withdrawn == ()
        assert [row.state for row in releases.all_of(db)] == [ReleaseState.SEEN] * 3


def test_a_name_with_another_content_is_told_at_every_look_and_never_stored(store: Store) -> None:
    before, after = values.artifact("1.0"), values.artifact("1.0", sha256=values.sha("other"))
    with store.write() as db:
        listings.record(db, [values.release("1.0", before)], source="index", now=NOW)
        for _ in range(2):
            told = listings.record(db, [values.release("1.0", after)], source="index", now=LATER)
            assert told.changed == ((before.filename, before.sha256, after.sha256),)
            assert told.new_artifacts == ()
            assert artifacts.with_content(db, after.sha256) is None
            assert releases.all_of(db)[0].release.artifacts == ()
        assert listings.record(db, [values.release("1.0", before)], source="index", now=LATER).changed == ()


def test_a_yank_is_learnt_and_a_poorer_page_takes_nothing_away(store: Store) -> None:
    known = values.artifact("1.0", size=5, requires_python=">=3.11", uploaded_at=NOW)
    poorer = replace(known, size=None, requires_python=None, uploaded_at=None, yanked="broken")
    with store.write() as db:
        listings.record(db, [values.release("1.0", known)], source="index", now=NOW)
        listings.record(db, [values.release("1.0", poorer)], source="index", now=NOW)
        assert artifacts.with_content(db, known.sha256) == replace(known, yanked="broken")


def test_releases_are_listed_in_the_order_of_their_versions(store: Store) -> None:
    versions = ["0.10.0", "0.9.2", "0.9.0.1", "0.9.0rc1", "odd version", "0.9.0.post1"]
    with store.write() as db:
        listings.record(db, [values.release(version) for version in versions], source="index", now=NOW)
        assert [row.release.version for row in releases.all_of(db, "xllamacpp")] == [
            *("odd version", "0.9.0rc1", "0.9.0.post1", "0.9.0.1", "0.9.2", "0.10.0")
        ]
        assert releases.all_of(db, "vllm") == []


def test_what_was_planned_or_passed_over_stays_so_until_another_file_comes(store: Store) -> None:
    name = ("xllamacpp", "1.0", "stable")
    first, second = values.sha("first"), values.sha("second")

    def now_is() -> tuple[ReleaseState, SkipReason | None, str]:
        row = releases.all_of(db)[0]
        return row.state, row.reason, row.detail

    def policy_says(*decision: Any, sha256: str = first) -> None:
        releases.decide(db, *name, *decision, sha256=sha256, by_policy=True)

    with store.write() as db:
        listings.record(db, [values.release("1.0")], source="index", now=NOW)
        releases.decide(
            db, *name, ReleaseState.SKIPPED, SkipReason.COALESCED, "1.1 is newer \x00", sha256=first
        )
        passed_over = (ReleaseState.SKIPPED, SkipReason.COALESCED, "1.1 is newer \ufffd")
        policy_says(ReleaseState.AGED)
        assert now_is() == passed_over
        releases.decide(db, *name, ReleaseState.PLANNED, sha256=first)
        policy_says(ReleaseState.SETTLING, None, "old enough tomorrow")
        assert now_is() == (ReleaseState.PLANNED, None, "")
        policy_says(ReleaseState.AGED, sha256=second)
        assert now_is() == (ReleaseState.AGED, None, "")
        with pytest.raises(StoreError, match=r"9\.9"):
            releases.decide(db, "xllamacpp", "9.9", "stable", ReleaseState.AGED)


def test_what_was_yanked_and_comes_back_is_what_it_was(store: Store) -> None:
    name = ("xllamacpp", "1.0", "stable")
    run = values.planned(store)
    with store.write() as db:
        listings.record(db, [values.release("1.0"), values.release("1.1")], source="index", now=NOW)
        for version, sha256 in (("1.0", run.artifact_sha256), ("1.1", values.sha("never run"))):
            of = ("xllamacpp", version, "stable")
            releases.decide(db, *of, ReleaseState.PLANNED, sha256=sha256)
            releases.decide(
                db, *of, ReleaseState.SKIPPED, SkipReason.YANKED, "broken", sha256=sha256, by_policy=True
            )
            releases.decide(db, *of, ReleaseState.AGED, sha256=sha256, by_policy=True)
        states = {row.release.version: (row.state, row.reason) for row in releases.all_of(db)}
        assert states == {
            "1.0": (ReleaseState.PLANNED, None),
            "1.1": (ReleaseState.SKIPPED, SkipReason.COALESCED),
        }
        releases.forget_decision(db, *name)
        assert releases.all_of(db)[0].decided_sha256 is None


# ---------------------------------------------------------------------------------------------
# Environments, hosts, checks


def test_an_environment_comes_back_and_is_known_to_its_runs_when_its_files_are_gone(store: Store) -> None:
    built = values.environment(values.artifact())
    run = values.planned(store)
    with store.write() as db:
        environments.save(db, built)
        environments.save(db, replace(built, reused=True, built_at=LATER))
        runs.set_environment(db, run.id, built.key)
    with store.read() as db:
        assert environments.get(db, built.key) == built
        assert environments.all_of(db) == environments.of_artifact(db, built.artifact.sha256) == [built]
    with store.write() as db:
        environments.forget(db, built.key)
        assert environments.get(db, built.key) is None
        assert environments.all_of(db) == []
        assert environments.of_run(db, run.id) == built


def test_an_environment_built_anew_does_not_rewrite_what_earlier_runs_had(store: Store) -> None:
    before = values.environment(values.artifact(), Package("numpy", "2.3.5"))
    after = values.environment(values.artifact(), Package("numpy", "2.4.0"))
    run = values.planned(store)
    with store.write() as db:
        environments.save(db, before)
        runs.set_environment(db, run.id, before.key)
        environments.save(db, after)
        assert environments.get(db, before.key) == after
        assert environments.all_of(db) == [after]
        assert environments.of_run(db, run.id) == before


def test_a_host_and_a_check_come_back_as_they_were_last(store: Store) -> None:
    moved = replace(values.host(), boot_id="boot-2", gpu=None)
    renamed = values.check(title="another title")
    with store.write() as db:
        hosts.save(db, values.host(), now=NOW)
        assert hosts.get(db, "m1") == values.host()
        hosts.save(db, moved, now=LATER)
        assert hosts.get(db, "m1") == moved
        checks.save(db, values.check(), now=NOW)
        assert checks.get(db, "d1") == values.check()
        checks.save(db, renamed, now=LATER)
        assert checks.get(db, "d1") == renamed
        known = checks.known(db, "d1")
        assert known is not None
        assert json.loads(json.dumps(known))["workloads"][0]["prompts"][0]["id"] == "code-1"
        assert hosts.get(db, "m2") is checks.known(db, "d2") is None
