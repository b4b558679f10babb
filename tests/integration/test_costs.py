"""What a million tokens cost is told wherever somebody looks at a run, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import pipeline
from monitor.cli.run import document
from monitor.domain import Arm, Judgement, MessageType, Verdict
from monitor.pipeline import Station
from monitor.settings_tables import HostSettings
from monitor.store.queries import judgements, outbox
from monitor.web.facts.run import run_facts
from standins.service import Build, World

OLD, NEW = "2026.6.100", "2026.6.101"
PRICED = HostSettings(price_per_gpu_hour=3.6, currency="CHF")
ENERGY = HostSettings(price_per_kwh=0.3)
FULL_COST = 1000 / 50
"""CHF for a million tokens at 50 a second and 0.001 CHF a second."""


def live(folder: Path, owner: HostSettings) -> Iterator[Station]:
    """Measure a good release and one whose steps take longer."""
    world = World(folder)
    with world.station(host=owner) as station:
        for version, build in ((OLD, Build(baseline_rate=50)), (NEW, Build(step_time_s=0.03))):
            world.release(version, build)
            pipeline.cycle(station)
            world.wait(hours=1)
        yield station


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Station]:
    yield from live(tmp_path, PRICED)


def verdict_on(station: Station) -> Judgement:
    with station.store.read() as db:
        found = judgements.get(db, 2)
    assert found is not None
    return found


def test_the_api_and_the_command_say_what_both_arms_cost_before_and_now(priced: Station) -> None:
    told = run_facts(priced, 2).cost_of_a_million_tokens
    assert told is not None
    assert told.currency == "CHF"
    rows = {row.arm: row for row in told.arms}
    assert rows[Arm.BASELINE].candidate == pytest.approx(FULL_COST, rel=0.02)
    mtp = rows[Arm.MTP]
    assert mtp.reference is not None
    assert mtp.candidate is not None
    # Steps of 30 ms for 25: what MTP saves costs a fifth more.
    assert mtp.candidate / mtp.reference == pytest.approx(1.2, rel=0.02)
    run = run_facts(priced, 2).run
    outcome = pipeline.run(
        priced, pipeline.RunRequest(run.check, f"{run.project}=={run.version}@{run.artifact_sha256}")
    )
    assert document(outcome, told)["cost_of_a_million_tokens"]["arms"][1]["arm"] == "mtp"


def test_a_message_has_it_as_a_fact_that_did_not_move(priced: Station) -> None:
    with priced.store.read() as db:
        (opened,) = [m.data for m in outbox.messages(db) if m.type is MessageType.INCIDENT_OPENED]
    (fact,) = [fact for fact in opened["incidents"][0]["facts"] if fact["about"] == "cost"]
    assert not fact["moved"]
    assert "CHF with MTP" in fact["text"]
    assert "CHF without MTP" in fact["text"]


def test_without_a_price_nothing_is_said_and_the_verdict_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = []
    for owner in (HostSettings(), PRICED):
        for station in live(tmp_path_factory.mktemp("world"), owner):
            found.append(verdict_on(station))
            told = run_facts(station, 2).cost_of_a_million_tokens
            with station.store.read() as db:
                messages = [m.data for m in outbox.messages(db) if m.type is MessageType.INCIDENT_OPENED]
            facts = [fact["about"] for fact in messages[0]["incidents"][0]["facts"]]
            assert (told is None, "cost" in facts) == (owner is not PRICED, owner is PRICED)
    assert found[0] == found[1]
    assert found[0].verdict is Verdict.REGRESSED


def test_energy_that_was_not_measured_is_not_guessed(tmp_path: Path) -> None:
    for station in live(tmp_path, ENERGY):
        assert run_facts(station, 2).cost_of_a_million_tokens is None
