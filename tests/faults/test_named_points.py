"""kill -9 at every named point of a cycle: the next cycles end where one that nobody disturbed would have."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from fault_points import POINTS
from killing import Yard, is_whole

from monitor.planted.wheels import Fault
from monitor.store import migrate, sqlite
from monitor.store.database import engine_for, parse


@pytest.mark.parametrize("point", POINTS)
def test_a_cycle_that_was_killed_is_done_again_and_nothing_is_lost_or_doubled(yard: Yard, point: str) -> None:
    yard.put_back()
    with yard.told() as webhook:
        worse = yard.publish(Fault.WORSE_HEAD)
        yard.kill_at(point)
        yard.until_done()
        yard.converged_on_the_loss(worse, webhook)


def test_an_upgrade_that_was_killed_leaves_the_old_database_and_is_done_again(yard: Yard) -> None:
    yard.put_back()
    database = yard.house.state / "monitor.sqlite3"
    engine = engine_for(parse(f"sqlite:///{database}"))
    with engine.connect().execution_options(**{sqlite.MODE: sqlite.MIGRATE}) as db, db.begin():
        command.downgrade(migrate.configuration(db), "0001")
    engine.dispose()
    old = content(database)

    yard.kill_at("migrating", "releases")
    is_whole(database)
    assert content(database) == old
    assert [row["version"] for row in yard.house.json("releases")["releases"]] == [yard.quiet]
    is_whole(database)
    new = content(database)
    assert new.pop("alembic_version") == [(migrate.HEAD,)]
    for table in ("run", "session", "sample", "judgement", "attempt", "environment"):
        assert len(new[table]) == len(old[table]) > 0


def test_a_first_start_that_was_killed_among_the_tables_is_made_again(yard: Yard) -> None:
    yard.put_back()
    shutil.rmtree(yard.house.state)
    yard.kill_at("migrating")
    assert content(yard.house.state / "monitor.sqlite3") == {}
    with yard.told() as webhook:
        yard.measured(yard.quiet)
        worse = yard.publish(Fault.WORSE_HEAD)
        yard.until_done()
        yard.converged_on_the_loss(worse, webhook)


def content(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return table → rows, of the tables that are there."""
    with closing(sqlite3.connect(database)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}  # noqa: S608
