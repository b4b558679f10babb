"""Supervised processes: started through a keeper (`monitor/keeper.py`), and gone when their session ends.

Three nets lie below each other. The keeper ends the whole tree when told so, when the engine ends, and when
the monitor dies. Should the keeper itself be killed, the engine dies with it, and `Supervised` looks for what
is left by the tag in its environment. Should the monitor be killed as well, `sweep_strays` does that at the
next start. A process that overwrites its own environment *and* outlives its keeper is beyond all three.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitor import keeper
from monitor.errors import EngineStartError, HostError
from monitor.gpu import toolkit

LOG_HEAD_BYTES = 2 * 2**20
LOG_TAIL_BYTES = 512 * 2**10

_PASSED_ON = (
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "TZ",
)
"""What an engine may need to know of this machine. Everything else of our environment stays here."""
_TOLD = ("CUDA_HOME", "LD_LIBRARY_PATH")
"""Of these, what chooses an engine's libraries and compilers: it depends on who started the monitor."""

_FIXED = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LANG": "C.UTF-8",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
_STARTED_S = 30.0  # for the keeper, a small script, to start on a machine under load
_KEEPER_MARGIN_S = 25.0  # the keeper's own limit for SIGKILL to work, and some
_SWEEP_S = 5.0
_PAUSE_S = 0.02
_MAX_LINE = 2**20  # of the keeper's messages, in bytes
# CSI and OSC sequences, then any other escape: what makes a terminal act, not show (ECMA-48, 5.4 and 8.3).
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Ending:
    """How the first process of an engine ended; neither when its keeper was killed and nobody saw it."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.code is not None:
            return f"exit status {self.code}"
        if self.signal is None:
            return "an unknown exit status"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(self.signal).name}"
        return f"signal {self.signal}"


class Supervised:
    """One engine's processes, from start to the end of the last of them."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        log_head_bytes: int = LOG_HEAD_BYTES,
        log_tail_bytes: int = LOG_TAIL_BYTES,
    ) -> None:
        """Start `argv` in `folder` with exactly `environment` and the tag.

        `log` takes both outputs: its first `log_head_bytes` and at least its last `log_tail_bytes`.

        Raises:
            EngineStartError: when the program cannot be executed.
            HostError: when the keeper cannot be started.

        """
        self.log = log
        self.session_id = uuid.uuid4().hex
        self._ending: Ending | None = None
        self._received = b""
        self._control, theirs = socket.socketpair()
        tag = f"{self.session_id}:{os.getpid()}:{_started(os.getpid())}"
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())],
                env={keeper.TAG: tag},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        order = {
            "argv": list(argv),
            "environment": {**environment, keeper.TAG: tag},
            "folder": str(folder),
            "log": str(log.absolute()),
            "log_head_bytes": log_head_bytes,
            "log_tail_bytes": log_tail_bytes,
        }
        try:
            self.pid = self._start(order)
        except BaseException:
            self._abandon()
            raise

    def poll(self) -> Ending | None:
        """Return how the engine ended, None while it runs. It has ended when nothing of it is left."""
        if self._ending is None and (event := self._event(0.0)) is not None:
            self._conclude(event)
        return self._ending

    def wait(self, timeout_s: float) -> Ending | None:
        """Wait up to `timeout_s` for the end, and return as `poll` does."""
        if self._ending is None and (event := self._event(timeout_s)) is not None:
            self._conclude(event)
        return self._ending

    def stop(self, grace_s: float) -> Ending:
        """End it all: SIGTERM, `grace_s` seconds, SIGKILL. Returns when nothing is left; may be called again.

        Raises:
            HostError: when a process survives SIGKILL.

        """
        if self._ending is not None:
            return self._ending
        try:
            self._tell_stop(grace_s)
            self._conclude(self._event(grace_s + _KEEPER_MARGIN_S) or {})
        except KeyboardInterrupt:
            # The second Ctrl-C is meant: no grace any more.
            self._tell_stop(0.0)
            self._conclude(self._event(_KEEPER_MARGIN_S) or {})
            raise
        return self._ending or Ending(None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0)

    def _start(self, order: dict[str, Any]) -> int:
        failed = HostError(
            "The keeper of the engine could not be started.",
            advice="see whether this Python still runs, and whether there is memory for it",
            permanent=False,
        )
        try:
            self._control.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise failed from error
        event = self._event(_STARTED_S) or {}
        if event.get("event") == "started":
            return int(event["pid"])
        if event.get("event") != "failed":
            raise failed
        raise EngineStartError(
            f"The engine could not be started: {one_line(event['reason'])}.",
            advice="see whether the environment is complete; remove it, so that it is built again",
        )

    def _tell_stop(self, grace_s: float) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"stop": max(0.0, grace_s)}).encode() + b"\n")

    def _event(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next message of the keeper, {} when it is dead, None when nothing came in time."""
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            self._control.settimeout(max(0.0, deadline_s - time.monotonic()))
            try:
                data = self._control.recv(4096)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError:
                data = b""
            if not data or len(self._received) > _MAX_LINE:
                return {}
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        event: dict[str, Any] = json.loads(line)
        return event

    def _conclude(self, event: dict[str, Any]) -> None:
        """Note the end, and see to it that it is one, also when the keeper did not live to say so."""
        self._abandon()
        left = set(event.get("left", ())) | set(_end_tagged(f"{keeper.TAG}={self.session_id}:"))
        survivors = [pid for pid in left if (row := keeper.process_of(pid)) is not None and row.alive]
        self._ending = Ending(event.get("code"), event.get("signal"))
        if survivors:
            raise HostError(
                f"Processes of the engine do not end: {', '.join(map(str, sorted(survivors)))}.",
                kept="all complete sessions",
                advice="they hang in the kernel, most likely in a driver; restart the machine",
            )

    def _abandon(self) -> None:
        """Let go of the keeper; one that still runs ends by itself when the socket closes, else is killed."""
        self._control.close()
        try:
            self._keeper.wait(_KEEPER_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()


def engine_environment(
    folder: Path,
    *,
    path: Sequence[Path] = (),
    libraries: Sequence[Path] = (),
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of an engine: no token, no proxy, no address of ours gets into it.

    Args:
        folder: private and existing; HOME and TMPDIR lie in it and are created.
        path: folders searched for programs before the system's. On a GPU the CUDA toolkit's comes between.
        libraries: folders searched for shared libraries before this machine's `LD_LIBRARY_PATH`.
        extra: what the check and the engine add.

    """
    home, temporary = folder / "home", folder / "tmp"
    for place in (home, temporary):
        place.mkdir(mode=0o700, exist_ok=True)
    # Which GPU an engine may use is what says that it is measured on one.
    compilers = toolkit.folders() if "CUDA_VISIBLE_DEVICES" in extra else ()
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if libraries:
        searched = [*map(str, libraries), *passed_on.get("LD_LIBRARY_PATH", "").split(":")]
        # An empty part would be the working directory.
        passed_on["LD_LIBRARY_PATH"] = ":".join(part for part in searched if part)
    return {
        **passed_on,
        **_FIXED,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PATH": ":".join([*map(str, (*path, *compilers)), toolkit.SYSTEM_PATH]),
        **extra,
    }


def inherited(*, on_gpu: bool) -> dict[str, str]:
    """Return as flat facts what an engine gets of this machine that may move what is measured.

    `on_gpu` says whether it is measured on a GPU, and so gets the compiler of the CUDA toolkit.
    """
    facts = {f"machine.{name}": value for name in _TOLD if (value := os.environ.get(name))}
    if on_gpu and (compiler := toolkit.nvcc()) is not None:
        facts["machine.nvcc"] = f"{toolkit.release(compiler) or 'of unknown release'} ({compiler})"
    return {name: one_line(value) for name, value in facts.items()}


def sweep_strays(tag_prefix: str = f"{keeper.TAG}=") -> list[int]:
    """Kill what monitors that are dead by now have left behind, and return the pids.

    `tag_prefix` is how the marking environment variable starts, name and equals sign included. Only this
    process's own pid namespace is looked at: in another one the same pid is somebody else.
    """
    return _end_tagged(tag_prefix, of_dead_monitors_only=True)


def tail(log: Path, *, lines: int = 40, max_bytes: int = 16384) -> str:
    """Return the last lines of a log as text that is harmless in a terminal, "" when there is no log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            data = file.read(max_bytes)
    except OSError:
        return ""
    return "\n".join(harmless(data.decode("utf-8", errors="replace")).splitlines()[-lines:])


def harmless(text: str) -> str:
    """Return untrusted `text` without escape sequences and control characters, lines kept."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("\ufffd", _ESCAPES.sub("", text))


def one_line(text: str, limit: int = 300) -> str:
    """Return untrusted `text` for use in a sentence: harmless, on one line, at most `limit` characters."""
    flat = " ".join(harmless(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


# ---------------------------------------------------------------------------------------------
# Tags


def _end_tagged(prefix: str, *, of_dead_monitors_only: bool = False) -> list[int]:
    """Kill all processes with a tag that starts with `prefix`, and what descends from them."""
    killed: set[int] = set()
    deadline_s = time.monotonic() + _SWEEP_S
    while time.monotonic() < deadline_s:
        tagged = [
            pid
            for pid, tag in _tags(prefix).items()
            if not (of_dead_monitors_only and _monitor_lives(tag)) and pid != os.getpid()
        ]
        found = {pid for root in tagged for pid in (root, *keeper.descendants(root))} - {os.getpid()}
        if not found:
            break
        keeper.send(sorted(found), signal.SIGKILL)
        killed |= found
        time.sleep(_PAUSE_S)
    return sorted(killed)


def _tags(prefix: str) -> dict[int, str]:
    """Return pid → tag of the living processes of this pid namespace whose environment can be read."""
    wanted = prefix.encode()
    found = {}
    for pid, process in keeper.processes().items():
        if not process.alive:
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            same_namespace = Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
        except OSError:
            continue
        entry = next((item for item in environment.split(b"\0") if item.startswith(wanted)), None)
        if entry is not None and same_namespace:
            found[pid] = entry.partition(b"=")[2].decode("ascii", errors="replace")
    return found


def _monitor_lives(tag: str) -> bool:
    try:
        _, pid, started = tag.split(":")
        process = keeper.process_of(int(pid))
        return process is not None and process.alive and process.started == int(started)
    except ValueError:
        return True  # not a tag of ours: hands off


def _started(pid: int) -> int:
    process = keeper.process_of(pid)
    return process.started if process else 0
