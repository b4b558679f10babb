"""The environment of an attached engine: somebody else's, so it is looked at, and nothing is installed.

Commands are the owner's, out of his own configuration, and run as he would run them: with his home and what
reaches his container engine, but without anything that is ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from monitor.domain import Artifact, Environment, Fingerprint, Package
from monitor.environments import collect
from monitor.environments.command import answer_of
from monitor.errors import AttachedChangedError, SourceError

COMMAND_DEADLINE_S = 60.0
MAX_OUTPUT_BYTES = 64 * 2**10
_MAX_LIST_BYTES = 4 * 2**20
_SHOWN = 300  # characters of a failure
_PASSED_ON = re.compile(
    r"""HOME|PATH|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TZ|XDG_RUNTIME_DIR|DBUS_SESSION_BUS_ADDRESS
    |DOCKER_(HOST|CONFIG|CONTEXT|CERT_PATH|TLS_VERIFY)|CONTAINER_HOST
    |LD_LIBRARY_PATH|CUDA_(HOME|VISIBLE_DEVICES|DEVICE_ORDER)|NVIDIA_\w+""",
    re.VERBOSE,
)
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def installed(python: Path) -> tuple[str, tuple[Package, ...]]:
    """Return the version of a Python and every distribution it finds, by name.

    Raises:
        SourceError: it does not run, or answers nonsense.

    """
    script = Path(collect.__file__)
    # -I: neither the working directory nor PYTHONPATH decides what is found; -B: nothing is written there.
    out = _run("python", [str(python), "-I", "-B", str(script)], max_bytes=_MAX_LIST_BYTES)[0]
    try:
        answer: dict[str, Any] = json.loads(out)
        found = {str(canonicalize_name(name)): str(version) for name, version in answer["packages"]}
        packages = tuple(Package(name, version) for name, version in sorted(found.items()))
        return str(answer["python_version"]), packages
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{python} does not list its packages.",
            kept="what was known of what runs there",
            advice="look whether `python` of the source is a Python, 3.8 or newer",
        ) from error


def said_by(key: str, command: Sequence[str]) -> str:
    """Return what the command under `key` of the source printed, harmless; on stderr when stdout is empty.

    Raises:
        SourceError: it cannot be started, fails, is not done in time or prints nothing.

    """
    out, error = _run(key, command, max_bytes=MAX_OUTPUT_BYTES)
    text = _CONTROLS.sub("", out.replace("\r", "\n") if out.strip() else error).strip()
    if not text:
        raise _failed(key, command, "printed nothing")
    return text


def environment_of(artifact: Artifact, now: Fingerprint, python: Path | None) -> Environment:
    """Return what an attached artifact runs in.

    Raises:
        AttachedChangedError: something else runs there now.

    """
    confirm_unchanged(artifact, now)
    listed = any(package.name == canonicalize_name(now.project) for package in now.packages)
    # Shown beside the packages, so that a report says in one place what moved.
    engine = [] if listed else [Package(now.project, "; ".join(now.engine))]
    image = [Package("container image", now.image)] if now.image else []
    driver = [Package("GPU driver", now.driver)] if now.driver else []
    return Environment(
        key=f"attached-{artifact.project}-{artifact.sha256[:12]}",
        artifact=artifact,
        path=python.parent.parent if python else Path("/"),
        python=python,
        python_version=now.python_version,
        packages=(*now.packages, *engine, *image, *driver),
        built_at=datetime.now(UTC),
    )


def confirm_unchanged(artifact: Artifact, now: Fingerprint) -> None:
    """Do nothing while what runs is what the artifact stands for.

    Raises:
        AttachedChangedError: something else runs there now.

    """
    if now.sha256 != artifact.sha256:
        raise AttachedChangedError(
            f"What runs there has changed meanwhile: it is {now.artifact.version}, and "
            f"{artifact.version} was to be measured.",
            kept="the complete sessions of what ran before",
            advice="nothing has to be done: at the next look it is a release of its own, and measured",
        )


def _run(key: str, command: Sequence[str], *, max_bytes: int) -> tuple[str, str]:
    program = shutil.which(command[0])
    if program is None:
        raise _failed(key, command, "cannot be started: there is no such program")
    environment = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    code, out, error = answer_of(
        [program, *command[1:]],
        environment,
        Path("/"),
        deadline_s=COMMAND_DEADLINE_S,
        max_bytes=max_bytes,
    )
    if code is None:
        raise _failed(key, command, f"was not done after {COMMAND_DEADLINE_S:g} s")
    if code != 0:
        said = " ".join(_CONTROLS.sub("", error or out).split())[-_SHOWN:]
        raise _failed(key, command, f"ended with {code}: {said or 'no message'}")
    return out, error


def _failed(key: str, command: Sequence[str], what: str) -> SourceError:
    return SourceError(
        f"`{key}` of the source ({command[0]}) {what}.",
        kept="what was known of what runs there",
        advice=f"run it by hand, and correct `{key}` in the configuration; it will be tried again",
    )
