"""A search that goes on to single commits: between two stable releases of vLLM, 40 commits apart.

GitHub and the place of the wheels are stand-ins, and their wheels are made here; everything between those
edges is the real thing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from monitor import orders, pipeline
from monitor.cli import app
from monitor.domain import Answer, Bisection, BisectionState, ReleaseState, SkipReason, Tier
from monitor.errors import ArtifactChangedError
from monitor.settings import BisectSettings
from monitor.settings_tables import SourceSettings
from monitor.steps import single_commits
from monitor.steps.station import Station
from monitor.store.queries import bisections, runs
from monitor.web.facts.bisections import bisection_facts
from standins.commit_place import VARIANT, CommitPlace
from standins.github import GithubServer
from standins.github_documents import REPOSITORY, sha_of
from standins.github_exchange import Fault
from standins.searches import BROKEN, GOOD, WORSE_HEAD
from standins.service import CHECK, World, check
from standins.web import Recorder
from standins.web_reading import client_of

GOOD_END, BAD_END = "0.32.0", "0.33.0"
SHARED, LAST = 60, 100
"""The commit that both branches have, and the bad end's own: 40 lie after the one, up to the other."""
_SHORT = {"blocks_min": 2, "blocks_max": 2, "blocks_reference": 2, "confirm_blocks_max": 2}
_ENDS = ("--good", GOOD_END, "--bad", BAD_END)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class House:
    """vLLM's releases and commits, and a monitor that follows both."""

    world: World
    github: GithubServer
    place: CommitPlace
    first_bad: int
    lacking: frozenset[int] = frozenset()
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.github.tags = {"v0.32.0": SHARED + 4, "v0.33.0": LAST}
        self.github.branched = {"v0.32.0": SHARED}
        for number in range(SHARED, LAST + 1):
            if number not in self.lacking:
                self.build(number, WORSE_HEAD if number >= self.first_bad else GOOD)
        self.world.release(GOOD_END, GOOD)
        self.world.release(BAD_END, WORSE_HEAD)

    def build(self, number: int, build: Any) -> None:
        self.place.keep(sha_of(number), number - SHARED + 20, base="0.32.1rc1")
        self.world.builds[self.place.sha256_of(sha_of(number))] = build

    @contextmanager
    def station(self, **changes: Any) -> Iterator[Station]:
        sources = (
            SourceSettings(project="vllm", repository=REPOSITORY, settle_minutes=0),
            SourceSettings(
                project="vllm",
                kind="commit-wheels",
                channel="nightly",
                variant=VARIANT,
                wheels_url=self.place.address,
                include_prereleases=True,
            ),
        )
        known = {"sources": sources, "github": self.github.settings()}
        with self.world.station(**known | self.settings | changes) as station:
            yield station

    def begun(self, station: Station, bad: str = BAD_END) -> Bisection:
        pipeline.discover(station, "vllm")
        return orders.bisect(station, CHECK, "vllm", GOOD_END, bad, tier=Tier.QUICK)

    def found(self, station: Station) -> Bisection:
        search = self.begun(station)
        for now in orders.searched(station, search.id):
            search = now
        return search

    def version(self, number: int) -> str:
        return f"0.32.1rc1.dev{number - SHARED + 20}+g{sha_of(number)[:9]}.{VARIANT}"


@contextmanager
def house(folder: Path, first_bad: int, *, lacking: Any = (), **settings: Any) -> Iterator[House]:
    world = World(folder, project="vllm", checks=(check(judging=_SHORT, projects=("vllm",)),))
    with GithubServer(world.clock) as github, CommitPlace() as place:
        place.files[f"/nightly/{VARIANT}/vllm/metadata.json"] = b"[]"
        yield House(world, github, place, first_bad, frozenset(lacking), settings)


def as_it_stands(station: Station) -> Bisection:
    with station.store.read() as db:
        (search,) = bisections.listed(db)
    return search


def commits_of(search: Bisection) -> list[int]:
    numbers = {sha_of(number): number for number in range(SHARED, LAST + 1)}
    return [numbers[visit.commit] for visit in search.visits if visit.commit is not None]


def ask(station: Station, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    monkeypatch.setattr(Station, "open", lambda *_: nullcontext(station))
    arguments = ("bisect", CHECK, *_ENDS, "--project", "vllm", *options)
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)


# ---------------------------------------------------------------------------------------------
# What is found


def test_the_commit_between_two_stable_releases_is_named_through_gaps_and_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_bad = 87
    gaps = {80, 79, 81, 82, 85, 90, 91, 95}
    with house(tmp_path, first_bad, lacking=gaps) as home:
        with home.station() as station:
            home.begun(station)
            with monkeypatch.context() as patch:
                patch.setattr(bisections, "insert", killed)
                with pytest.raises(Killed):
                    home.found(station)
            # It had read one wheel, and nothing of it has come in by halves.
            assert len(home.place.read()) == 1
            assert commits_of(as_it_stands(station)) == []
            assert {row.release.version for row in pipeline.listing(station)} == {GOOD_END, BAD_END}
        with home.station() as station:
            search = home.found(station)
            assert search.state is BisectionState.FOUND
            assert search.reason == (
                f"vllm {home.version(87)} is the first release with the loss; {home.version(86)}, right "
                f"before it, does not have it. So commit {sha_of(87)[:9]} brought it."
            )
            read = home.place.read()
            visited = commits_of(search)
            assert sorted(read) == sorted(sha_of(number) for number in visited), (
                "each wheel once, none in vain"
            )
            assert len(read) <= math.ceil(math.log2(LAST - SHARED + 1))
            assert visited == sorted(visited)
            assert not gaps.intersection(visited)
            # GitHub was asked for the commits once, by the one page they take.
            assert len(home.github.asked("compare")) == 1
            with station.store.read() as db:
                made = [run.version for run in runs.recent(db) if run.requested_by == "bisection"]
            assert len(made) == len(visited) + 1, "the bad end, and each commit once"


def killed(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize("first_bad", [61, 100])
def test_the_first_and_the_last_commit_are_found_too(tmp_path: Path, first_bad: int) -> None:
    with house(tmp_path, first_bad) as home, home.station() as station:
        search = home.found(station)
    assert search.state is BisectionState.FOUND
    assert search.reason.endswith(f"So commit {sha_of(first_bad)[:9]} brought it.")


def test_a_loss_that_is_older_than_the_good_release_s_own_branch_is_told_as_such(tmp_path: Path) -> None:
    with house(tmp_path, SHARED) as home, home.station() as station:
        search = home.found(station)
    assert (search.last_good.version, search.first_bad.version) == (GOOD_END, home.version(SHARED))
    assert "where their branches part" in search.reason
    assert "brought it" not in search.reason


def test_commits_that_do_not_start_are_skipped_for_their_neighbours(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        for middle in (79, 80):
            home.build(middle, BROKEN)
        search = home.found(station)
    answers = {visit.commit: visit.answer for visit in search.visits}
    assert [answers[sha_of(number)] for number in (78, 79, 80)] == [
        Answer.GOOD,
        Answer.SKIPPED,
        Answer.SKIPPED,
    ]
    assert commits_of(search) == sorted(commits_of(search)), "as they were made"
    assert (search.state, search.first_bad.version) == (BisectionState.FOUND, home.version(84))


def test_commits_that_all_say_nothing_end_it_after_a_few(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        for number in range(SHARED, LAST + 1):
            home.build(number, BROKEN)
        search = home.found(station)
    assert search.state is BisectionState.NARROWED
    assert len(commits_of(search)) == single_commits.MOST_SILENT == len(home.place.read())
    assert "One of 40 commits brought it" in search.reason


def test_where_no_commit_has_a_wheel_it_ends_as_it_did_and_names_the_commits(tmp_path: Path) -> None:
    with house(tmp_path, 84, lacking=range(SHARED, LAST)) as home, home.station() as station:
        search = home.found(station)
    assert search.state is BisectionState.FOUND
    named = ", ".join(sha_of(number)[:9] for number in range(61, 66))
    assert search.reason == (
        f"vllm {BAD_END} is the first release with the loss; {GOOD_END}, before it, does not have it. One of "
        f"40 commits brought it, which no wheel that was found tells apart: {named} and 35 more."
    )
    assert len(home.place.looked_up()) == 1 + single_commits.MOST_LOOKED_AT


def test_a_commit_is_no_news_and_stays_known_to_later_looks(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        search = home.found(station)
        visited = {visit.version for visit in search.visits if visit.commit}
        home.place.publish("f" * 40, 99)
        home.world.wait(days=2)
        before = len(home.world.sessions)
        pipeline.cycle(station)
        # The newest commit is measured; what was read for the search is history.
        measured = {version for version, _ in home.world.sessions[before:]}
        assert measured == {GOOD_END, BAD_END, "0.33.1.dev99+gfffffffff.cpu"}
        rows = {row.release.version: row for row in pipeline.listing(station)}
        for version in visited:
            assert (rows[version].state, rows[version].reason) == (ReleaseState.SKIPPED, SkipReason.COALESCED)
            assert rows[version].detail == f"read for bisection {search.id} only"
        assert len(home.place.read()) == len(visited) + 1


# ---------------------------------------------------------------------------------------------
# Where it is not done


@pytest.mark.parametrize("off", ["setting", "no source", "a ref that is not known"])
def test_without_commits_it_ends_between_two_releases(tmp_path: Path, off: str) -> None:
    with house(tmp_path, 84) as home:
        if off == "setting":
            home.settings["bisect"] = BisectSettings(commits=False)
        elif off == "no source":
            home.settings["sources"] = (SourceSettings(project="vllm", settle_minutes=0),)
        else:
            del home.github.tags["v0.32.0"]
        with home.station() as station:
            search = home.found(station)
    assert (search.state, search.reason) == (
        BisectionState.FOUND,
        f"vllm {BAD_END} is the first release with the loss; {GOOD_END}, right before it, does not have it.",
    )
    assert home.place.read() == []


# ---------------------------------------------------------------------------------------------
# While somebody does not answer


@pytest.mark.parametrize("who", ["GitHub", "the place of the wheels"])
def test_it_waits_for_whom_it_asks_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        home.begun(station)
        if who == "GitHub":
            home.github.faults = [Fault.SECONDARY] * 9
        else:
            home.place.faults = [503] * 9
        pipeline.work(station)
        now = as_it_stands(station)
        assert (now.state, now.first_bad.version) == (BisectionState.RUNNING, BAD_END)
        assert now.reason
        shown = bisection_facts(station, now).standing
        assert f"It waits: {now.reason}" in shown
        # The service asks again after ten minutes, not at every tick.
        asked = len(home.place.asked) + len(home.github.requests)
        assert not pipeline.is_work_due(station)
        pipeline.work(station)
        assert len(home.place.asked) + len(home.github.requests) == asked

        told = ask(station, monkeypatch)
        assert told.exit_code == 1
        assert "needs the commits between 0.32.0 and 0.33.0, and waits:" in told.output
        assert "ends it without them" in told.output

        home.github.faults, home.place.faults = [], []
        home.world.wait(hours=2)
        assert pipeline.is_work_due(station)
        pipeline.work(station)
        now = as_it_stands(station)
        assert (now.state, now.first_bad.version) == (BisectionState.FOUND, home.version(84))


def test_the_service_reads_as_part_of_its_work_and_not_while_it_looks_for_some(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        home.begun(station)
        home.github.faults = [Fault.SECONDARY]
        pipeline.work(station)
        home.world.wait(hours=1)
        assert pipeline.is_work_due(station)
        assert len(home.github.asked("compare")) == 1
        assert home.place.read() == []
        # Whoever asks for it beside the service leaves the reading to that.
        with station.on_duty("a service"):
            assert home.begun(station).state is BisectionState.RUNNING
        assert home.place.read() == []
        pipeline.work(station)
        assert as_it_stands(station).state is BisectionState.FOUND


def test_a_wheel_that_was_replaced_is_told_and_not_installed(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        search = home.begun(station)
        home.place.publish(sha_of(79), 39, base="0.32.1rc1")
        pipeline.discover(station)
        for memory in station.settings.sources_dir.glob("commit-wheels-*.json"):
            memory.unlink()
        for path in home.place.files:
            if path.startswith(f"/{sha_of(79)}/vllm-"):
                home.place.files[path] += b"something else"
        with pytest.raises(ArtifactChangedError, match="when it was first seen"):
            list(orders.searched(station, search.id))
        search = as_it_stands(station)
        assert (search.state, commits_of(search)) == (BisectionState.RUNNING, [])
        assert {version for version, _ in home.world.sessions} == {GOOD_END, BAD_END}


# ---------------------------------------------------------------------------------------------
# What is shown


def test_the_terminal_and_scripts_are_told_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        told = ask(station, monkeypatch)
        assert told.exit_code == 0, told.output
        words = " ".join(told.stdout.split())
        assert f"So commit {sha_of(84)[:9]} brought it." in words
        assert f"{sha_of(83)[:9]}..{sha_of(84)[:9]}" in words
        table = [line for line in told.stdout.splitlines() if line.startswith(("│", "┃"))]
        assert {len(line) for line in table} == {80}
        assert any(home.version(84) in line for line in table), "whole"
        document = json.loads(ask(station, monkeypatch, "--json").stdout)
        assert document["commits"]["range"] == f"{sha_of(83)[:9]}..{sha_of(84)[:9]}"
        (first,) = [item for item in document["releases"] if item["version"] == document["first_bad"]]
        assert first["commit"] == sha_of(84)
        page = client_of(station, Recorder()).get("/bisections/1").text
        assert f'title="{sha_of(84)}">commit</span>' in page
        assert f"So commit {sha_of(84)[:9]} brought it." in page
        facts = bisection_facts(station, as_it_stands(station))
        assert [line.commit for line in facts.releases if line.version == facts.first_bad] == [sha_of(84)]


def test_how_many_commits_are_left_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    with house(tmp_path, 84) as home, home.station() as station:
        search = home.begun(station)
        shown = [bisection_facts(station, now) for now in orders.searched(station, search.id)]
        left = [
            facts.steps_left for facts in shown if "commit" in facts.standing and facts.state == "running"
        ]
        assert left == sorted(left, reverse=True)
        assert left[0] == math.ceil(math.log2(LAST - SHARED + 1))
        begin = next(facts for facts in shown if "commits between" in facts.standing)
        assert (
            f"good up to {GOOD_END}, bad from {BAD_END}; 40 commits between, about 6 steps" in begin.standing
        )
