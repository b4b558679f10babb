"""What several files on pages and API need: a service with a past, one without, and a visitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from monitor.steps.station import Station
from standins.web import Past, Recorder, empty_station, station
from standins.web_reading import client_of


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Station, Past]]:
    """Yield a service with a past, which no test changes."""
    with station(tmp_path_factory.mktemp("web")) as both:
        yield both


@pytest.fixture(scope="module")
def site(filled: tuple[Station, Past]) -> tuple[TestClient, Station, Past]:
    """Return a visitor who only reads."""
    found, past = filled
    return client_of(found, Recorder()), found, past


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Station]:
    """Yield a service in which nothing has happened yet."""
    with empty_station(tmp_path) as found:
        yield found


@pytest.fixture
def visitor(filled: tuple[Station, Past]) -> tuple[TestClient, Recorder, Past]:
    """Return one with a fresh session, and what they asked to be changed."""
    found, past = filled
    recorder = Recorder()
    return client_of(found, recorder), recorder, past
