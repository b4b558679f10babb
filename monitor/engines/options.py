"""What of an engine's speculation can be varied beside the draft length, as one table.

A sweep names an option, `p-min=0,0.4`; the table says which setting of a check it becomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monitor import validation
from monitor.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be varied."""

    name: str
    setting: str
    """Key of `serve_mtp`; of a table in it with a dot."""
    read: Callable[[str], Any]
    """Text → value; raises ValueError for what is none."""
    usual: Any
    """What the engine is told without it; None where it is told nothing."""
    meaning: str


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 64:  # noqa: PLR2004  # more than any draft length
        raise ValueError
    return value


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()] if text.lower() in {"true", "false"} else _refused()


def _refused() -> bool:
    raise ValueError


_P_MIN = Option("p-min", "draft_p_min", _share, 0.0, "least probability of a drafted token (0 to 1)")
_N_MIN = Option("n-min", "draft_min", _count, 0, "least tokens of a draft")
OPTIONS: dict[str, tuple[Option, ...]] = {
    "xllamacpp": (_P_MIN, _N_MIN),
    "llama-server": (_P_MIN, _N_MIN),
    "llama-cpp-python": (_P_MIN,),
    "vllm": (
        Option(
            "draft-sample-method",
            "speculative_config.draft_sample_method",
            str,
            None,
            "how the head's tokens are drawn (0.21 and later)",
        ),
        Option(
            "rejection-sample-method",
            "speculative_config.rejection_sample_method",
            str,
            None,
            "how drafts are accepted (0.18.1 and later; its words changed in 0.20.2 and 0.22.1)",
        ),
        Option(
            "padded-batch-off",
            "speculative_config.disable_padded_drafter_batch",
            _switch,
            None,
            "true: the drafter's batch is not padded",
        ),
    ),
    "command": (),
}
"""Engine → its options; engines that are not here serve with what their owner chose."""


def option_of(engine: str, name: str) -> Option:
    """Return an option by its name.

    Raises:
        ConfigurationError: when the engine has none of that name.

    """
    known = {option.name: option for option in OPTIONS.get(engine, ())}
    if name not in known:
        raise ConfigurationError(
            f"The engine {engine!r} has no option {name!r} to vary.",
            advice=validation.nearest(name, known) if known else "vary the draft length alone",
        )
    return known[name]


def value_of(option: Option, text: str) -> Any:
    """Return an option's value.

    Raises:
        ConfigurationError: for a text that is none.

    """
    try:
        return option.read(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no value of the option {option.name!r}.", advice=option.meaning
        ) from error


def set_in(serve_mtp: dict[str, Any], option: Option, value: Any) -> dict[str, Any]:
    """Return the settings of the mtp arm with an option set."""
    table, dot, key = option.setting.partition(".")
    if not dot:
        return serve_mtp | {table: value}
    return serve_mtp | {table: dict(serve_mtp.get(table, {})) | {key: value}}
