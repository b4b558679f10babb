"""Keeps one engine: starts it, collects its log, and leaves nothing of it alive.

Runs by itself as `python -I -S keeper.py FD`, where FD is one end of a socket pair whose other end only the
monitor holds. It imports the standard library alone, so that it starts in milliseconds and works whatever
state the installation is in. The protocol is JSON, one object a line:

- the monitor says what to start (`argv`, `environment`, `folder`, `log`, sizes), later `{"stop": seconds}`;
- the keeper says `{"event": "started", "pid": …}` or `{"event": "failed", "reason": …}`, and at the end
  `{"event": "ended", "code": …, "signal": …, "left": […]}`.

The end of the engine's first process, a stop, SIGTERM, or the end of the socket, which means that the
monitor is dead, lead to the same: everything that descends from the keeper gets SIGTERM, and after a grace
SIGKILL until nothing is left. The keeper is a *subreaper* (`man 2 prctl`), so a descendant that left its
process group or its session is still found below it; killing the group would miss it. The engine itself is
tied to the keeper by PR_SET_PDEATHSIG. The keeper is not tied to the monitor that way, because that signal is
sent when the starting *thread* ends; the socket does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

TAG = "MTP_MONITOR_SESSION"
"""Environment variable `<session id>:<pid of the monitor>:<its start time>` that marks what is started."""

_ORPHAN_GRACE_S = 2.0  # when the monitor is dead
_AFTER_EXIT_GRACE_S = 1.0  # for what the engine's first process left behind
_KILL_S = 20.0  # a process that survives SIGKILL so long sits in the kernel and is reported
_TICK_S = 0.05
_READ_BYTES = 65536
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE = 500  # when memory runs out, the engine goes before the monitor


# ---------------------------------------------------------------------------------------------
# The process table


class Process(NamedTuple):
    """One row of the process table."""

    parent: int
    state: str
    started: int
    """Clock ticks since boot: with the pid it names one process for good."""

    @property
    def alive(self) -> bool:
        """Tell whether it still runs; a zombie only waits to be reaped."""
        return self.state not in {"Z", "X"}


def processes() -> dict[int, Process]:
    """Return pid → process for all that are visible here (`man 5 proc_pid_stat`)."""
    found = {}
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdigit() and (process := process_of(int(name))) is not None:
            found[int(name)] = process
    return found


def process_of(pid: int) -> Process | None:
    """Return the process `pid`, None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("ascii", errors="replace")
    except OSError:
        return None
    # The second field is the name in brackets and may itself hold brackets and spaces.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(parent=int(fields[1]), state=fields[0], started=int(fields[19]))


def descendants(root: int) -> list[int]:
    """Return the living processes below `root`, without `root`."""
    table = processes()
    children: dict[int, list[int]] = {}
    for pid, process in table.items():
        children.setdefault(process.parent, []).append(pid)
    found, pending = [], list(children.get(root, ()))
    while pending:
        pid = pending.pop()
        pending += children.get(pid, ())
        if table[pid].alive:
            found.append(pid)
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each; one that has just ended is passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


# ---------------------------------------------------------------------------------------------
# The log


class BoundedLog:
    """A file that keeps the first `head` bytes and at least the last `tail` bytes of what is written to it.

    It never grows beyond head + 2 × tail and one line that says what was left out. A full disk loses log
    lines, never the engine.
    """

    def __init__(self, path: str, *, head: int, tail: int) -> None:
        self._head, self._tail = head, tail
        self._size = 0
        self._left_out = 0
        self._file: BinaryIO | None = None
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)

    def write(self, data: bytes) -> None:
        """Append `data`, making room whenever the file is full; one call may bring more than fits."""
        if self._file is None:
            return
        try:
            while data:
                if self._size >= self._head + 2 * self._tail:
                    self._make_room()
                written = self._file.write(data[: max(1, self._head + 2 * self._tail - self._size)])
                self._size += written
                data = data[written:]
        except OSError:
            self._left_out += len(data)

    def _make_room(self) -> None:
        if self._file is None:
            return
        kept_from = max(self._head, self._size - self._tail)
        self._file.seek(kept_from)
        kept = self._file.read(self._tail)
        self._left_out += kept_from - self._head
        self._file.truncate(self._head)
        self._file.seek(self._head)
        self._size = self._head
        note = f"\n[... {self._left_out} bytes of the log were left out here ...]\n".encode()
        self._size += self._file.write(note + kept)


# ---------------------------------------------------------------------------------------------
# The keeper


class Keeper:
    """One engine from start to end."""

    def __init__(self, control: socket.socket, order: dict[str, Any]) -> None:
        self._control = control
        self._log = BoundedLog(order["log"], head=order["log_head_bytes"], tail=order["log_tail_bytes"])
        self._selector = selectors.DefaultSelector()
        self._received = b""
        self._grace_s: float | None = None
        """Seconds the processes have from now on; None as long as the engine shall run."""
        self._orphaned = False
        self._status: int | None = None
        self._output, theirs = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._child = _start(order, theirs)
        finally:
            os.close(theirs)
        self._say({"event": "started", "pid": self._child})

    def run(self) -> None:
        """Serve until nothing of the engine is left."""
        wakeup, theirs = socket.socketpair()
        for end in (wakeup, theirs):
            end.settimeout(0)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end_within(_ORPHAN_GRACE_S))
        self._selector.register(self._control, selectors.EVENT_READ, self._read_control)
        self._selector.register(self._output, selectors.EVENT_READ, self._read_output)
        self._selector.register(wakeup, selectors.EVENT_READ, lambda: wakeup.recv(4096))
        self._reap()  # it may have ended before the handler stood
        while self._grace_s is None:
            self._turn(None)
        left = self._end_all()
        self._drain()
        self._say({"event": "ended", **_ending(self._status), "left": left})

    def _turn(self, timeout_s: float | None) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data()
        self._reap()

    def _end_all(self) -> list[int]:
        """Send SIGTERM, after the grace SIGKILL, until no descendant lives; return what would not die."""
        send(descendants(os.getpid()), signal.SIGTERM)
        # A stopped process cannot act on SIGTERM.
        send(descendants(os.getpid()), signal.SIGCONT)
        begun_s = time.monotonic()
        while left := descendants(os.getpid()):
            waited_s = time.monotonic() - begun_s
            if waited_s >= (self._grace_s or 0.0):
                send(left, signal.SIGKILL)
            if waited_s >= (self._grace_s or 0.0) + _KILL_S:
                return left
            self._turn(_TICK_S)
        self._turn(0)
        return []

    def _end_within(self, grace_s: float) -> None:
        self._grace_s = grace_s if self._grace_s is None else min(self._grace_s, grace_s)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._status = status
                self._end_within(_AFTER_EXIT_GRACE_S)

    def _read_control(self) -> None:
        try:
            data = self._control.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._orphaned = True
            self._selector.unregister(self._control)
            self._end_within(_ORPHAN_GRACE_S)
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._end_within(float(json.loads(line)["stop"]))

    def _read_output(self) -> None:
        data = self._read_once()
        if data is not None:
            self._log.write(data)
            if not data:
                self._selector.unregister(self._output)

    def _drain(self) -> None:
        # Nothing writes any more, so what the pipe holds (at most its capacity) is the end of the log.
        while data := self._read_once():
            self._log.write(data)

    def _read_once(self) -> bytes | None:
        try:
            return os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return None

    def _say(self, event: dict[str, Any]) -> None:
        if not self._orphaned:
            _say(self._control, event)


def _start(order: dict[str, Any], output: int) -> int:
    keeper = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:  # it died before the line above took effect
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")

    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(
        order["argv"],
        env=order["environment"],
        cwd=order["folder"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # the keeper has one thread
    )
    child.returncode = 0  # reaped in _reap, together with whatever it leaves behind
    return child.pid


def _ending(status: int | None) -> dict[str, Any]:
    if status is None:
        return {"code": None, "signal": None}
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "signal": None} if code >= 0 else {"code": None, "signal": -code}


def _say(control: socket.socket, event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        control.sendall(json.dumps(event).encode() + b"\n")


def _first_order(control: socket.socket) -> dict[str, Any] | None:
    received = b""
    while not received.endswith(b"\n"):
        data = control.recv(_READ_BYTES)
        if not data:
            return None
        received += data
    order: dict[str, Any] = json.loads(received)
    return order


def main() -> None:
    """Read the order from the socket and keep the engine until it is gone."""
    # Ctrl-C and a closed terminal are the monitor's business; it then tells the keeper.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    order = _first_order(control)
    if order is None:
        return
    try:
        keeper = Keeper(control, order)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _say(control, {"event": "failed", "reason": str(error)})
        return
    keeper.run()


if __name__ == "__main__":
    main()
