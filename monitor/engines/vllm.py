"""vLLM's OpenAI-compatible server.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`: `--max-model-len` (required);
- `flags`: further arguments of the server, as they are;
- `method`: of speculation; `mtp` where it is not given, for without a method older releases take Gemma's
  assistant for a plain draft model. Further keys of `--speculative-config` go into `speculative_config`;
- `environment`: variables for the process;
- `absent_modules`: modules that the environment lacks and vLLM imports without using them for this model;
  they are answered with empty ones.

What differs between versions stands in `vllm_versions.py`, what is said over HTTP in `vllm_http.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from monitor.domain import Arm, Check
from monitor.engines import vllm_versions
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.check_settings import known_settings, text_settings, variables
from monitor.engines.vllm_http import VllmHttp
from monitor.errors import ConfigurationError
from monitor.proc import harmless

SERVED_NAME = "model-under-test"

_SETTINGS = {"context", "flags", "method", "speculative_config", "environment", "absent_modules"}
_SOCKETS = {"VLLM_RPC_BASE_PATH": "."}
"""Its processes talk over sockets in this folder. The path of one may have 107 characters at most, so it is
given relative to the folder that they all run in, which is private."""
_MODULE = "vllm.entrypoints.openai.api_server"
_REPORT = "report.json"
_MAX_REPORT = 2**16
_LOG_BYTES = 2**20  # from the beginning: the start-up


class VllmEngine:
    """The engine `vllm`."""

    name = "vllm"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the command line."""
        settings = known_settings(setup, _SETTINGS)
        if "context" not in settings:
            raise ConfigurationError(
                f"The check {setup.check.id} lacks `serve.context`.",
                advice="without it vLLM takes the model's longest context, which may not fit",
            )
        argv = [*_server(setup), "--model", str(setup.model), "--served-model-name", SERVED_NAME]
        argv += ["--host", "127.0.0.1", "--port", str(setup.port)]
        argv += ["--max-model-len", str(settings["context"]), *text_settings(settings, "flags")]
        if setup.arm is not Arm.BASELINE:
            speculative: dict[str, Any] = {
                # The arms are called as vLLM calls its methods.
                "method": settings.get("method", "mtp" if setup.arm is Arm.SYNTHETIC else setup.arm.value),
                "num_speculative_tokens": setup.draft_length,
                **dict(settings.get("speculative_config", {})),
            }
            if setup.draft_model is not None:
                speculative["model"] = str(setup.draft_model)
            argv += ["--speculative-config", json.dumps(speculative, sort_keys=True)]
        absent = text_settings(settings, "absent_modules")
        return Launch(
            argv=tuple(argv),
            environment={**_SOCKETS, **_without(absent, setup.scratch), **variables(settings)},
            files={"sitecustomize.py": _launcher("absent_modules.py").read_text("utf-8")} if absent else {},
            path=(setup.python.parent,),
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return the address it was told to listen at."""
        return f"http://127.0.0.1:{setup.port}"

    def dialect(self, _check: Check, /) -> Dialect:
        """Return vLLM's protocol, with the name the model is served by."""
        return VllmHttp(SERVED_NAME)

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return what the start-up log says of the configuration, and what this version was not asked for."""
        version = vllm_versions.version_of(setup.environment.artifact.version)
        newer = vllm_versions.is_newer_than_known(version)
        report = _report(setup.scratch / _REPORT)
        return {
            **vllm_versions.facts(_log_head(setup.log), newer=newer),
            "absent_modules": ", ".join(setup.serve.get("absent_modules", ())),
            "newer_than_known": newer,
            "missing": ", ".join(map(str, report.get("missing", [])))[:500],
        }


def _server(setup: Setup) -> list[str]:
    """Return the command that becomes the server, with the options that have it tell more.

    The server is run as a module: not every packaging has the script. A version that the table cannot know
    is asked first which of the options it lists.
    """
    python = [str(setup.python), "-u"]
    version = vllm_versions.version_of(setup.environment.artifact.version)
    words = [word for option in vllm_versions.options(version, setup.arm) for word in option.words]
    if not vllm_versions.is_newer_than_known(version):
        return [*python, "-m", _MODULE, *words]
    report = str(setup.scratch / _REPORT)
    return [*python, str(_launcher("vllm_server.py")), report, str(len(words)), *words]


def _launcher(name: str) -> Path:
    return Path(str(files("monitor.engines") / "launchers" / name))


def _without(modules: Sequence[str], scratch: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(scratch), "MTP_MONITOR_ABSENT": ",".join(modules)} if modules else {}


def _report(path: Path) -> dict[str, Any]:
    """Return what the launcher wrote; it runs beside the engine, so it may be anything."""
    try:
        with path.open(encoding="utf-8") as file:
            report = json.loads(file.read(_MAX_REPORT))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) and isinstance(report.get("missing", []), list) else {}


def _log_head(log: Path | None) -> str:
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            return harmless(file.read(_LOG_BYTES).decode("utf-8", errors="replace"))
    except OSError:
        return ""
