"""Brings a database to the newest schema, once, under a lock, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from monitor.errors import StoreError
from monitor.resources import resource_dir
from monitor.store import failures, sqlite

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"
"""The newest revision in `alembic/versions`; asking Alembic would cost every start half a second."""

_VERSION_TABLE = "alembic_version"
_LOCK = 0x6D74702D6D6F6E  # "mtp-mon": PostgreSQL's advisory locks are named by numbers


def to_head(engine: Engine, place: str) -> None:
    """Migrate the database behind `engine` to `HEAD`; does nothing but look when it is there already.

    Raises:
        StoreError: it is of a newer monitor, of another program, or damaged; it is left as it is.
        SQLAlchemyError: the database's own errors, for `failures.explained`.

    """
    with engine.connect().execution_options(**{sqlite.MODE: sqlite.READ}) as connection:
        if _revision(connection, place) == HEAD:
            return
    with (
        engine.connect().execution_options(**{sqlite.MODE: sqlite.MIGRATE}) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # Another process may have migrated it while this one waited for the lock.
        revision = _revision(connection, place)
        if revision == HEAD:
            return
        if engine.dialect.name == "sqlite":
            _refuse_damage(connection, place, "quick_check")
        _upgrade(connection, revision, place)
        if engine.dialect.name == "sqlite":
            _refuse_damage(connection, place, "foreign_key_check")


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the migrations that ship with the code.

    With a `connection` they run on it, in its transaction; without, `alembic/env.py` opens the database.
    """
    from alembic.config import Config  # noqa: PLC0415  (slow to import, and most starts need none of it)

    config = Config()
    # Alembic's configuration knows %-interpolation, so a % in a path has to be doubled.
    config.set_main_option("script_location", str(resource_dir("alembic")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection, place: str) -> str | None:
    """Return the revision a database is at, None when there is nothing in it yet."""
    tables = set(inspect(connection).get_table_names())
    if _VERSION_TABLE not in tables:
        if tables:
            raise StoreError(
                f"The database {place} holds tables of another program.",
                kept="everything in it",
                advice="name a database of the monitor's own with `store_url`",
            )
        return None
    row = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).first()  # noqa: S608
    return None if row is None else str(row[0])


def _upgrade(connection: Connection, revision: str | None, place: str) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = configuration(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"The database {place} was written by a newer mtp-monitor (its schema is {revision}, "
            f"this one knows up to {HEAD}).",
            kept="everything in it",
            advice="install the newer mtp-monitor again, or name another database with `store_url`",
        )
    command.upgrade(config, HEAD)


def _refuse_damage(connection: Connection, place: str, check: str) -> None:
    found = connection.exec_driver_sql(f"PRAGMA {check}").first()
    if found is not None and found[0] != "ok":
        raise failures.corrupt(place, f"{check} says {failures.first_line(found[0])}")


def versions_dir() -> Path:
    """Return the folder of the migrations."""
    return resource_dir("alembic") / "versions"
