"""llama.cpp's own `llama-server` binary, as an archive or a source build has it.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`: tokens of context of each stream (required);
- `threads`: of the CPU;
- `flags`: further arguments of `llama-server`, as they are;
- `draft_min`, `draft_p_min`: least draft length and probability;
- `environment`: variables for the process.
"""

from __future__ import annotations

from typing import Any

from monitor.domain import Arm, Check
from monitor.engines.base import (
    Dialect,
    Launch,
    Setup,
    known_settings,
    text_settings,
    variables,
)
from monitor.engines.llama_http import LLAMA
from monitor.errors import ConfigurationError

_SETTINGS = {"context", "threads", "flags", "draft_min", "draft_p_min", "environment"}


class LlamaServerEngine:
    """The engine `llama-server`."""

    name = "llama-server"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the command line; names of options since b9180 (`common/arg.cpp`)."""
        settings = known_settings(setup, _SETTINGS)
        if "context" not in settings:
            raise ConfigurationError(
                f"The check {setup.check.id} lacks `serve.context`.",
                advice="without it every build would choose for itself, and differently",
            )
        streams = setup.check.concurrency
        argv = [str(setup.program("llama-server")), "-m", str(setup.model)]
        argv += ["--host", "127.0.0.1", "--port", str(setup.port)]
        argv += ["-c", str(settings["context"] * streams), "-np", str(streams)]
        argv += ["--metrics", "--slots", "--props"]
        if "threads" in settings:
            argv += ["-t", str(settings["threads"]), "-tb", str(settings["threads"])]
        argv += text_settings(settings, "flags")
        if setup.arm is Arm.MTP:
            # `--spec-draft-n-max` without `--spec-type` serves without speculation and says nothing.
            argv += ["--spec-type", "draft-mtp", "--spec-draft-n-max", str(setup.check.draft_length)]
            argv += ["--spec-draft-n-min", str(settings.get("draft_min", 0))]
            argv += ["--spec-draft-p-min", str(settings.get("draft_p_min", 0.0))]
            if setup.draft_model is not None:
                argv += ["-md", str(setup.draft_model)]
        return Launch(
            argv=tuple(argv), environment=variables(settings), path=(setup.environment.path / "bin",)
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return the address it was told to listen at."""
        return f"http://127.0.0.1:{setup.port}"

    def dialect(self, _check: Check, /) -> Dialect:
        """Return llama.cpp's own protocol."""
        return LLAMA

    def facts(self, _setup: Setup, /) -> dict[str, Any]:
        """Return nothing: the server itself tells all there is to know."""
        return {}
