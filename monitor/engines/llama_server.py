"""llama.cpp's own `llama-server` binary, as an archive, a source build or a container has it.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`: tokens of context of each stream (required: the automatic choice depends on free memory);
- `threads`: of the CPU, for prompt and decoding alike, and for the draft;
- `batch`, `ubatch`: logical and physical batch size; `gpu_layers` (99: all);
- `flash_attention` (`on`, `off`, `auto`), `cache_type_k`, `cache_type_v`;
- `flags`: further arguments of `llama-server`, as they are; they win over everything above;
- `draft_min`, `draft_p_min`: least draft length and probability;
- `acceptance`, in the arm `synthetic`: share accepted at each place of a draft, such as [0.8, 0.6, 0.4];
- `ngram_size`, in the arm `ngram`: tokens that must repeat before what followed them is drafted;
- `environment`: variables for the process.

Every build is told all of it, defaults included, because defaults have moved silently between builds (about
b9235: draft length 16 → 3, least probability 0.75 → 0). What a build does not know, by its own table of
options, is left out and stands in the session's facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.domain import Arm, Check
from monitor.domain.llama_builds import build_number_in
from monitor.engines import llama_flags
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.check_settings import known_settings, shares, text_settings, variables
from monitor.engines.llama_http import LLAMA
from monitor.errors import ConfigurationError

_SETTINGS = {
    "context",
    "threads",
    "batch",
    "ubatch",
    "gpu_layers",
    "flash_attention",
    "cache_type_k",
    "cache_type_v",
    "flags",
    "draft_min",
    "draft_p_min",
    "ngram_size",
    "acceptance",
    "environment",
}
_SPECULATION = {
    Arm.MTP: "draft-mtp",
    Arm.DRAFT_MODEL: "draft-simple",
    Arm.NGRAM: "ngram-simple",
    Arm.SYNTHETIC: "draft-mtp",
}
_NGRAM_SIZE = 3


@dataclass(frozen=True, slots=True)
class _Pin:
    """An option that every server is given, so that nothing is left to its default."""

    name: str
    value: str | None = None
    """None of a switch."""
    required: bool = False
    """Without it the arm means nothing: a build that does not know it is told it, and refuses."""


class LlamaServerEngine:
    """The engine `llama-server`."""

    name = "llama-server"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the command line for the build in the environment."""
        settings = known_settings(setup, _SETTINGS)
        if "context" not in settings:
            raise ConfigurationError(
                f"The check {setup.check.id} lacks `serve.context`.",
                advice="without it every build would choose for itself, and differently",
            )
        program = setup.program(self.name)
        argv = [str(program)]
        for pin in _known(_pins(setup, settings), build_number_in(setup.environment.packages)):
            argv += [pin.name] if pin.value is None else [pin.name, pin.value]
        argv += text_settings(settings, "flags")
        return Launch(
            argv=tuple(argv),
            environment=variables(settings),
            path=(program.parent,),
            # What it brought along lies beside what `bin` links to.
            libraries=(program.resolve().parent,),
        )

    def address(self, setup: Setup, /) -> str | None:
        """Return the address it was told to listen at."""
        return f"http://127.0.0.1:{setup.port}"

    def dialect(self, _check: Check, /) -> Dialect:
        """Return llama.cpp's own protocol."""
        return LLAMA

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return the build, and what it was not told because it does not know it."""
        build = build_number_in(setup.environment.packages)
        pins = list(_pins(setup, known_settings(setup, _SETTINGS)))
        told = list(_known(pins, build))
        missing = [pin.name for pin in pins if pin not in told]
        return {"build": build, "missing": ", ".join(missing)}


def _pins(setup: Setup, settings: dict[str, Any]) -> Iterator[_Pin]:
    """Yield what the server is given, without what the check's own `flags` say."""
    own = _options_in(text_settings(settings, "flags"))
    for pin in (*_serving(setup, settings), *_speculation(setup, settings)):
        if not own & _spellings(pin.name):
            yield pin


def _serving(setup: Setup, settings: dict[str, Any]) -> Iterator[_Pin]:
    streams = setup.check.concurrency
    yield _Pin("--model", str(setup.model), required=True)
    yield _Pin("--host", "127.0.0.1", required=True)
    yield _Pin("--port", str(setup.port), required=True)
    # The server shares its context among its streams.
    yield _Pin("--ctx-size", str(settings["context"] * streams), required=True)
    yield _Pin("--parallel", str(streams), required=True)
    yield _Pin("--batch-size", str(settings.get("batch", 2048)))
    yield _Pin("--ubatch-size", str(settings.get("ubatch", 512)))
    yield _Pin("--n-gpu-layers", str(settings.get("gpu_layers", 99)))
    yield _Pin("--flash-attn", str(settings.get("flash_attention", "on")))
    yield _Pin("--cache-type-k", str(settings.get("cache_type_k", "f16")))
    yield _Pin("--cache-type-v", str(settings.get("cache_type_v", "f16")))
    # Each of these would let the state of the machine or an earlier request decide.
    yield _Pin("--fit", "off")
    yield _Pin("--cache-ram", "0")
    yield _Pin("--no-cache-prompt")
    yield _Pin("--metrics")
    yield _Pin("--slots")
    yield _Pin("--props")
    yield _Pin("--no-webui")
    if "threads" in settings:
        yield _Pin("--threads", str(settings["threads"]), required=True)
        yield _Pin("--threads-batch", str(settings["threads"]))


def _speculation(setup: Setup, settings: dict[str, Any]) -> Iterator[_Pin]:
    if setup.arm is Arm.BASELINE:
        return
    # `--spec-draft-n-max` without `--spec-type` serves without speculation and says nothing.
    yield _Pin("--spec-type", _SPECULATION[setup.arm], required=True)
    if setup.arm is Arm.NGRAM:
        size = settings.get("ngram_size", _NGRAM_SIZE)
        yield _Pin("--spec-ngram-simple-size-n", str(size), required=True)
        yield _Pin("--spec-ngram-simple-size-m", str(setup.draft_length), required=True)
        yield _Pin("--spec-ngram-simple-min-hits", "1")
        return
    if setup.arm is Arm.SYNTHETIC:
        rates = ",".join(map(str, shares(setup, settings)))
        yield _Pin("--spec-synth-rates", rates, required=True)
    yield _Pin("--spec-draft-n-max", str(setup.draft_length), required=True)
    yield _Pin("--spec-draft-n-min", str(settings.get("draft_min", 0)), required=True)
    yield _Pin("--spec-draft-p-min", str(settings.get("draft_p_min", 0.0)), required=True)
    if setup.draft_model is not None:
        yield _Pin("--model-draft", str(setup.draft_model), required=True)
    if "threads" in settings:
        yield _Pin("--spec-draft-threads", str(settings["threads"]))
        yield _Pin("--spec-draft-threads-batch", str(settings["threads"]))


def _known(pins: Sequence[_Pin] | Iterator[_Pin], build: int | None) -> Iterator[_Pin]:
    """Yield the pins that a build knows; one that is not known may know everything."""
    below, above = llama_flags.options_of(build if build is not None else llama_flags.observed()[-1])
    for pin in pins:
        states = [options.by_name[pin.name] for options in (below, above) if pin.name in options.by_name]
        if pin.required or any(state.entry.removed is None for state in states):
            yield pin


def _spellings(name: str) -> set[str]:
    """Return every name that an option ever had."""
    return {name} | {spelt for state in llama_flags.history(name) for spelt in state.entry.names}


def _options_in(flags: Sequence[str]) -> set[str]:
    # A negative number is a value.
    return {flag.partition("=")[0] for flag in flags if re.match(r"--?[A-Za-z]", flag)}
