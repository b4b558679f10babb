"""Servers of the owner that are started by commands of his own, one for each arm.

Settings of a check:

- `baseline_command`, `mtp_command` (required): program and arguments, without a shell. `{port}` (required)
  and `{host}` stand for the address to listen at, `{model}` and `{draft_model}` for the weights of the check,
  `{draft_length}` for its draft length; other braces stay as they are, so JSON may be written as usual;
- `protocol`, `model`: as of the engine `endpoint`;
- `environment`: variables for the process.

The command must be the server itself. One that only asks somebody else to start it (`docker run`,
`systemctl`) leaves behind what the monitor cannot end: attach such a server by its addresses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monitor.domain import SERVED, Check
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.check_settings import known_settings, text_settings, variables
from monitor.engines.endpoint import dialect_of
from monitor.errors import ConfigurationError

_SETTINGS = {"baseline_command", "mtp_command", "protocol", "model", "environment"}
_HOST = "127.0.0.1"
_PLACE = re.compile(r"\{(port|host|model|draft_model|draft_length)\}")


class CommandEngine:
    """The engine `command`."""

    name = "command"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the arm's command with its places filled in."""
        settings = known_settings(setup, _SETTINGS)
        dialect_of(setup.check)
        key = f"{setup.arm}_command"
        command = text_settings(settings, key)
        if not command or not any("{port}" in argument for argument in command):
            raise ConfigurationError(
                f"The check {setup.check.id} has no usable `serve.{key}`.",
                advice="give program and arguments as a list, with {port} where the port belongs",
            )
        places = _places(setup)
        argv = tuple(_filled(argument, places, setup.check) for argument in command)
        folder = Path(argv[0]).parent
        return Launch(
            argv=argv,
            environment=variables(settings),
            # What is installed beside the program (of a virtual environment, say) is found by it.
            path=(folder,) if folder.is_absolute() else (),
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return the address the command was told to listen at."""
        return f"http://{_HOST}:{setup.port}"

    def dialect(self, check: Check, /) -> Dialect:
        """Return the protocol the check names."""
        return dialect_of(check)

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return the program; its arguments stand in the check."""
        return {"program": text_settings(setup.serve, f"{setup.arm}_command")[0]}


def _places(setup: Setup) -> dict[str, str]:
    places = {"port": str(setup.port), "host": _HOST, "draft_length": str(setup.check.draft_length)}
    if setup.check.model.kind != SERVED:
        places["model"] = str(setup.model)
    if setup.draft_model is not None:
        places["draft_model"] = str(setup.draft_model)
    return places


def _filled(argument: str, places: dict[str, str], check: Check) -> str:
    def place(found: re.Match[str]) -> str:
        if found[1] not in places:
            table = "draft_model" if found[1] == "draft_model" else "model"
            raise ConfigurationError(
                f"A command of the check {check.id} has {found[0]}, and the check names no such weights.",
                advice=f"write the path into the command, or give `[{table}]` files (kind `path`)",
            )
        return places[found[1]]

    return _PLACE.sub(place, argument)
