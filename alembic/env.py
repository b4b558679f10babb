"""Runs the migrations: on the connection the monitor gives, or on the database `alembic -x url=…` names."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

from monitor.settings import load
from monitor.store import database, models, sqlite
from monitor.store.columns import Facts, Real, UtcDateTime


def render_item(kind: str, item: Any, _autogen: AutogenContext) -> str | Literal[False]:
    """Write our column types as SQLAlchemy's, so that a migration needs nothing of the monitor's code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Facts):
        return "sa.JSON()"
    if kind == "type" and isinstance(item, Real):
        return "sa.Double()"
    return False


def migrate(connection: Connection) -> None:
    """Run what was asked for in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=models.Table.metadata,
        render_item=render_item,
        # SQLite cannot alter a table in place: batch mode makes a new one and moves the rows.
        render_as_batch=True,
        # Both databases can roll a schema change back, so a failed migration leaves nothing half-done.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Find the connection and migrate."""
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    url = context.get_x_argument(as_dictionary=True).get("url") or load().database_url
    engine = database.engine_for(database.parse(url))
    try:
        with (
            engine.connect().execution_options(**{sqlite.MODE: sqlite.MIGRATE}) as connection,
            connection.begin(),
        ):
            migrate(connection)
    finally:
        engine.dispose()


main()
