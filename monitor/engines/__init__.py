"""The engines a check can name."""

from __future__ import annotations

from monitor import validation
from monitor.engines.base import Engine
from monitor.engines.command import CommandEngine
from monitor.engines.endpoint import EndpointEngine
from monitor.engines.llama_cpp_python import LlamaCppPythonEngine
from monitor.engines.llama_server import LlamaServerEngine
from monitor.engines.vllm import VllmEngine
from monitor.engines.xllamacpp import XllamacppEngine
from monitor.errors import ConfigurationError

_ENGINES: tuple[Engine, ...] = (
    XllamacppEngine(),
    LlamaServerEngine(),
    LlamaCppPythonEngine(),
    VllmEngine(),
    EndpointEngine(),
    CommandEngine(),
)


def engine_for(name: str) -> Engine:
    """Return the engine called `name`.

    Raises:
        ConfigurationError: when there is none.

    """
    known = {engine.name: engine for engine in _ENGINES}
    if name not in known:
        raise ConfigurationError(
            f"There is no engine {name!r}.",
            advice=f"{validation.nearest(name, known)} (`engine` of the check)",
        )
    return known[name]
