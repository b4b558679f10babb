"""The rules for SQLite: where its file may lie, how it is locked and how safely it is written."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event

from monitor.errors import StoreError
from monitor.store import failures

MODE = "monitor_mode"
"""Execution option of a connection: what its transactions may do."""
READ, WRITE, MIGRATE = "read", "write", "migrate"

WAL_SINCE = (3, 51, 3)
"""Older libraries can corrupt a WAL file that two connections write (https://sqlite.org/wal.html)."""

_NETWORK_FILESYSTEMS = re.compile(
    r"^(nfs\d?|cifs|smb\d?|smbfs|ncpfs|afs|coda|ceph|lustre|gpfs|beegfs|ocfs2|gfs2?|davfs\d?"
    r"|fuse\.(sshfs|glusterfs|ceph.*|rclone|s3fs|gcsfuse|davfs.*|juicefs))$"
)
"""Types in /proc/mounts under which file locks of two machines do not see each other reliably."""


def file_of(url: URL) -> Path | None:
    """Return the file an SQLite address names, or None for a database in memory."""
    name = url.database
    if not name or name == ":memory:" or "mode=memory" in name:
        return None
    # With `uri=true` the name is a file: URI, whose options stand behind a question mark.
    return Path(name.removeprefix("file:").partition("?")[0] if name.startswith("file:") else name)


def check_file(path: Path, *, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuse a database file that could not be kept safely; makes its folder when it is missing.

    An empty file is as good as none: SQLite leaves one when it is killed before its first write. Whether
    another one is a database, SQLite itself finds out when it reads it.

    Raises:
        StoreError: the folder or file cannot be written, or lies on a network filesystem.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} for the database cannot be made: {error.strerror}.",
            advice="name another with `state` or `store_url`",
        ) from error
    _refuse_network(path, mounts)
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise failures.read_only(str(path))
    try:
        path.open("r+b").close()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise failures.read_only(str(path)) from error
        raise StoreError(f"The database {path} cannot be opened: {error.strerror}.") from error


def _refuse_network(path: Path, mounts: Path) -> None:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux: nothing is known, so nothing is refused
        return
    real, kind, longest = path.resolve(), "", -1
    for fields in (line.split(" ") for line in lines):
        # Spaces in a mount point are written as octal escapes.
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1]))
        # A later mount over the same point hides the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = fields[2], len(point.parts)
    if _NETWORK_FILESYSTEMS.match(kind):
        raise StoreError(
            f"The database {path} lies on a network filesystem ({kind}), where SQLite's locks are not safe.",
            kept="the file as it is",
            advice="put `state` on a local disk, or use PostgreSQL with `store_url`",
        )


def prepare(engine: Engine, *, busy_timeout_s: float) -> None:
    """Make every connection of `engine` follow the rules.

    Python's own transaction handling is turned off, so that a write begins with BEGIN IMMEDIATE: it waits
    for the lock before it has read anything, and never has to give up half-way
    (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html, "Serializable isolation").
    """
    journal = "WAL" if sqlite3.sqlite_version_info >= WAL_SINCE else "TRUNCATE"

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get(MODE, READ)
        # Moving a table in a migration drops the old one, which would take the rows that point to it along.
        connection.exec_driver_sql(f"PRAGMA foreign_keys={'OFF' if mode == MIGRATE else 'ON'}")
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if mode == READ else 'OFF'}")
        connection.exec_driver_sql("BEGIN" if mode == READ else "BEGIN IMMEDIATE")
