"""What a database's own errors mean to the reader: the monitor's error with what was kept and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor.errors import DiskFullError, MonitorError, StoreBusyError, StoreError

_PRIMARY = 0xFF
"""The low byte of SQLite's extended result codes is the primary one (https://sqlite.org/rescode.html)."""

_POSTGRESQL_BUSY = {"55P03", "40001", "40P01"}
"""Lock not available, serialization failure, deadlock (PostgreSQL documentation, appendix A)."""
_POSTGRESQL_FULL = {"53100"}
_POSTGRESQL_READ_ONLY = {"25006"}

_KEPT = "what was stored before; nothing of this change was written"


@contextmanager
def explained(place: str, *, waited_s: float) -> Iterator[None]:
    """Turn errors of the database at `place` into the monitor's own.

    Raises:
        StoreBusyError: it stayed locked for `waited_s` seconds.
        DiskFullError: there is no room for the change.
        StoreError: anything else; corrupt and read-only databases have advice of their own.

    """
    try:
        yield
    except SQLAlchemyError as error:
        raise explain(error, place, waited_s=waited_s) from error


def explain(error: SQLAlchemyError, place: str, *, waited_s: float) -> MonitorError:
    """Return the monitor's error for `error`, raised by the database at `place`."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause, place, waited_s)
    state = getattr(cause, "sqlstate", None)
    if state in _POSTGRESQL_BUSY:
        return _busy(place, waited_s)
    if state in _POSTGRESQL_FULL:
        return _full(place)
    if state in _POSTGRESQL_READ_ONLY:
        return read_only(place)
    if isinstance(error, DBAPIError) and (error.connection_invalidated or (cause and state is None)):
        return StoreError(
            f"The database {place} does not answer: {first_line(cause)}.",
            kept=_KEPT,
            advice="check that its server runs and that the address in `store_url` is right",
            permanent=False,
        )
    return StoreError(f"The database {place} refused: {first_line(cause or error)}.", kept=_KEPT)


def _sqlite(cause: sqlite3.Error, place: str, waited_s: float) -> MonitorError:
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
    detail = first_line(cause)
    meanings: dict[int, Callable[[], MonitorError]] = {
        sqlite3.SQLITE_BUSY: lambda: _busy(place, waited_s),
        sqlite3.SQLITE_LOCKED: lambda: _busy(place, waited_s),
        sqlite3.SQLITE_FULL: lambda: _full(place),
        sqlite3.SQLITE_READONLY: lambda: read_only(place),
        sqlite3.SQLITE_CORRUPT: lambda: corrupt(place, detail),
        sqlite3.SQLITE_NOTADB: lambda: corrupt(place, detail),
        sqlite3.SQLITE_CANTOPEN: lambda: StoreError(
            f"The database {place} cannot be opened: {detail}.",
            kept="the file as it is",
            advice="check that its folder exists and may be written to by this user",
        ),
        sqlite3.SQLITE_IOERR: lambda: StoreError(
            f"The disk failed under the database {place}: {detail}.",
            kept=_KEPT,
            advice="check the disk and the kernel's log, then start again",
            permanent=False,
        ),
    }
    meaning = meanings.get(code)
    return meaning() if meaning else StoreError(f"The database {place} refused: {detail}.", kept=_KEPT)


def _busy(place: str, waited_s: float) -> StoreBusyError:
    return StoreBusyError(
        f"The database {place} was locked by another process for more than {waited_s:g} s.",
        kept=_KEPT,
        advice="let the other process finish (fuser or lsof name it), then try again",
    )


def _full(place: str) -> DiskFullError:
    return DiskFullError(
        f"No room left on the disk for the database {place}.",
        kept=_KEPT,
        advice="free some space and try again; measured sessions wait in the spool",
    )


def read_only(place: str) -> StoreError:
    """Return the error for a database that may not be written to."""
    return StoreError(
        f"The database {place} is read-only for this user.",
        kept="the database as it is",
        advice="give this user the right to write the file and its folder, or name another with `store_url`",
    )


def corrupt(place: str, detail: str) -> StoreError:
    """Return the error for a database whose content is damaged."""
    return StoreError(
        f"The database {place} is damaged or is no database: {detail}.",
        kept="the file as it is; it is never replaced or repaired by itself",
        advice="move it away and restore a backup, or save what can be read with `sqlite3 FILE .recover`",
    )


def first_line(error: object) -> str:
    """Return the first line of an error's text, without its final stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
