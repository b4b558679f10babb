"""The settings of a check, as engines read them: what it may say, and what the monitor alone decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from monitor.domain import Check
from monitor.engines.answers import shown
from monitor.engines.base import Setup
from monitor.errors import ConfigurationError

_DECIDED = {
    "prompt",
    "messages",
    "tools",
    "model",
    "stream",
    "stream_options",
    "n_predict",
    "max_tokens",
    "n",
}


def merge_sampling(body: dict[str, Any], check: Check) -> dict[str, Any]:
    """Return `body` with the check's sampling, which may change defaults but not what the monitor decides.

    Raises:
        ConfigurationError: naming the keys that are the monitor's.

    """
    if foreign := sorted(_DECIDED & check.sampling.keys()):
        raise ConfigurationError(
            f"`sampling.{foreign[0]}` of the check {check.id} is decided by the monitor.",
            advice="remove it; prompts and their output limits stand in the workload files",
        )
    return {**body, **check.sampling}


def known_settings(setup: Setup, allowed: Iterable[str]) -> dict[str, Any]:
    """Return the settings of the arm.

    Raises:
        ConfigurationError: for one that is not `allowed`.

    """
    settings = setup.serve
    if unknown := sorted(settings.keys() - set(allowed)):
        raise ConfigurationError(
            f"The engine {setup.check.engine!r} has no setting {unknown[0]!r} (check {setup.check.id}).",
            advice=f"`serve` and `serve_mtp` may hold: {', '.join(sorted(allowed))}",
        )
    return settings


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the setting `environment`: variables the check wants the engine to have."""
    return {str(name): str(value) for name, value in dict(settings.get("environment", {})).items()}


def text_settings(settings: Mapping[str, Any], key: str) -> list[str]:
    """Return the setting `key` as a list of texts, empty when it is not there.

    Raises:
        ConfigurationError: when it is something else.

    """
    value = settings.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"`serve.{key}` should be a list of texts, but is {shown(value)}.")
    return value


def shares(setup: Setup, settings: Mapping[str, Any]) -> list[float]:
    """Return the setting `acceptance` of the arm `synthetic`: the share accepted at each place of a draft.

    Raises:
        ConfigurationError: when it is not one number from 0 to 1 for each drafted token, none above the one
        before.

    """
    value = settings.get("acceptance")
    sound = (
        isinstance(value, list)
        and len(value) == setup.draft_length
        and all(isinstance(one, int | float) and 0 <= one <= 1 for one in value)
        and value == sorted(value, reverse=True)
    )
    if not sound:
        raise ConfigurationError(
            f"The arm synthetic of the check {setup.check.id} has no usable `serve.acceptance`.",
            advice=f"give {setup.draft_length} numbers from 1 down to 0: the share accepted at each place",
        )
    return [float(one) for one in settings["acceptance"]]
