"""llama-cpp-python's own way of generating, as a source build of one of its releases has it.

The `baseline` arm is the library's plain generation; the `mtp` arm is the example server of the same
source, which has its own loop around the library's MTP context. `llama-server`, built from the same source,
is another engine (`llama_server.py`) in the same environment.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`, `threads`: tokens of context, threads of the CPU (required: the defaults follow model and
  machine);
- `batch`, `ubatch`, `gpu_layers`; `draft_p_min`: least probability of a drafted token;
- `environment`: variables for the process.

One stream only. With `ignore_eos` the end of text is a token like others in plain generation, and ruled out
in the example server, which knows no other way.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from monitor.domain import JUDGED_ARMS, Arm, Check, Environment
from monitor.engines import launcher
from monitor.engines.answers import flat
from monitor.engines.base import Dialect, Launch, Setup, SpeculationSeries
from monitor.engines.check_settings import known_settings, variables
from monitor.engines.llama_http import LlamaHttp
from monitor.errors import ConfigurationError

SERIES = SpeculationSeries(
    drafts="batch_server:draft_proposals_total",
    drafted="batch_server:draft_tokens_proposed_total",
    accepted="batch_server:draft_tokens_accepted_total",
    accepted_per_position="batch_server:draft_tokens_accepted_per_position_total",
)
"""Of the example server. It counts how many tokens were accepted at once, and not by place."""

_SETTINGS = {"context", "threads", "batch", "ubatch", "gpu_layers", "draft_p_min", "environment"}
_EXAMPLE = Path("share") / "llama-cpp-python" / "server.py"
_MTP = '"draft-mtp"'
_MAX_EXAMPLE = 8 * 2**20


class LlamaCppPythonHttp(LlamaHttp):
    """llama.cpp's protocol, as the launcher speaks it, with the counters of the example server."""

    fact_paths: tuple[str, ...] = ("/props",)
    series = SERIES


class LlamaCppPythonEngine:
    """The engine `llama-cpp-python`."""

    name = "llama-cpp-python"

    def lacks(self, environment: Environment, arm: Arm, /) -> str | None:
        """Return why a release cannot serve `arm`, None when it can."""
        if arm is Arm.BASELINE:
            return None
        example = environment.path / _EXAMPLE
        try:
            with example.open(encoding="utf-8") as file:
                text = file.read(_MAX_EXAMPLE)
        except (OSError, UnicodeDecodeError):
            return "no MTP in this release: its source has no example server"
        return None if _MTP in text else "no MTP in this release: its example server does not draft with it"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the launcher's command in the environment under test, and its order."""
        settings = known_settings(setup, _SETTINGS)
        missing = [key for key in ("context", "threads") if key not in settings]
        if missing:
            raise ConfigurationError(
                f"The check {setup.check.id} lacks `serve.{missing[0]}`.",
                advice="without it every release would choose for itself, and differently",
            )
        if setup.check.concurrency != 1:
            raise ConfigurationError(
                f"The check {setup.check.id} asks for {setup.check.concurrency} streams.",
                advice="the library generates one answer at a time: `concurrency = 1`",
            )
        common = {
            "n_ctx": settings["context"],
            "n_batch": settings.get("batch", 2048),
            "n_ubatch": settings.get("ubatch", 512),
            "n_gpu_layers": settings.get("gpu_layers", 0),
        }
        threads = settings["threads"]
        order: dict[str, Any] = {
            "example": None,
            "report": str(setup.scratch / launcher.REPORT),
            "llama": {
                "model_path": str(setup.model),
                **common,
                "n_threads": threads,
                "n_threads_batch": threads,
            },
        }
        if setup.arm not in JUDGED_ARMS:
            raise ConfigurationError(
                f"The engine {self.name!r} has no arm {setup.arm.value!r} (check {setup.check.id}).",
                advice="measure that arm with llama-server, which is in the same environment",
            )
        if setup.arm is Arm.MTP:
            order["example"] = str(setup.environment.path / _EXAMPLE)
            order["model"] = {
                "path": str(setup.model),
                **common,
                "threads": threads,
                "threads_batch": threads,
                "n_seq_max": 1,
                "store_logits": False,
                "draft_model": "draft-mtp",
                "draft_model_num_pred_tokens": setup.check.draft_length,
                "draft_model_p_min": settings.get("draft_p_min", 0.0),
                "draft_model_threads": threads,
                "draft_model_threads_batch": threads,
            }
            if setup.draft_model is not None:
                order["model"]["draft_model_path"] = str(setup.draft_model)
        program = files("monitor.engines") / "launchers" / "llama_cpp_python_server.py"
        python = setup.python
        return Launch(
            # -B: an environment is never changed by running it.
            argv=(str(python), "-I", "-B", "-u", str(program), str(setup.scratch / launcher.ORDER)),
            environment=variables(settings),
            files={launcher.ORDER: json.dumps(order, indent=1)},
            path=(python.parent,),
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return where the launcher reports that it listens, None before that."""
        return launcher.address(setup)

    def dialect(self, _check: Check, /) -> Dialect:
        """Return llama.cpp's own protocol."""
        return LlamaCppPythonHttp()

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return the way of generating and the library's version."""
        report = launcher.report(setup) or {}
        return flat("", {key: report.get(key) for key in ("path", "library")})
