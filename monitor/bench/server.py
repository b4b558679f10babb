"""One engine server from its start to its end: the process, its address, and what went wrong with it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from monitor import disk, proc
from monitor.bench import lastwords, probe
from monitor.engines.base import Engine, Launch, Setup
from monitor.environments import container
from monitor.errors import (
    DiskFullError,
    EngineCrashError,
    EngineError,
    EngineReplyError,
    EngineStartError,
    EngineStartTimeoutError,
    HostError,
)

STOP_GRACE_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.25
_PROBE_S = 5.0  # for one look at whether the server is ready
_LAST_WORDS_S = 1.0  # for a process that has just cut a connection to be seen as ended


class Server:
    """A server for one session; for an engine that already runs there is no process to it."""

    def __init__(
        self, engine: Engine, setup: Setup, log: Path, device: Mapping[str, str] | None = None
    ) -> None:
        """Start it, without waiting until it answers; the variables of `device` say on which GPU.

        Raises:
            ConfigurationError: when the check and the engine do not fit.
            EngineStartError, HostError, DiskFullError: when the process cannot be started.

        """
        self.engine, self.setup, self.log = engine, setup, log
        self.dialect = engine.dialect(setup.check)
        self.startup_s: float | None = None
        self._address: str | None = None
        self._pid_in_container: int | None = None
        launch = engine.launch(setup)
        self._begun_s = time.monotonic()
        self._process = None if launch is None else self._start(launch, device or {})

    @property
    def address(self) -> str:
        """Return the URL of a server that is ready."""
        if self._address is None:
            raise RuntimeError("the server is not ready")
        return self._address

    @property
    def pid(self) -> int | None:
        """Return the id of the engine's first process, None where it cannot be told.

        So it is with an engine that runs already, and in a container that is not ready yet or not on this
        machine.
        """
        if self._process is None or container.is_container(self.setup.environment):
            return self._pid_in_container
        return self._process.pid

    @property
    def inherits(self) -> bool:
        """Whether places of this machine reach the engine: not one that runs already, or in an image."""
        return self._process is not None and not container.is_container(self.setup.environment)

    async def wait_until_ready(self) -> None:
        """Wait until it answers, and note how long that took since the start.

        Raises:
            EngineStartError: when it ends before.
            EngineStartTimeoutError: when it does neither within the check's `start_timeout_s`.

        """
        limit_s = self.setup.check.start_timeout_s
        pause_s = _FIRST_PAUSE_S
        while not await self._answers():
            if self._process is not None and (ending := self._process.poll()) is not None:
                raise EngineStartError(
                    f"The engine ended with {ending} before it answered a request{self._last_words()}.",
                    kept="the complete sessions",
                    advice="see the engine's log; a model, a flag or a library that this build refuses "
                    "is named at its end",
                )
            if time.monotonic() - self._begun_s > limit_s:
                raise EngineStartTimeoutError(
                    f"The engine did not answer within {limit_s:g} s of its start{self._last_words()}.",
                    kept="the complete sessions",
                    advice="see the engine's log; raise the check's start_timeout_s if it is merely slow",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        if self._process is not None:
            self.startup_s = time.monotonic() - self._begun_s
            # Only now: a container has no process before it runs.
            self._pid_in_container = container.pid_of(self.setup.environment, self.setup.scratch)

    def explain(self, error: EngineError) -> EngineError:
        """Return the error to raise for `error`, with how the process ended and the end of its log."""
        ending = None
        if self._process is not None and isinstance(error, EngineCrashError | EngineReplyError):
            ending = self._process.wait(_LAST_WORDS_S)
        if ending is not None:
            error = EngineCrashError(
                f"The engine ended with {ending} in the middle of its work{self._last_words()}. {error.what}",
                kept="the complete sessions; nothing of this one",
                advice="see the engine's log",
            )
        error.log_tail = proc.tail(self.log) if self._process is not None else ""
        return error

    def stop(self) -> None:
        """End it for good.

        Raises:
            HostError: when a process survives SIGKILL.

        """
        if self._process is not None:
            try:
                self._process.stop(STOP_GRACE_S)
            finally:
                container.end(self.setup.environment, self.setup.scratch)

    async def _answers(self) -> bool:
        address = self.engine.address(self.setup)
        if address is None:
            return False
        page = await probe.get(address + self.dialect.ready_path, deadline_s=_PROBE_S)
        # The port was free when it was chosen; if the engine is gone, somebody else answers.
        if page.ok and (self._process is None or self._process.poll() is None):
            self._address = address
        return self._address is not None

    def owns(self, pid: int) -> bool:
        """Say whether a process belongs to this engine."""
        try:
            return self.pid is not None and (
                pid == self.pid or self.pid in {parent.pid for parent in psutil.Process(pid).parents()}
            )
        except psutil.Error:
            return False

    def _start(self, launch: Launch, device: Mapping[str, str]) -> proc.Supervised:
        scratch = self.setup.scratch
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            for name, text in launch.files.items():
                (scratch / name).write_text(text, encoding="utf-8")
            environment = proc.engine_environment(
                scratch,
                path=launch.path,
                libraries=launch.libraries,
                extra={**device, **_caches(self.setup.caches), **launch.environment},
            )
        except OSError as error:
            raise cannot_prepare(scratch, error) from error
        return proc.Supervised(launch.argv, environment=environment, folder=scratch, log=self.log)

    def _last_words(self) -> str:
        words = lastwords.telling(self.log) if self._process is not None else ""
        return f"; its last words: {words!r}" if words else ""


_CACHES = {
    "MTP_MONITOR_CACHES": ".",  # what a container is given
    "XDG_CACHE_HOME": ".",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "FLASHINFER_WORKSPACE_BASE": ".",
    "CUDA_CACHE_PATH": "cuda",
}
"""Variable → where in the kept folder a compiler puts what it has compiled. vLLM's own follow the first."""


def _caches(folder: Path | None) -> dict[str, str]:
    """Make the kept folder and return the variables that lead there; raises OSError."""
    if folder is None:
        return {}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {variable: str(folder / name) for variable, name in _CACHES.items()}


def cannot_prepare(folder: Path, error: OSError) -> DiskFullError | HostError:
    """Return the error to raise when a folder for an engine cannot be made or filled."""
    if disk.says_full(error):
        return DiskFullError(
            f"No room left on the disk for an engine's files in {folder}.",
            kept="the complete sessions",
            advice="free some space and run again",
        )
    return HostError(
        f"The folder {folder} for an engine cannot be prepared: {error.strerror or error}.",
        kept="the complete sessions",
        advice="see whether it may be written to",
    )


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port: int = place.getsockname()[1]
        return port
