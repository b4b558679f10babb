"""Servers that already run: nothing is started, and nothing is known of how they were.

Settings of a check:

- `baseline_url`, `mtp_url` (required): where each arm is served, such as `http://127.0.0.1:8080`;
- `protocol` (required): `llama.cpp` or `vllm`, whose answers are understood;
- `model`: the name the model is served by (`vllm` only, required there).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from monitor.domain import Arm, Check
from monitor.engines.base import Dialect, Setup
from monitor.engines.check_settings import known_settings
from monitor.engines.llama_http import LLAMA
from monitor.engines.vllm_http import VllmHttp
from monitor.errors import ConfigurationError

_SETTINGS = {"baseline_url", "mtp_url", "protocol", "model"}
_LLAMA, _VLLM = "llama.cpp", "vllm"


class EndpointEngine:
    """The engine `endpoint`."""

    name = "endpoint"

    def launch(self, setup: Setup, /) -> None:
        """Return nothing: the server runs. The settings are looked at all the same."""
        known_settings(setup, _SETTINGS)
        dialect_of(setup.check)
        self.address(setup)

    def address(self, setup: Setup, /) -> str | None:
        """Return the arm's address from the check."""
        return address_of(setup.check, setup.arm)

    def dialect(self, check: Check, /) -> Dialect:
        """Return the protocol the check names."""
        return dialect_of(check)

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return where it was asked."""
        return {"address": self.address(setup)}


def address_of(check: Check, arm: Arm) -> str:
    """Return where an arm of an endpoint check is served, without a trailing slash.

    Raises:
        ConfigurationError: when the check does not say so.

    """
    key = "mtp_url" if arm is Arm.MTP else "baseline_url"
    settings = {**check.serve, **check.serve_mtp} if arm is Arm.MTP else check.serve
    url = settings.get(key)
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"The check {check.id} has no usable `serve.{key}`.", advice="give http://HOST:PORT"
        )
    return str(url).rstrip("/")


def dialect_of(check: Check) -> Dialect:
    """Return how the servers of a check are asked that names their protocol itself.

    Raises:
        ConfigurationError: when it names none that is known, or lacks the name of the model.

    """
    protocol = check.serve.get("protocol")
    if protocol not in {_LLAMA, _VLLM} or (protocol == _VLLM and "model" not in check.serve):
        raise ConfigurationError(
            f"The check {check.id} does not say how its servers are asked.",
            advice=f"give `serve.protocol`: '{_LLAMA}', or '{_VLLM}' with `serve.model`",
        )
    return LLAMA if protocol == _LLAMA else VllmHttp(str(check.serve["model"]))
