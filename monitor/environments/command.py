"""Runs uv: with an environment of its own, a deadline, and failures turned into the monitor's errors."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import uv

from monitor.errors import (
    ArtifactChangedError,
    DiskFullError,
    MonitorError,
    ProvisionError,
    SourceError,
)
from monitor.index_address import find_links_here, index_url_of
from monitor.settings_tables import SourceSettings, UvSettings

_PASSED_ON = re.compile(
    r"""HOME|PATH|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TZ|XDG_\w+|NETRC
    |(?i:(https?|all|no)_proxy)|SSL_CERT_\w+|SSL_CLIENT_CERT
    |UV_(CACHE_DIR|CONFIG_FILE|NATIVE_TLS|SYSTEM_CERTS|HTTP_\w+|CONCURRENT_\w+|INSECURE_HOST|KEYRING_PROVIDER
        |LINK_MODE|OFFLINE|PYTHON_INSTALL_\w+|PYTHON_DOWNLOADS|PYTHON_PREFERENCE
        |INDEX_\w+_(USERNAME|PASSWORD))""",
    re.VERBOSE,
)
"""What decides how uv reaches network, cache and Pythons. All else (VIRTUAL_ENV, PYTHONPATH, UV_INDEX,
UV_CONSTRAINT, …) would let the shell the monitor was started from decide what is installed."""

_DIES_WITH_US = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG, SIGKILL: kept across execv
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
_TAIL_LINES = 30
_TAIL_CHARACTERS = 3000

# uv says what went wrong in words only; these are its words, and those of the libraries it stands on.
_NO_ROOM = re.compile(r"No space left on device|os error 28\b|Disk quota exceeded|os error 122\b")
_MISMATCH = re.compile(r"Hash mismatch", re.IGNORECASE)
_NETWORK = re.compile(
    r"error sending request|request failed|failed to (fetch|download)|HTTP status (client|server) error"
    r"|dns error|could not connect|tcp connect error|connection (refused|reset|closed)|operation timed out"
    r"|distribution not found|network (timeout|is unreachable|connectivity is disabled|was disabled)"
    r"|peer closed connection|incomplete (body|message)|end of file|unexpected EOF|stream error",
    re.IGNORECASE,
)
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class UvCommand:
    """The uv that came with the monitor, for one source."""

    def __init__(self, settings: UvSettings, source: SourceSettings | None = None) -> None:
        self._settings = settings
        self._source = source
        self._index = index_url_of(source) if source is not None else None

    def run(self, arguments: Sequence[str], *, folder: Path, deadline_s: float, offline: bool = False) -> str:
        """Run uv with `arguments` in `folder` and return what it printed.

        Raises:
            SourceError: the index or a file could not be reached.
            ArtifactChangedError: a file has another sha256 than was asked for.
            DiskFullError: no room.
            ProvisionError: everything else, with the last lines uv said.

        """
        command = [uv.find_uv_bin(), *arguments, "--no-progress", "--color", "never"]
        command += self._configuration()
        if self._settings.cache_dir is not None:
            command += ["--cache-dir", str(self._settings.cache_dir)]
        if offline:
            command.append("--offline")
        code, out, error = run_bound(command, self._environment(), folder, deadline_s)
        if code != 0:
            raise self._failure(error, deadline_s if code == _TOO_LATE else None)
        return out

    def find_links(self) -> list[str]:
        """Return the options that name further folders and pages: the source's, and those pip uses here.

        Without an `index_url` of its own a source is installed from what uv and pip use on this machine, and
        that is the index together with such places.
        """
        places = self._source.find_links if self._source is not None else ()
        if self._source is not None and not self._source.index_url:
            places = tuple(dict.fromkeys((*places, *find_links_here())))
        return [part for place in places for part in ("--find-links", place)]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        if "SSL_CERT_FILE" not in kept and (certificates := os.environ.get("PIP_CERT")):
            kept["SSL_CERT_FILE"] = certificates
        if self._index is not None:
            # The option `--default-index` says the same, but every user of the machine can read the
            # options of a process, and the address may hold a password.
            kept["UV_DEFAULT_INDEX"] = self._index
        return kept

    def _configuration(self) -> list[str]:
        """Keep uv from the project files around it, but not from the user's own uv.toml (proxies, TLS)."""
        if os.environ.get("UV_CONFIG_FILE"):
            return []
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        for file in (home / "uv/uv.toml", Path("/etc/uv/uv.toml")):
            if file.is_file():
                return ["--config-file", str(file)]
        return ["--no-config"]

    def _failure(self, text: str, deadline_s: float | None) -> MonitorError:
        said = self._clean(text)
        if deadline_s is not None:
            return SourceError(
                f"uv was not done after {deadline_s:g} s.\n{said}",
                advice="look at the network and the index; it will be tried again",
            )
        if _NO_ROOM.search(text):
            return DiskFullError(
                f"No room left while installing.\n{said}",
                kept="every complete environment; the half-built one was removed",
                advice="make room where the state folder and uv's cache lie, then try again",
            )
        if _MISMATCH.search(text):
            return ArtifactChangedError(
                f"A file has another sha256 than its source promised.\n{said}",
                kept="every complete environment and every earlier result; nothing was installed",
                advice="install nothing from this source before its owner has explained the change",
            )
        if _NETWORK.search(text):
            return SourceError(
                f"uv could not fetch what it needs.\n{said}",
                kept="every complete environment",
                advice="look at the network and the index; it will be tried again",
            )
        return ProvisionError(
            f"The release does not install here.\n{said}",
            kept="every complete environment",
            advice="the lines above are uv's; the next release is not affected",
        )

    def _clean(self, text: str) -> str:
        secret = (self._index or "").partition("://")[2].rpartition("@")[0]
        for part in {secret, *secret.split(":", 1)[1:]} - {""}:
            text = text.replace(part, "****")
        lines = [line for line in _ANSI.sub("", text).splitlines() if line.strip()]
        return "\n".join(lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]


_TOO_LATE = -1000  # no process ends with it
_BLOCK = 65536


def run_bound(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, deadline_s: float
) -> tuple[int, str, str]:
    """Run a command that ends with this process, and return its status, output and error output."""
    process = _started(command, environment, folder)
    try:
        out, error = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        _end(process)
        _, error = process.communicate()
        return _TOO_LATE, "", error
    except BaseException:
        _end(process)
        process.communicate()
        raise
    return process.returncode, out, error


def answer_of(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    deadline_s: float,
    max_bytes: int,
) -> tuple[int | None, str, str]:
    """Run a foreign command as `run_bound` does, and keep at most `max_bytes` of each of its outputs.

    The status is None when it was not done in time. Nothing of its process group is left.
    """
    until = time.monotonic() + deadline_s
    with _started(command, environment, folder) as process:
        kept = {pipe.fileno(): bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
        try:
            with selectors.DefaultSelector() as readable:
                for pipe in kept:
                    readable.register(pipe, selectors.EVENT_READ)
                while readable.get_map() and (left := until - time.monotonic()) > 0:
                    for key, _ in readable.select(left):
                        data = os.read(key.fd, _BLOCK)
                        # What is too much is read all the same: a full pipe would stop the command.
                        kept[key.fd] += data[: max_bytes - len(kept[key.fd])]
                        if not data:
                            readable.unregister(key.fd)
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            code = process.poll()
        finally:
            _end(process)
    out, error = (bytes(text).decode("utf-8", errors="replace") for text in kept.values())
    return code, out, error


def _started(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DIES_WITH_US, str(os.getpid()), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
