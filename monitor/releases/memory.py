"""Small files that remember what was read; losing one costs requests and nothing else."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monitor import disk


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DiskFullError: no room. HostError: not writable.

    """
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(file)
    except OSError as error:
        raise disk.cannot_write(error, file) from error
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold a lock file, waiting until no other process does.

    Raises:
        HostError: not writable.

    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a", encoding="utf-8")
    except OSError as error:
        raise disk.cannot_write(error, file) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
