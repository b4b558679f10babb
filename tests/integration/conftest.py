"""What several files need: stores on each kind of database, sources, environments, a post office."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest

from monitor.environments.collection import Environments
from monitor.net import Http
from monitor.store import Store
from monitor.store.columns import Table
from standins.desk import Desk, open_desk
from standins.environments import made
from standins.index import IndexServer
from standins.office import SECRET, Office
from standins.receivers import WebhookReceiver


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


@pytest.fixture
def index() -> Iterator[IndexServer]:
    """Yield a package index that lists nothing yet."""
    with IndexServer() as server:
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    """Yield a client that gives up on a silent server soon."""
    with Http(timeout_s=5) as client:
        yield client


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    """Return environments of which none is built yet."""
    return made(tmp_path)


@pytest.fixture
def post(store: Store) -> Office:
    """Return a post office that has no destinations yet."""
    return Office(store)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Yield a webhook that knows the secret of the post office's destinations."""
    with WebhookReceiver(SECRET) as server:
        yield server
