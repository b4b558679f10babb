"""A database that cannot be used is said to be so, with advice, and is never made anew."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import postgresql
import pytest
import store_values as values
from sqlalchemy import event, text
from store_values import NOW

from monitor.errors import DiskFullError, StoreBusyError, StoreError
from monitor.store import Store, migrate, sqlite
from monitor.store.queries import hosts

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "monitor.sqlite3"


@pytest.fixture
def made(path: Path) -> Path:
    """Make a database with one host in it."""
    with opened(path) as store, store.write() as db:
        hosts.save(db, values.host(), now=NOW)
    return path


def opened(path: Path, *, busy_timeout_s: float = 0.2) -> Store:
    return Store.open(f"sqlite:///{path}", busy_timeout_s=busy_timeout_s)


@contextmanager
def locked(path: Path, kind: str) -> Iterator[None]:
    """Let another process hold a lock on the database."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('BEGIN ' + sys.argv[2]); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.communicate()


def refused(path: Path, *, says: str) -> StoreError:
    """Open the database, and check that it is refused with advice and left as it is."""
    before = path.read_bytes()
    with pytest.raises(StoreError, match=says) as caught:
        opened(path)
    assert path.read_bytes() == before
    assert caught.value.advice
    assert caught.value.kept
    return caught.value


# ---------------------------------------------------------------------------------------------
# Locked


def test_a_locked_database_is_waited_for_and_then_given_up_on_with_nothing_written(made: Path) -> None:
    with opened(made) as store:
        with locked(made, "IMMEDIATE"):
            with (
                pytest.raises(StoreBusyError, match=r"locked .* more than 0\.2 s") as caught,
                store.write() as db,
            ):
                hosts.save(db, values.host("m2"), now=NOW)
            assert not caught.value.permanent
            with store.read() as db:  # a writer that is still writing does not stop readers
                assert hosts.get(db, "m1") == values.host()
        with store.write() as db:
            hosts.save(db, values.host("m3"), now=NOW)
        with store.read() as db:
            assert (hosts.get(db, "m2"), hosts.get(db, "m3")) == (None, values.host("m3"))


def test_a_database_locked_for_all_cannot_be_opened_until_it_is_free(made: Path) -> None:
    with locked(made, "EXCLUSIVE"), pytest.raises(StoreBusyError, match=made.name):
        opened(made)
    opened(made).close()


def test_an_old_database_that_another_process_holds_is_not_migrated_without_the_lock(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    with locked(path, "IMMEDIATE"), pytest.raises(StoreBusyError):
        opened(path)
    opened(path).close()


def test_a_writer_waits_for_the_lock_as_long_as_it_may(made: Path) -> None:
    with (
        opened(made, busy_timeout_s=60) as store,
        closing(sqlite3.connect(made, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        code = (
            "import sys; sys.path.insert(0, sys.argv[2])\n"
            "from store_values import NOW, host; from monitor.store import Store\n"
            "from monitor.store.queries import hosts\n"
            "with Store.open(f'sqlite:///{sys.argv[1]}', busy_timeout_s=60) as store:\n"
            "    print('ready', flush=True)\n"
            "    with store.write() as db: hosts.save(db, host('m2'), now=NOW)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(made), str(Path(__file__).parent)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            other.execute("COMMIT")
            writer.communicate()
        assert writer.returncode == 0
        with store.read() as db:
            assert hosts.get(db, "m2") == values.host("m2")


def test_postgresql_too_is_waited_for_and_then_given_up_on() -> None:
    with postgresql.server() as address:
        url = postgresql.new_database(address)
        with Store.open(url, busy_timeout_s=0.2) as store, Store.open(url) as other:
            with other.write() as theirs:
                theirs.connection().execute(text("LOCK TABLE host IN EXCLUSIVE MODE"))
                with pytest.raises(StoreBusyError, match="locked"), store.write() as db:
                    hosts.save(db, values.host(), now=NOW)
            with store.write() as db:
                hosts.save(db, values.host(), now=NOW)
    with pytest.raises(StoreError, match="does not answer") as caught:
        Store.open(url, busy_timeout_s=0.2)
    assert not caught.value.permanent


# ---------------------------------------------------------------------------------------------
# Not to be written


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Give up root's right to write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("of_folder", "of_file"), [(0o755, 0o444), (0o555, 0o666)])
def test_a_read_only_file_or_folder_is_refused(of_folder: int, of_file: int) -> None:
    # pytest's own folders are closed to every other user.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "monitor.sqlite3"
        opened(path).close()
        path.chmod(of_file)
        folder.chmod(of_folder)
        try:
            before = sorted(folder.iterdir())
            with as_ordinary_user():
                refused(path, says="read-only")
            assert sorted(folder.iterdir()) == before
        finally:
            folder.chmod(0o755)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, not a folder")
    with pytest.raises(StoreError, match="cannot be made"):
        opened(tmp_path / "state" / "deep" / "monitor.sqlite3")


@pytest.mark.parametrize(
    ("kind", "safe"), [("nfs4", False), ("cifs", False), ("fuse.sshfs", False), ("ext4", True)]
)
def test_a_network_filesystem_is_refused(tmp_path: Path, kind: str, safe: bool) -> None:
    mounts, folder = tmp_path / "mounts", tmp_path / "on the net"
    escaped = str(folder).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\ntmpfs /elsewhere nfs rw 0 0\n"
    )
    path = folder / "state" / "monitor.sqlite3"
    if safe:
        sqlite.check_file(path, mounts=mounts)
        return
    with pytest.raises(StoreError, match=f"network filesystem .{kind}"):
        sqlite.check_file(path, mounts=mounts)


def test_a_full_disk_leaves_the_database_as_it_was(made: Path) -> None:
    with opened(made) as store:
        full = event.listens_for(store._engine, "connect")
        full(lambda connection, _record: connection.execute("PRAGMA max_page_count = 1"))
        host = replace(values.host("machine 0"), cpu="a long name " * 10_000)
        with pytest.raises(DiskFullError, match="No room left") as caught, store.write() as db:
            hosts.save(db, host, now=NOW)
        assert not caught.value.permanent
    with opened(made) as store, store.read() as db:
        assert hosts.get(db, "m1") == values.host()
        assert hosts.get(db, "machine 0") is None


# ---------------------------------------------------------------------------------------------
# Not ours, or damaged


def test_a_database_of_a_newer_monitor_is_left_alone(made: Path) -> None:
    with closing(sqlite3.connect(made)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    error = refused(made, says="newer mtp-monitor")
    assert "9999" in error.what


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE bookmark (url TEXT)")
    refused(path, says="another program")


@pytest.mark.parametrize("content", [b"not a database at all, but a text", b"SQLite"])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    refused(path, says="damaged or is no database")


def test_a_file_with_a_damaged_start_is_left_alone(made: Path) -> None:
    with made.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2000)
    refused(made, says="damaged")


def test_a_file_cut_short_is_left_alone(made: Path) -> None:
    os.truncate(made, 4096)
    refused(made, says="damaged")


def test_damage_further_in_is_called_so_when_it_is_met(made: Path) -> None:
    with closing(sqlite3.connect(made)) as db:
        page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'host'").fetchone()[0]
    with made.open("r+b") as file:
        file.seek((root - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)
    with opened(made) as store, pytest.raises(StoreError, match="damaged"), store.read() as db:
        hosts.get(db, "m1")


def test_an_empty_file_left_by_a_killed_start_is_used(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with opened(path) as store, store.write() as db:
        hosts.save(db, values.host(), now=NOW)


# ---------------------------------------------------------------------------------------------
# Opening


def test_a_migration_that_fails_leaves_nothing_half_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the last check failed")

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "_refuse_damage", lambda *given: fail() if "foreign" in given[2] else None)
        with pytest.raises(StoreError, match="the last check"):
            opened(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
    opened(path).close()


def test_several_processes_can_open_a_new_database_at_once(path: Path) -> None:
    code = "import sys; from monitor.store import Store; Store.open(sys.argv[1], busy_timeout_s=60).close()"
    command = [sys.executable, "-c", code, f"sqlite:///{path}"]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 2
    opened(path).close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://user:hunter2@db/x", "postgresql://user:hunter2@[::1/x"])
def test_a_wrong_address_is_explained_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value)
    assert "sqlite:///FILE" in caught.value.advice


def test_a_connection_follows_the_rules_for_safe_writing(made: Path) -> None:
    with opened(made) as store, store.write() as db:
        rules = {
            name: db.connection().exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    journal = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "truncate"
    assert rules == {"journal_mode": journal, "foreign_keys": 1, "synchronous": 2, "busy_timeout": 200}
