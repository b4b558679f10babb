"""Borrow: the owner's commands before and after measuring, so that the machine goes back as it was.

A note in the state folder says that the machine is borrowed. It is written before the first command and
removed when the last one has succeeded, so a monitor that was killed in between gives the machine back at
its next start.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from monitor.errors import HostError
from monitor.steps.station import Station

_NOTE = "borrowed.json"
_SHOWN_BYTES = 400


@contextmanager
def borrowed(station: Station) -> Iterator[None]:
    """Run `host.before`, and `host.after` in any case; inside another `borrowed` nothing is run again.

    Raises:
        HostError: when `before` fails (then `after` is run and nothing is measured), or `after` does.

    """
    host = station.settings.host
    if station.is_borrowed or not (host.before or host.after):
        yield
        return
    station.is_borrowed = True
    note = station.settings.state / _NOTE
    try:
        _write_note(note, station)
        if host.before:
            _run("before", host.before, host.command_timeout_s)
        yield
    finally:
        station.is_borrowed = False
        give_back(station)


def give_back(station: Station) -> None:
    """Run `host.after` when the machine is noted as borrowed: at the end, or after a monitor was killed.

    Raises:
        HostError: when the command fails; the note stays, so it is run again at the next start.

    """
    note = station.settings.state / _NOTE
    if not note.exists():
        return
    host = station.settings.host
    if host.after:
        _run("after", host.after, host.command_timeout_s)
    note.unlink(missing_ok=True)


def _write_note(note: Path, station: Station) -> None:
    with note.open("w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "since": station.clock().isoformat()}, file)
        file.flush()
        os.fsync(file.fileno())


def _run(name: str, command: Sequence[str], timeout_s: float) -> None:
    advice = f"run it by hand and correct `host.{name}` in the configuration"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except OSError as error:
        raise HostError(
            f"The command `host.{name}` ({command[0]}) cannot be started: {error.strerror or error}.",
            kept="everything",
            advice=advice,
            permanent=False,
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"The command `host.{name}` ({command[0]}) was not done after {timeout_s:g} s.",
            kept="everything",
            advice=advice,
            permanent=False,
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-_SHOWN_BYTES:].decode("utf-8", errors="replace").strip()
        raise HostError(
            f"The command `host.{name}` ({command[0]}) ended with {done.returncode}: {said or 'no message'}.",
            kept="everything",
            advice=advice,
            permanent=False,
        )
