"""What every step works with: one state folder with its configuration, store, host and environments."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

from monitor import host as host_module
from monitor.checks import loader
from monitor.domain import Check, Host
from monitor.environments.collection import Environments
from monitor.errors import GpuFaultError, HostError, StateBusyError
from monitor.net import Http
from monitor.releases.base import Source
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings
from monitor.steps import sources
from monitor.store.database import Store
from monitor.store.queries import hosts


class Progress(Protocol):
    """Told what the monitor is doing, so that somebody can watch."""

    def stage(self, text: str) -> None:
        """Note that a new part of the work begins."""

    def session(self, text: str, done: int, total: int) -> None:
        """Note that a server session begins: `done` of at most `total` are complete."""

    def prompt(self, done: int, total: int) -> None:
        """Note how many prompts of the running session were answered."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def session(self, text: str, done: int, total: int) -> None:
        """Ignore it."""

    def prompt(self, done: int, total: int) -> None:
        """Ignore it."""


def now_utc() -> datetime:
    """Return the wall-clock time."""
    return datetime.now(UTC)


@dataclass
class Station:
    """One state folder, opened. Close it, or use it as a context manager."""

    settings: Settings
    store: Store
    host: Host
    http: Http
    environments: Environments
    checks: dict[str, Check]
    progress: Progress = field(default_factory=Silent)
    clock: Callable[[], datetime] = now_utc
    is_borrowed: bool = False
    """The owner's `before` was run and `after` will be: see `monitor/steps/borrow.py`."""
    pauses: dict[int, datetime] = field(default_factory=dict)
    """Bisection → until when it asks nobody for its commits: see `monitor/steps/single_commits.py`."""

    @classmethod
    def open(cls, settings: Settings, progress: Progress | None = None) -> Self:
        """Open the state folder, creating what is missing.

        Raises:
            ConfigurationError: when a check cannot be read.
            StoreError: when the database cannot be used.
            HostError: when the state folder cannot be written.

        """
        try:
            settings.state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"The state folder {settings.state} cannot be made: {error.strerror or error}.",
                advice="name another with `state` in the configuration",
            ) from error
        checks = loader.load_checks(settings.check_dirs)
        store = Store.open(settings.database_url)
        described = _describe(settings, store)
        http = Http()
        station = cls(
            settings=settings,
            store=store,
            host=described,
            http=http,
            environments=Environments.at(
                settings.environments_dir,
                uv=settings.uv,
                http=http,
                build=settings.build,
                builds=settings.builds_dir,
                archive_hosts=settings.github.download_hosts,
            ),
            checks=checks,
            progress=progress or Silent(),
        )
        with store.write() as db:
            hosts.save(db, described, now=station.clock())
        return station

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look_at_host(self) -> None:
        """Look at this machine again: a driver or kernel may have changed since the service started."""
        self.host = _describe(self.settings, self.store)
        with self.store.write() as db:
            hosts.save(db, self.host, now=self.clock())

    def close(self) -> None:
        """Let go of the database and the network."""
        self.http.close()
        self.store.close()

    def source_of(self, settings: SourceSettings) -> Source:
        """Return what asks one source."""
        return sources.source_of(settings, self.surroundings)

    @property
    def surroundings(self) -> sources.Surroundings:
        """What sources are asked with."""
        return sources.Surroundings(
            settings=self.settings,
            http=self.http,
            host=self.host,
            checks=self.checks,
            clock=self.clock,
            memory=self.settings.sources_dir,
        )

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Hold the machine for measuring; two measurements at once would disturb each other.

        Raises:
            StateBusyError: when another process measures on this state, naming it.

        """
        with self._held("measuring.lock", {"what": what}) as holder:
            if holder is not None:
                raise StateBusyError(
                    f"This state is being measured on by {holder}.",
                    kept="everything",
                    advice="wait until it ends, or stop it",
                )
            yield

    @contextmanager
    def on_duty(self, what: str, **facts: Any) -> Iterator[None]:
        """Be the one daemon of this state.

        Raises:
            HostError: when there is one already, naming it.

        """
        with self._held(_DUTY, {"what": what, **facts}) as holder:
            if holder is not None:
                raise HostError(
                    f"This state has a daemon already: {holder}.",
                    kept="everything",
                    advice="stop it first, or give this one another `state`",
                )
            yield

    def daemon(self) -> str | None:
        """Return the daemon of this state in words, None when there is none."""
        with self._held(_DUTY, None) as holder:
            return holder

    @contextmanager
    def _held(self, name: str, facts: dict[str, Any] | None) -> Iterator[str | None]:
        """Hold a lock file and yield None, or yield who holds it; without `facts` only look."""
        path = self.settings.state / name
        with path.open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if facts is None else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                yield _holder(path)
                return
            if facts is None:
                yield None
                return
            lock.truncate(0)
            json.dump({"pid": os.getpid(), **facts, "since": self.clock().isoformat()}, lock)
            lock.flush()
            try:
                yield None
            finally:
                lock.truncate(0)


def _describe(settings: Settings, store: Store) -> Host:
    """Describe this machine; with a GPU that does not answer it is the one it was seen as last.

    So the service stays up and says what is wrong, while the runs that need the GPU wait.
    """
    try:
        return host_module.describe(settings.state, name=settings.host.name, gpu=settings.host.gpu)
    except GpuFaultError:
        with store.read() as db:
            known = hosts.get(db, host_module.machine_id(settings.state))
        if known is None:
            raise
        return known


_DUTY = "daemon.lock"


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} ({holder['what']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
