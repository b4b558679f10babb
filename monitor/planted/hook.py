"""Goes into a planted wheel as `xllamacpp/_planted.py` and changes what that package's `Server` does.

It runs in the engine's environment: standard library only, nothing of the monitor. What to do stands in
`_planted.json` beside it: `fault`, `level` (a fraction, see `monitor.planted.wheels`) and `seed`. Whoever
uses the package notices nothing: `Server(params)` is called as ever. An arm is known by its parameters:
the one that asks for drafting with the model's own head is the mtp arm.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import mmap
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

PERIOD_S = 0.02  # of the stop-and-go; short against a measured request, long against the timer
_LONGEST_STOP_S = 0.1  # after the helper itself was kept from running
STRAY_S = 600  # for which what was left behind would go on
FLOOD_BYTES = 100 * 10**6
F32 = 0  # GGML's number for the type
_EH_PROJ = re.compile(r"blk\.\d+\.nextn\.eh_proj\.weight")
_OUTPUT = re.compile(r"output\.weight")
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
"""GGUF's numbers for the types of values; the sizes are bytes (`docs/gguf.md` of ggml)."""


def install(package: dict[str, Any], order: Any = None) -> None:
    """Replace `Server` in the namespace `package` by one with the fault that `order` names.

    Without an order, the one in the file beside this module.
    """
    if order is None:
        order = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    fault, level, seed = order["fault"], order["level"], order["seed"]
    real: Any = package["Server"]
    types = package["common_speculative_type"]

    class Server(real):  # type: ignore[misc]  # its class is known only there
        def __new__(cls, params: Any, *rest: Any) -> Any:
            mtp = types.COMMON_SPECULATIVE_TYPE_DRAFT_MTP in params.speculative.types
            if fault == "crash":
                sys.exit("planted fault: this build ends when a server is started")
            if mtp and fault == "speculation-off":
                params.speculative.types = [types.COMMON_SPECULATIVE_TYPE_NONE]
            if mtp and fault == "one-draft-fewer":
                params.speculative.draft.n_max -= 1
            with contextlib.ExitStack() as until_loaded:
                if mtp and fault in {"worse-head", "altered-tokens"}:
                    copy = until_loaded.enter_context(_copy(Path(params.model.path)))
                    change = worsen_head if fault == "worse-head" else exchange_tokens
                    change(copy, level, seed)
                    params.model.path = str(copy)
                server = super().__new__(cls, params, *rest)
            if fault in _ONCE_STARTED:
                _ONCE_STARTED[fault]()
            if fault == ("slower-step" if mtp else "slower-baseline"):
                _slow_down(level)
            return server

        @property
        def listening_address(self) -> Any:
            address = super().listening_address
            return _deaf(address) if fault == "hang" else address

    package["Server"] = Server


# ---------------------------------------------------------------------------------------------
# Weights


def worsen_head(model: Path, level: float, seed: int) -> None:
    """Lay noise over the MTP block's input projection; the target is not touched.

    `level` is the noise's root mean square against that of the projection's half for the hidden state.
    """
    with _opened(model, _EH_PROJ) as (weights, columns):
        values = array("f")
        values.frombytes(weights)
        hidden = [value for at, value in enumerate(values) if at % columns >= columns // 2]
        size = level * (3 * sum(value * value for value in hidden) / len(hidden)) ** 0.5
        draw = random.Random(seed).random  # noqa: S311  # repeatable on purpose
        weights[:] = array("f", (value + size * (2 * draw() - 1) for value in values)).tobytes()


def exchange_tokens(model: Path, level: float, seed: int) -> None:
    """Give a share `level` of the tokens that are ever said each other's row in the output head."""
    with _opened(model, _OUTPUT) as (weights, columns):
        row = 4 * columns
        draw = random.Random(seed).random  # noqa: S311  # repeatable on purpose
        starts = [start for start in range(0, len(weights), row) if any(weights[start : start + row])]
        moved = sorted(starts, key=lambda _: draw())[: max(2, round(level * len(starts)))]
        rows = [bytes(weights[start : start + row]) for start in moved]
        for start, content in zip(moved, [*rows[1:], *rows[:1]], strict=True):
            weights[start : start + row] = content


@contextlib.contextmanager
def _copy(model: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    try:
        yield Path(shutil.copyfile(model, folder / model.name))
    finally:
        # The server has loaded or mapped it: the name can go before anything could keep it from going.
        shutil.rmtree(folder)


@contextlib.contextmanager
def _opened(model: Path, name: re.Pattern[str]) -> Iterator[tuple[memoryview, int]]:
    """Yield (bytes that may be written, columns) of the one F32 tensor called `name`."""
    with model.open("r+b") as stream:
        places = [place for place in _tensors(stream) if name.fullmatch(place[0])]
        if len(places) != 1 or places[0][2] != F32:
            raise RuntimeError(f"planted fault: {model.name} has no F32 tensor {name.pattern}")
        _, shape, _, start = places[0]
        count = 1
        for size in shape:
            count *= size
        with (
            mmap.mmap(stream.fileno(), 0) as content,
            memoryview(content) as everything,
            everything[start : start + 4 * count] as weights,
        ):
            yield weights, shape[0]


def _tensors(stream: BinaryIO) -> list[tuple[str, tuple[int, ...], int, int]]:
    """Return (name, shape with the columns first, type, byte where it starts) of each tensor."""
    if stream.read(4) != b"GGUF":
        raise RuntimeError("planted fault: the model is no GGUF file")
    _version, tensors, pairs = _unpack(stream, "<IQQ")
    alignment = 32
    for _ in range(pairs):
        key, kind = _string(stream), _unpack(stream, "<I")[0]
        if key == b"general.alignment":
            alignment = _unpack(stream, "<I")[0]
        else:
            _skip(stream, kind)
    found = []
    for _ in range(tensors):
        name = _string(stream).decode()
        (dimensions,) = _unpack(stream, "<I")
        shape = _unpack(stream, f"<{dimensions}Q")
        kind, offset = _unpack(stream, "<IQ")
        found.append((name, shape, kind, offset))
    start = -(-stream.tell() // alignment) * alignment
    return [(name, shape, kind, start + offset) for name, shape, kind, offset in found]


def _skip(stream: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _string(stream)
    elif kind == _ARRAY:
        inner, count = _unpack(stream, "<IQ")
        if inner in _SIZES:
            stream.seek(_SIZES[inner] * count, os.SEEK_CUR)
        else:
            for _ in range(count):
                _skip(stream, inner)
    else:
        stream.seek(_SIZES[kind], os.SEEK_CUR)


def _string(stream: BinaryIO) -> bytes:
    return stream.read(_unpack(stream, "<Q")[0])


def _unpack(stream: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, stream.read(struct.calcsize(form)))


# ---------------------------------------------------------------------------------------------
# Time


def _slow_down(share: float) -> None:
    """Have this process stopped for `share` of the time from now on, by a helper that ends with it."""
    helper = subprocess.Popen(
        [sys.executable, "-I", "-B", str(Path(__file__)), str(os.getpid()), str(share)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    begun: Any = helper.stdout
    begun.read()  # until it closes its end
    begun.close()


def _stop_and_go(process: int, share: float) -> None:
    """Stop `process`, the parent, for `share` of each period until it is gone."""
    going = True

    def end(*_: Any) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, end)
    os.close(1)
    began, stopped_s = time.monotonic(), 0.0
    with contextlib.suppress(ProcessLookupError):
        while going and os.getppid() == process:
            # Where every core is busy both sleeps end late. So each stop makes up for what is missing until
            # now: s with stopped_s + s = share × (elapsed + s).
            missing_s = (share * (time.monotonic() - began) - stopped_s) / (1 - share)
            if missing_s > 0:
                os.kill(process, signal.SIGSTOP)
                stopped_at = time.monotonic()
                try:
                    _await_stop(process)
                    stopped_at = time.monotonic()
                    time.sleep(min(missing_s, _LONGEST_STOP_S))
                finally:
                    stopped_s += time.monotonic() - stopped_at  # before what wakes may take this core
                    os.kill(process, signal.SIGCONT)
            time.sleep((1 - share) * PERIOD_S)


def _await_stop(process: int) -> None:
    """Wait until every thread has stopped: one on another core may go on until the next timer tick."""
    late = time.monotonic() + _LONGEST_STOP_S
    tasks = Path(f"/proc/{process}/task")
    while time.monotonic() < late:
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            if all(_state(task) in "TZX" for task in tasks.iterdir()):
                return
        time.sleep(0.0002)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


# ---------------------------------------------------------------------------------------------
# Company and noise


def _leave_behind() -> None:
    """Start a process in a session of its own, without any of this environment, and let it be orphaned."""
    sleeper = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"time.sleep({STRAY_S})  # planted-stray"
    )
    start = (
        "import os, subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-I', '-c', {sleeper!r}], start_new_session=True, env={{}}); "
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-I", "-c", start], check=True, env={})


def _flood() -> None:
    line = b"nothing of interest " * 3000
    for _ in range(FLOOD_BYTES // len(line) // 2):
        os.write(1, line)
    for _ in range(FLOOD_BYTES // len(line) // 2):
        os.write(1, line[:-1] + b"\n")
    os.write(1, b"\x1b[31mthe end of the flood\x1b[0m\n")


_ONCE_STARTED = {"stray": _leave_behind, "flood": _flood}


# ---------------------------------------------------------------------------------------------
# Silence


def _deaf(address: str) -> str:
    """Return the address of a relay that passes on GETs, so that the server looks well, and no POST."""
    host, _, port = address.partition("://")[2].rstrip("/").rpartition(":")

    class Relay(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", self.path)
                reply = connection.getresponse()
                content = reply.read()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            threading.Event().wait()

        def log_message(self, *_: Any) -> None:
            pass

    relay = http.server.ThreadingHTTPServer((host, 0), Relay)
    relay.daemon_threads = True
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    return f"http://{host}:{relay.server_address[1]}"


if __name__ == "__main__":
    _stop_and_go(int(sys.argv[1]), float(sys.argv[2]))
