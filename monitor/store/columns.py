"""The column types of the tables: the same values come back from SQLite and from PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, Double, MetaData
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, because a later migration can only change what it can name."""


class Table(SQLModel):
    """What all tables have in common: one set of metadata, which Alembic compares with the database."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware date, kept in UTC; SQLite has no zone of its own and would give it back naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn the date into UTC, and refuse one that does not say where its clock stands."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the date {value.isoformat()} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the date back as aware and in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Facts(TypeDecorator[Any]):
    """A JSON value; None is SQL's NULL, so that unknown and empty stay apart."""

    impl = JSON(none_as_null=True)
    cache_ok = True


class Real(TypeDecorator[float]):
    """A float of 64 bits in every database; SQLAlchemy's plain Float may be shorter."""

    impl = Double()
    cache_ok = True


def clean(text: str) -> str:
    """Return free text (a reason, a detail) without what a database refuses: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
