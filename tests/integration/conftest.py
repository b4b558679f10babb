"""What several tests of the store need: one PostgreSQL server, and a store on each kind of database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest

from monitor.store import Store
from monitor.store.columns import Table
from standins.desk import Desk, open_desk


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Yield the address of a real server."""
    with postgresql.server() as address:
        yield address


@pytest.fixture(scope="session")
def _empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate once; every test begins with a copy."""
    path = tmp_path_factory.mktemp("store") / "empty.sqlite3"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def _shared_database(postgresql_server: str) -> str:
    """Make one database for all tests, each of which leaves it empty."""
    return postgresql.new_database(postgresql_server)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield an empty store, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        with Store.open(
            f"sqlite:///{shutil.copy(request.getfixturevalue('_empty_file'), tmp_path)}"
        ) as opened:
            yield opened
        return
    url = request.getfixturevalue("_shared_database")
    with Store.open(url) as opened:
        yield opened
    postgresql.empty(url, Table.metadata.tables)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Yield a source beside the stand-in of GitHub, and see that no limit was disregarded."""
    with open_desk(tmp_path) as opened:
        yield opened
