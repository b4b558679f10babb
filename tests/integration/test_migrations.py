"""The schema in the database is the one the tables say, by every way there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import alembic
import postgresql
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from monitor.resources import resource_dir
from monitor.store import Store, database, migrate, models, sqlite

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return postgresql.new_database(request.getfixturevalue("postgresql_server"))
    return f"sqlite:///{tmp_path / 'monitor.sqlite3'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = database.engine_for(database.parse(url))
    yield opened
    opened.dispose()


def tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def test_up_down_and_up_again_ends_where_the_tables_are(engine: Engine) -> None:
    expected = set(models.Table.metadata.tables) | {"alembic_version"}
    for direction in ("up", "down", "up"):
        connecting = engine.connect().execution_options(**{sqlite.MODE: sqlite.MIGRATE})
        with connecting as connection, connection.begin():
            if direction == "up":
                command.upgrade(migrate.configuration(connection), "head")
                command.check(migrate.configuration(connection))
            else:
                command.downgrade(migrate.configuration(connection), "base")
        assert tables(engine) == (expected if direction == "up" else {"alembic_version"})


def test_an_opened_store_is_at_the_head_and_every_constraint_has_a_name(url: str, engine: Engine) -> None:
    Store.open(url).close()
    with engine.connect() as connection:
        found = inspect(connection)
        for name, table in models.Table.metadata.tables.items():
            assert found.get_pk_constraint(name)["name"] == f"pk_{name}"
            keys = found.get_foreign_keys(name)
            assert len(keys) == len(table.foreign_key_constraints)
            assert all((key["name"] or "").startswith(f"fk_{name}_") for key in keys)
        command.check(migrate.configuration(connection))


def test_a_database_emptied_down_to_the_base_is_filled_again(url: str, engine: Engine) -> None:
    Store.open(url).close()
    connecting = engine.connect().execution_options(**{sqlite.MODE: sqlite.MIGRATE})
    with connecting as connection, connection.begin():
        command.downgrade(migrate.configuration(connection), "base")
    Store.open(url).close()
    assert "run" in tables(engine)


def test_the_head_that_the_code_knows_is_the_newest_migration() -> None:
    scripts = ScriptDirectory.from_config(migrate.configuration())
    assert scripts.get_current_head() == migrate.HEAD
    assert Path(scripts.dir) == resource_dir("alembic")


def test_the_folder_of_migrations_does_not_shadow_the_library() -> None:
    assert Path(alembic.__file__).is_relative_to(sysconfig.get_path("purelib"))
    where = [sys.executable, "-c", "import alembic; print(alembic.__file__)"]
    shown = subprocess.run(where, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert Path(shown.strip()) == Path(alembic.__file__)
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_a_developer_reaches_the_same_schema_with_alembics_own_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'monitor.sqlite3'}"
    for words in (("upgrade", "head"), ("check",)):
        subprocess.run(
            [sys.executable, "-m", "alembic", "-x", f"url={url}", *words],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    Store.open(url).close()
