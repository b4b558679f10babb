"""llama.cpp's server out of the `xllamacpp` package, which has it as a library.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`: tokens of context of each stream (required: the automatic choice depends on free memory);
- `threads`: of the CPU, for prompt and decoding alike (required, for the same reason);
- `batch`, `ubatch`: logical and physical batch size; `gpu_layers`;
- `draft_min`, `draft_p_min`: least draft length and probability;
- `acceptance`, in the arm `synthetic`: share accepted at each place of a draft, such as [0.8, 0.6, 0.4];
- `ngram_size`, in the arm `ngram`: tokens that must repeat before what followed them is drafted;
- `environment`: variables for the process.

Every build is told all of it, defaults included, because defaults have moved silently between builds (about
b9235: draft length 16 → 3, least probability 0.75 → 0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from monitor.domain import Arm, Check
from monitor.engines import launcher
from monitor.engines.answers import flat
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.check_settings import known_settings, shares, variables
from monitor.engines.llama_http import LLAMA
from monitor.errors import ConfigurationError

_SETTINGS = {
    "context",
    "threads",
    "batch",
    "ubatch",
    "gpu_layers",
    "draft_min",
    "draft_p_min",
    "ngram_size",
    "acceptance",
    "environment",
}
_MTP, _DRAFT, _NGRAM = "DRAFT_MTP", "DRAFT_SIMPLE", "NGRAM_SIMPLE"
_NGRAM_SIZE = 3


class XllamacppEngine:
    """The engine `xllamacpp`."""

    name = "xllamacpp"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the launcher's command in the environment under test, and its order."""
        settings = known_settings(setup, _SETTINGS)
        order = {"parameters": _parameters(setup, settings), "report": str(setup.scratch / launcher.REPORT)}
        program = files("monitor.engines") / "launchers" / "xllamacpp_server.py"
        return Launch(
            # -B: an environment is never changed by running it.
            argv=(
                str(setup.python),
                "-I",
                "-B",
                "-u",
                str(program),
                str(setup.scratch / launcher.ORDER),
            ),
            environment=variables(settings),
            files={launcher.ORDER: json.dumps(order, indent=1)},
            path=(setup.python.parent,),
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return where the launcher reports that the server listens, None before that."""
        return launcher.address(setup)

    def dialect(self, _check: Check, /) -> Dialect:
        """Return llama.cpp's own protocol."""
        return LLAMA

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return what the launcher could set, as read back, and what this build does not know.

        The package is built without llama.cpp's build number (`b0-unknown`), so the build is read from the
        version of the package, whose last part it is.
        """
        report = launcher.report(setup) or {}
        build = setup.environment.artifact.version.rpartition(".")[2].partition("+")[0]
        return {
            "build": int(build) if build.isdigit() else None,
            **flat("set", report.get("set", {})),
            "missing": ", ".join(map(str, report.get("missing", [])))[:500],
        }


def _parameters(setup: Setup, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the launcher sets, each with the names builds have had for it."""
    missing = [key for key in ("context", "threads") if key not in settings]
    if missing:
        raise ConfigurationError(
            f"The check {setup.check.id} lacks `serve.{missing[0]}`.",
            advice="without it every build would choose for itself, and differently",
        )
    threads = settings["threads"]
    plain: list[tuple[str | tuple[str, ...], Any, bool]] = [
        ("model.path", str(setup.model), True),
        (("hostname", "hostnames"), "127.0.0.1", True),
        ("port", 0, True),
        # The server shares its context among its streams.
        ("n_ctx", settings["context"] * setup.check.concurrency, True),
        ("n_parallel", setup.check.concurrency, True),
        ("n_batch", settings.get("batch", 2048), False),
        ("n_ubatch", settings.get("ubatch", 512), False),
        ("n_gpu_layers", settings.get("gpu_layers", 0), False),
        ("endpoint_metrics", True, False),
        ("endpoint_slots", True, False),
        ("endpoint_props", True, False),
        # Each of these would let the state of the machine or an earlier request decide.
        ("fit_params", False, False),
        ("cache_ram_mib", 0, False),
        ("cache_prompt", False, False),
        ("cpuparams.n_threads", threads, True),
        ("cpuparams_batch.n_threads", threads, True),
        (("ui", "webui"), False, False),
    ]
    parameters: list[dict[str, Any]] = [
        {
            "places": [places] if isinstance(places, str) else list(places),
            "value": value,
            "required": required,
        }
        for places, value, required in plain
    ]
    if setup.arm is Arm.NGRAM:
        parameters += _ngrams(setup, settings)
    elif setup.arm is not Arm.BASELINE:
        parameters += _speculation(setup, settings, threads)
    return parameters


def _type(name: str) -> dict[str, Any]:
    choice = ("common_speculative_type", f"COMMON_SPECULATIVE_TYPE_{name}")
    return {"places": ["speculative.types"], "value": None, "choice": choice, "required": True}


def _ngrams(setup: Setup, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Look the last tokens up in what was said before, and draft what followed them there."""
    place = "speculative.ngram_simple"
    return [
        _type(_NGRAM),
        {"places": [f"{place}.size_n"], "value": settings.get("ngram_size", _NGRAM_SIZE), "required": True},
        {"places": [f"{place}.size_m"], "value": setup.draft_length, "required": True},
        {"places": [f"{place}.min_hits"], "value": 1, "required": False},
        {"places": ["speculative.draft.n_max"], "value": setup.draft_length, "required": False},
        {"places": ["speculative.draft.n_min"], "value": 0, "required": False},
    ]


def _speculation(setup: Setup, settings: Mapping[str, Any], threads: Any) -> list[dict[str, Any]]:
    draft = "speculative.draft"
    parameters: list[dict[str, Any]] = [
        _type(_DRAFT if setup.arm is Arm.DRAFT_MODEL else _MTP),
        {"places": [f"{draft}.n_max"], "value": setup.draft_length, "required": True},
        {"places": [f"{draft}.n_min"], "value": settings.get("draft_min", 0), "required": True},
        {"places": [f"{draft}.p_min"], "value": settings.get("draft_p_min", 0.0), "required": True},
        {"places": [f"{draft}.cpuparams.n_threads"], "value": threads, "required": False},
        {"places": [f"{draft}.cpuparams_batch.n_threads"], "value": threads, "required": False},
    ]
    if setup.arm is Arm.SYNTHETIC:
        # Known from b10809 on.
        rates = shares(setup, settings)
        parameters.append({"places": ["speculative.synth_rates"], "value": rates, "required": True})
    if setup.arm is not Arm.DRAFT_MODEL:
        # Known from b11549 on; there the head is not loaded without it.
        parameters.append({"places": ["load_mtp"], "value": True, "required": False})
    if setup.draft_model is not None:
        path = str(setup.draft_model)
        parameters.append({"places": [f"{draft}.mparams.path"], "value": path, "required": True})
    return parameters
