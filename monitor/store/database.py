"""The database: opened with care, read and written in short transactions.

SQLite is the default; the same tables work on PostgreSQL. Queries lie in `monitor/store/queries`, one
file for each word of the glossary, and take the session that `Store.read` or `Store.write` yields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Self

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool, StaticPool
from sqlmodel import Session

from monitor.errors import StoreError
from monitor.store import failures, migrate, sqlite

BUSY_TIMEOUT_S = 30.0


class Store:
    """An open database at the newest schema; make one with `Store.open`."""

    def __init__(self, engine: Engine, *, place: str, busy_timeout_s: float) -> None:
        self.place = place
        """How the database is called in messages: its file, or its address without the password."""
        self._engine = engine
        self._busy_timeout_s = busy_timeout_s

    @classmethod
    def open(cls, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the database at an SQLAlchemy address and bring its schema to the newest revision.

        A missing SQLite file is made; one that exists is never replaced. Of several processes that open
        an old database at once, one migrates it and the others wait for that, at most `busy_timeout_s`.

        Raises:
            StoreBusyError: another process kept it locked for longer than `busy_timeout_s` seconds.
            DiskFullError: there is no room for the file.
            StoreError: the address is wrong, or the database is read-only, damaged, made by a newer monitor,
                of another program, on a network filesystem, or does not answer.

        """
        address = parse(url)
        place = place_of(address)
        engine = engine_for(address, busy_timeout_s=busy_timeout_s)
        try:
            with failures.explained(place, waited_s=busy_timeout_s):
                migrate.to_head(engine, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, place=place, busy_timeout_s=busy_timeout_s)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that may change the database; committed at the end, rolled back on an error.

        Others cannot write meanwhile, so measure first and write then.

        Raises:
            StoreBusyError, DiskFullError, StoreError: see `Store.open`; nothing of the block was written.

        """
        with failures.explained(self.place, waited_s=self._busy_timeout_s), self._session(sqlite.WRITE) as db:
            db.connection()  # waits for the lock here, not in the middle of the block
            yield db
            db.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees the database as it is at its first query, and cannot change it.

        Raises:
            StoreBusyError, StoreError: see `Store.open`.

        """
        with failures.explained(self.place, waited_s=self._busy_timeout_s), self._session(sqlite.READ) as db:
            yield db

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _session(self, mode: str) -> Session:
        options = {sqlite.MODE: mode, "postgresql_readonly": mode == sqlite.READ}
        return Session(self._engine.execution_options(**options), expire_on_commit=False)


def parse(url: str) -> URL:
    """Return the address as SQLAlchemy's; plain `postgresql://` means the driver that the monitor uses.

    Raises:
        StoreError: when it is no address of SQLite or PostgreSQL.

    """
    advice = "give `sqlite:///FILE` or `postgresql://USER@HOST/NAME` as `store_url`"
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # The text itself stays out of the message: it may hold a password.
        raise StoreError("The address of the database cannot be understood.", advice=advice) from None
    backend = address.get_backend_name()
    if backend not in {"sqlite", "postgresql"}:
        raise StoreError(f"A database of the kind {backend!r} cannot be used.", advice=advice)
    return address.set(drivername="postgresql+psycopg") if address.drivername == "postgresql" else address


def place_of(address: URL) -> str:
    """Return how the database is called in messages; never with its password."""
    if address.get_backend_name() == "sqlite":
        return str(sqlite.file_of(address) or "in memory")
    return address.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def engine_for(address: URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return an engine that keeps the rules of its kind of database; nothing is written yet.

    Raises:
        StoreError: when an SQLite file could not be kept safely there, or the driver is missing.

    """
    # NaN is no JSON, and PostgreSQL refuses it: better to fail the same way everywhere.
    serializer = partial(json.dumps, allow_nan=False)
    if address.get_backend_name() == "sqlite":
        path = sqlite.file_of(address)
        if path is not None:
            sqlite.check_file(path)
        engine = create_engine(
            address,
            json_serializer=serializer,
            poolclass=StaticPool if path is None else NullPool,
            connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        )
        sqlite.prepare(engine, busy_timeout_s=busy_timeout_s)
        return engine
    wait_ms = max(1, int(busy_timeout_s * 1000))  # PostgreSQL reads 0 as "wait for ever"
    try:
        return create_engine(
            address,
            json_serializer=serializer,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": max(2, int(busy_timeout_s)),
                "options": f"-c lock_timeout={wait_ms} -c timezone=UTC",
            },
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(
            f"The driver of {address.drivername} is not installed.",
            advice="install `psycopg[binary]` beside the monitor",
        ) from error
