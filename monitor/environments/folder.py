"""A folder of folders that appear complete, are never changed and disappear at once, for several processes.

What is built lies aside until it is done and is then moved to its name. Whoever builds or removes holds a
lock on the name, which the system lets go of when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monitor import disk
from monitor.errors import ProvisionError

_BUILDING, _REMOVING, _LOCK = ".building-", ".removing-", ".lock-"
_PAUSE_S = 0.2


class Folder:
    """One such folder; it need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of what lies there, in order; it may be incomplete if somebody else made it."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))

    def aside(self, name: str) -> Path:
        """Return where `name` is built; call it with the lock held."""
        return self.root / f"{_BUILDING}{name}"

    def publish(self, name: str) -> Path:
        """Move what was built aside to its name, in the place of what is there, and return where it lies."""
        final = self.root / name
        self._discard(final)
        self.aside(name).replace(final)
        return final

    def remove(self, name: str, *, wait_s: float) -> None:
        """Remove a folder; one that is not there is no error. Raises as `locked` does."""
        with self.locked(name, wait_s=wait_s):
            self._discard(self.root / name)

    def sweep(self) -> list[Path]:
        """Remove what builders that are gone left half done, and return it."""
        removed = []
        for path in sorted(self.root.glob(".*-*")) if self.root.is_dir() else []:
            for prefix in (_BUILDING, _REMOVING):
                if not path.name.startswith(prefix):
                    continue
                with suppress(BlockingIOError), self.locked(path.name.removeprefix(prefix), wait_s=0):
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
        return removed

    @contextmanager
    def locked(self, name: str, *, wait_s: float) -> Iterator[None]:
        """Hold a name against other builders.

        Raises:
            BlockingIOError: it is held, and `wait_s` is 0.
            ProvisionError: it is still held after `wait_s` seconds.
            DiskFullError: not even the lock could be written.

        """
        path = self.root / f"{_LOCK}{name}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk.cannot_write(error, path) from error
        until = time.monotonic() + wait_s
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if wait_s == 0:
                        raise
                    if time.monotonic() > until:
                        raise _held(name) from None
                    time.sleep(_PAUSE_S)
            yield
        finally:
            os.close(handle)

    def _discard(self, folder: Path) -> None:
        """Move away first: what is half removed must not look complete."""
        if not folder.exists():
            return
        removing = self.root / f"{_REMOVING}{folder.name}"
        shutil.rmtree(removing, ignore_errors=True)
        folder.replace(removing)
        shutil.rmtree(removing, ignore_errors=True)


def _held(name: str) -> ProvisionError:
    return ProvisionError(
        f"The environment {name} is being built by another process, which does not end.",
        advice="end that process, then try again",
        permanent=False,
    )
