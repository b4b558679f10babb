"""Ten builds of llama.cpp from five months, measured as one history by one command."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from monitor.domain import Arm, Channel, Judgement, Metric, Role, RunState, Sample, Verdict
from monitor.settings import load
from monitor.store import Store, Subject
from monitor.store.queries import judgements, runs, sessions
from standins.builds import MTP_BUILDS
from tests.acceptance.command import House

CONFIGURATION = f"""
[[sources]]
project = "xllamacpp"
settle_minutes = 0
backfill = {len(MTP_BUILDS) - 1}
versions = "<={MTP_BUILDS[-1]}"

[[assignments]]
project = "xllamacpp"
checks = ["synthetic-qwen35-tiny"]
"""
ONCE_S = 1800


@dataclass(frozen=True)
class Measured:
    """One build of the history."""

    version: str
    state: RunState
    samples: tuple[Sample, ...]
    judgement: Judgement

    @property
    def counts(self) -> set[tuple[object, ...]]:
        """What the mtp arm counted: one row a prompt, however many sessions."""
        return {
            (s.prompt, s.n, s.n_first, s.prompt_tokens, s.drafted, s.accepted, s.steps, s.token_ids)
            for s in self.samples
            if s.arm is Arm.MTP
        }

    def overall(self, metric: Metric) -> Verdict | None:
        found = [e for e in self.judgement.effects if e.metric is metric and e.workload == "all"]
        return found[0].verdict if found else None


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    """Let one command discover, install, measure and judge all of them, oldest first."""
    house = House(tmp_path_factory.mktemp("history"))
    (house.folder / "mtp-monitor.toml").write_text(CONFIGURATION, encoding="utf-8")
    process = house.start("watch", "--once")
    try:
        out, err = process.communicate(timeout=ONCE_S)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, f"{out}\n{err}"
    settings = load(house.folder / "mtp-monitor.toml")
    with Store.open(settings.database_url) as store, store.read() as db:
        found = []
        for run in sorted(runs.recent(db, 100), key=lambda run: run.id):
            stored = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
            judged = judgements.get(db, run.id)
            assert stored is not None
            assert judged is not None
            found.append(Measured(run.version, run.state, tuple(stored.samples), judged))
    return found


def test_one_command_measures_every_build_that_has_mtp_from_the_oldest_on(history: list[Measured]) -> None:
    assert tuple(one.version for one in history) == MTP_BUILDS
    # On a machine that is busy with other things, times alone can make a run invalid; its counts are there.
    assert {one.state for one in history} <= {RunState.DONE, RunState.INVALID}
    assert history[0].judgement.reference is None
    assert all(one.judgement.reference is not None for one in history[1:])


def test_what_is_drafted_accepted_and_said_is_the_same_to_the_token_in_all_ten(
    history: list[Measured],
) -> None:
    first = history[0].counts
    assert {drafted > accepted > 0 for *_, drafted, accepted, _, _ in first} == {True}
    for one in history:
        assert one.counts == first, one.version


def test_acceptance_is_called_unchanged_and_nothing_else_is_claimed_of_it(history: list[Measured]) -> None:
    judged = [one for one in history[1:] if one.state is RunState.DONE]
    assert judged
    for one in judged:
        for metric in (Metric.ACCEPTANCE_RATE, Metric.ACCEPTANCE_LENGTH):
            assert one.overall(metric) is Verdict.UNCHANGED, (one.version, metric)
        exact = {e.metric for e in one.judgement.effects if e.channel is Channel.EXACT}
        assert Metric.ACCEPTANCE_LENGTH in exact


def test_a_verdict_other_than_unchanged_rests_on_times_alone(history: list[Measured]) -> None:
    """A build may really be faster or slower than the one before: then that is said, and of times only."""
    for one in history[1:]:
        moved = {
            e.metric
            for e in one.judgement.effects
            if e.gates and e.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}
        }
        assert moved <= {Metric.STEP_TIME, Metric.BASELINE_RATE, Metric.TTFT_BASELINE, Metric.TTFT_MTP}
        if one.judgement.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}:
            assert moved, one.judgement.headline
