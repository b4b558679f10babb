"""Attach: servers that somebody else runs are noticed when they change, and measured like a release."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import Arm, Artifact, ReleaseState, Role, RunState, SkipReason, Verdict, is_attached
from monitor.errors import AttachedChangedError, SourceError, UnknownNameError
from monitor.pipeline import RunOutcome, RunRequest, Station
from monitor.settings import Settings
from monitor.steps import provision, station
from monitor.steps.upstream import upstream
from monitor.store import Subject
from monitor.store.queries import environments, queue, runs, sessions
from monitor.store.queries.runs import Run
from standins.index import IndexServer
from standins.owner import SERVER, Owner
from standins.wheels import wheel

COMMANDS = {
    "baseline_command": [sys.executable, "-u", SERVER, "does-not-draft", "{port}"],
    "mtp_command": [sys.executable, "-u", SERVER, "none", "{port}"],
    "protocol": "llama.cpp",
}


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    with Owner(tmp_path) as owner:
        yield owner


def opened(owner: Owner, source: Mapping[str, Any] | None = None, **check: Any) -> Station:
    return Station.open(owner.settings(source, **check))


def current(station: Station) -> Artifact:
    """Look, and return the artifact of what runs now."""
    (poll,) = pipeline.discover(station)
    assert poll.error is None, poll.error
    (row,) = [row for row in pipeline.listing(station) if row.release.artifacts]
    assert row.state in {ReleaseState.AGED, ReleaseState.PLANNED}
    assert row.release.channel == "attached"
    return row.release.artifacts[0]


def refused(station: Station) -> SourceError:
    (poll,) = pipeline.discover(station)
    assert poll.error is not None
    return poll.error


def run(station: Station, artifact: Artifact) -> RunOutcome:
    release = f"{artifact.project}=={artifact.version}"
    return pipeline.run(station, RunRequest(check="mine", release=release, confirm=False))


def waiting(station: Station) -> list[Run]:
    with station.store.read() as db:
        return queue.waiting(db, station.host.machine_id)


def test_servers_that_run_already_are_measured_and_an_upgrade_is_a_release_of_its_own(owner: Owner) -> None:
    with opened(owner) as station:
        first = current(station)
        assert first.version.startswith("9300+attached.")
        assert is_attached(first)
        outcome = run(station, first)
        assert outcome.run.state is RunState.DONE, outcome.run.reason
        with station.store.read() as db:
            stored = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.SCREEN)
            environment = environments.get(db, outcome.run.environment_key or "")
        assert stored is not None
        assert {session.arm for session in stored.sessions} == {Arm.BASELINE, Arm.MTP}
        assert all((session.effective or {})["build_info"] == "b9300-aaaaaaa" for session in stored.sessions)
        assert environment is not None
        assert [(package.name, package.version) for package in environment.packages] == [
            ("llama.cpp", "b9300-aaaaaaa")
        ]
        assert current(station) == first
        assert run(station, first).reused

        owner.start("b9400-bbbbbbb")
        second = current(station)
        assert second.version.startswith("9400+attached.")
        again = run(station, second)
        assert again.run.id != outcome.run.id
        assert again.run.reference_run_id == outcome.run.id
        old = {row.release.version: row for row in pipeline.listing(station)}[first.version]
        assert (old.state, old.reason) == (ReleaseState.SKIPPED, SkipReason.WITHDRAWN)

        owner.start("b9300-aaaaaaa")
        assert current(station) == first
        assert run(station, first).reused


def test_a_package_that_changes_is_a_release_of_the_same_version(owner: Owner) -> None:
    python = owner.python()
    owner.install("torch", "2.13.0")
    with opened(owner, {"python": str(python)}) as station:
        first = current(station)
        owner.install("torch", "2.14.0")
        second = current(station)
        assert first.version.partition("+")[0] == second.version.partition("+")[0] == "9300"
        assert first.sha256 != second.sha256
        environment = provision.provision(station, second)
        assert ("torch", "2.14.0") in {(package.name, package.version) for package in environment.packages}
        with pytest.raises(AttachedChangedError, match="has changed meanwhile"):
            provision.provision(station, first)


@pytest.mark.parametrize(
    "change", [{"model": "/models/two.gguf"}, {"build": "b9300-ccccccc"}], ids=["model", "commit"]
)
def test_another_model_or_commit_is_another_release(owner: Owner, change: dict[str, str]) -> None:
    with opened(owner) as station:
        first = current(station)
        owner.start(**{"build": "b9300-aaaaaaa", **change})
        assert current(station).sha256 != first.sha256


def test_servers_that_are_down_are_an_error_and_take_nothing_back(owner: Owner) -> None:
    with opened(owner) as station:
        first = current(station)
        owner.stop()
        assert "does not answer" in refused(station).what
        (row,) = pipeline.listing(station)
        assert row.release.artifacts == (first,)
        owner.start("b9300-aaaaaaa")
        assert current(station) == first


def test_arms_of_two_builds_are_measured_by_nobody(owner: Owner) -> None:
    with opened(owner) as station:
        current(station)
        owner.start("b9400-bbbbbbb", behind="b9300-aaaaaaa")
        error = refused(station)
        assert "is not one version" in error.what
        assert "b9300-aaaaaaa" in error.what
        assert not error.permanent


def test_an_upgrade_inside_a_measurement_leaves_nothing_that_is_half_old(owner: Owner) -> None:
    class Upgrading(station.Silent):
        def session(self, text: str, done: int, total: int) -> None:
            if done == 1:
                owner.start("b9400-bbbbbbb")

    with opened(owner) as opened_station:
        opened_station.progress = Upgrading()
        first = current(opened_station)
        with pytest.raises(AttachedChangedError, match=r"9400\+attached"):
            run(opened_station, first)
        with opened_station.store.read() as db:
            stored = sessions.load(db, 1, Subject.CANDIDATE, Role.SCREEN)
            cut = runs.get(db, 1)
        assert stored is not None
        assert len(stored.sessions) == 1
        assert cut is not None
        assert (cut.state, cut.channel) == (RunState.CANCELLED, "attached")


def test_what_was_called_off_is_measured_after_all_when_it_comes_back(owner: Owner) -> None:
    with opened(owner) as station:
        pipeline.look(station)
        (planned,) = waiting(station)
        owner.start("b9400-bbbbbbb")
        pipeline.look(station)
        (newer,) = waiting(station)
        assert newer.version.startswith("9400+")
        owner.start("b9300-aaaaaaa")
        pipeline.look(station)
        (again,) = waiting(station)
        assert again.version == planned.version
        assert pipeline.work(station) == 1
        assert waiting(station) == []
        assert run(station, current(station)).reused


def test_a_loss_is_confirmed_by_fresh_sessions_alone_and_says_so(owner: Owner) -> None:
    with opened(owner) as station:
        run(station, current(station))
        owner.start("b9400-bbbbbbb", drafts=False)
        artifact = current(station)
        release = f"llama.cpp=={artifact.version}"
        outcome = pipeline.run(station, RunRequest(check="mine", release=release))
        assert outcome.run.state is RunState.DONE
        assert outcome.judgement is not None
        assert (outcome.judgement.verdict, outcome.judgement.confirmed) == (Verdict.REGRESSED, True)
        assert "what ran before could not be measured again" in outcome.judgement.headline
        assert "alternating" not in outcome.judgement.headline
        pipeline.announce(station)
        text = upstream(station, 1)
        assert "installed and started by their owner, so there are no commands here" in text.body
        assert (text.script, text.expected) == ("", ())
        assert "in turns" not in text.body
        assert "could not be measured again beside it" in text.body
        with station.store.read() as db:
            fresh = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.CONFIRM)
            assert sessions.load(db, outcome.run.id, Subject.REFERENCE, Role.CONFIRM) is None
        assert fresh is not None


def test_after_a_change_of_the_machine_it_is_compared_with_what_ran_before_that(owner: Owner) -> None:
    with opened(owner) as station:
        first = run(station, current(station))
        station.host = replace(station.host, kernel="another")
        owner.start("b9400-bbbbbbb")
        second = run(station, current(station))
        assert second.run.epoch_id != first.run.epoch_id
        assert second.run.reference_run_id == first.run.id


def test_servers_that_end_inside_a_measurement_are_not_held_against_the_release(owner: Owner) -> None:
    class Stopping(station.Silent):
        def session(self, text: str, done: int, total: int) -> None:
            if done == 1:
                owner.stop()

    check = owner.folder / "checks" / "mine.toml"
    settings = owner.settings()
    check.write_text(check.read_text().replace("start_timeout_s = 30", "start_timeout_s = 0.5"))
    with Station.open(settings) as opened_station:
        opened_station.progress = Stopping()
        with pytest.raises(SourceError, match="does not answer"):
            run(opened_station, current(opened_station))


def test_servers_that_a_command_starts_are_measured_and_end_with_their_session(owner: Owner) -> None:
    owner.stop()
    version = {"version_command": ["/bin/sh", "-c", "echo 'version: 9500 (abcdef0)' >&2"]}
    image = {"image_command": ["/bin/echo", "sha256:77"]}
    with opened(owner, {**version, **image}, engine="command", serve=COMMANDS) as station:
        artifact = current(station)
        assert artifact.version.startswith("9500+attached.")
        outcome = run(station, artifact)
        assert outcome.run.state is RunState.DONE, outcome.run.reason
        with station.store.read() as db:
            stored = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.SCREEN)
            environment = environments.get(db, outcome.run.environment_key or "")
        assert stored is not None
        assert all(session.startup_s is not None for session in stored.sessions)
        assert environment is not None
        assert [package.version for package in environment.packages] == [
            "version: 9500 (abcdef0)",
            "sha256:77",
        ]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/nowhere/llama-server", "--version"], "no such program"),
        (["/bin/sh", "-c", "echo broken >&2; exit 3"], "ended with 3: broken"),
        (["/bin/true"], "printed nothing"),
        (["/bin/echo", "good morning"], "No version can be read"),
    ],
)
def test_a_command_that_tells_no_version_is_named(owner: Owner, command: list[str], expected: str) -> None:
    with opened(owner, {"version_command": command}) as station:
        assert expected in refused(station).what


def test_what_is_attached_and_what_an_index_lists_are_streams_of_their_own(owner: Owner) -> None:
    with IndexServer() as index:
        index.add("llama.cpp", *wheel("llama_cpp", "9200"))
        listed = {"project": "llama.cpp", "index_url": index.url, "settle_minutes": 0}
        settings = owner.settings()
        both = Settings.model_validate(
            settings.model_dump(exclude={"sources"}) | {"sources": [listed, settings.sources[0]]}
        )
        with Station.open(both) as station:
            for build in ("b9300-aaaaaaa", "b9400-bbbbbbb"):
                owner.start(build)
                assert [poll.error for poll in pipeline.discover(station)] == [None, None]
            states = {
                (row.release.channel, row.release.version.partition("+")[0]): row.reason
                for row in pipeline.listing(station)
            }
            assert states == {
                ("stable", "9200"): None,
                ("attached", "9300"): SkipReason.WITHDRAWN,
                ("attached", "9400"): None,
            }
            (running,) = [
                row.release.artifacts[0]
                for row in pipeline.listing(station)
                if row.release.channel == "attached" and row.release.artifacts
            ]
            assert provision.provision(station, running).artifact == running
            # Its numbers would be those of the owner's servers, told of a release that was never started.
            with pytest.raises(UnknownNameError, match="cannot measure"):
                pipeline.run(station, RunRequest(check="mine", release="llama.cpp==9200"))
            assert [item.version for item in pipeline.plan_news(station)] == [running.version]
