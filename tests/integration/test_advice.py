"""What is advised in a station with a past: every exclusion, and what people are told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from monitor.alerts.actions import IncidentActions
from monitor.domain import Exclusion, MessageType, Worth
from monitor.pipeline import Station
from monitor.steps.advise import advise_all
from monitor.store.models import StoredArtifact
from monitor.store.queries import outbox
from monitor.views.advice import Advised, said
from standins.service import CHECK, Build, World, check, cycle


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.release("2026.6.1")
    return made


def advised(station: Station) -> Advised:
    with station.store.read() as db:
        return said(advise_all(station, db, CHECK)[0])


def why(found: Advised) -> dict[str, Exclusion | None]:
    return {release.version: release.exclusion for release in found.excluded}


def test_bad_releases_are_excluded_with_their_reason_and_the_newest_good_is_run(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        for version, build in (
            ("2026.6.2", Build()),
            ("2026.6.3", Build(accepted_share=0.4)),
            ("2026.6.4", Build(fault="start")),
        ):
            world.release(version, build)
            cycle(station, world)
        found = advised(station)

    assert found.to_run is not None
    assert found.to_run.version == found.last_good.version == "2026.6.2"  # type: ignore[union-attr]
    assert why(found) == {"2026.6.3": Exclusion.REGRESSED, "2026.6.4": Exclusion.FAILED}
    assert found.worth is Worth.PAYS
    assert found.summary == "Run xllamacpp 2026.6.2 with MTP."
    assert any(reason.startswith("2026.6.4 is newer, but does not run") for reason in found.reasons)


def test_a_release_that_its_source_took_back_is_not_advised(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        gone = world.release("2026.6.2")
        cycle(station, world)
        yanked = world.release("2026.6.3")
        cycle(station, world)
        world.yank(gone)
        cycle(station, world)
        with station.store.write() as db:
            row = db.exec(select(StoredArtifact).where(StoredArtifact.sha256 == yanked.sha256)).one()
            row.yanked = "broken on some machines"
            db.add(row)
        found = advised(station)

    assert found.to_run is not None
    assert found.to_run.version == "2026.6.1"
    assert why(found) == {"2026.6.3": Exclusion.YANKED, "2026.6.2": Exclusion.WITHDRAWN}
    assert found.excluded[0].detail == "broken on some machines"


def test_a_good_run_among_the_releases_of_an_open_incident_is_not_advised(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        for version in ("2026.6.2", "2026.6.4"):
            world.release(version, Build(accepted_share=0.4))
            cycle(station, world)
        world.release("2026.6.3")
        cycle(station, world)
        found = advised(station)
        assert why(found)["2026.6.3"] is Exclusion.INCIDENT
        IncidentActions(station).resolve(found.excluded[1].incident_id or 0, "Ada", "dealt with")
        assert advised(station).to_run.version == "2026.6.3"  # type: ignore[union-attr]


def test_where_mtp_costs_more_than_it_gains_the_advice_is_to_switch_it_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release("2026.6.1", Build(step_time_s=0.09))
    with world.station() as station:
        cycle(station, world)
        found = advised(station)

    assert found.worth is Worth.COSTS
    assert found.summary == "Run xllamacpp 2026.6.1 with MTP switched off."
    assert any("Switch it off" in reason for reason in found.reasons)


def test_an_older_release_that_is_truly_faster_is_advised_over_the_newest_good_one(tmp_path: Path) -> None:
    """The check tolerates 10 % a release, and three such steps are more than it tolerates.

    Of the two that are faster than the newest the newer is taken: it is not told apart from the fastest mean.
    """
    loose = check()
    loose = replace(loose, judging=loose.judging | {"floor_rate": 0.1})
    world = World(tmp_path, checks=(loose,))
    world.release("2026.6.1")
    with world.station() as station:
        cycle(station, world)
        for version, step in (("2026.6.2", 0.0263), ("2026.6.3", 0.0276), ("2026.6.4", 0.0290)):
            world.release(version, Build(step_time_s=step))
            cycle(station, world)
        found = advised(station)

    assert (found.last_good.version, found.fastest.version) == ("2026.6.4", "2026.6.2")  # type: ignore[union-attr]
    assert found.to_run == found.fastest
    assert "2026.6.2 is faster than 2026.6.4, the newest good release, beyond chance" in found.reasons[0]


def test_an_incidents_message_says_what_to_run_meanwhile(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.6.2", Build(accepted_share=0.4))
        cycle(station, world)
        with station.store.read() as db:
            told = [item for item in outbox.messages(db) if item.type is MessageType.INCIDENT_OPENED]

    to_run = told[0].data["incidents"][0]["to_run"]
    assert to_run["version"] == "2026.6.1"
    assert to_run["mtp"] == "pays"
    assert to_run["text"].startswith("Run xllamacpp 2026.6.1 with MTP.")
