"""How every command speaks: facts on stdout, messages on stderr, and an exit code that can be relied on.

Text is printed as it is: the consoles know no markup, so a file name or an index's answer with square
brackets cannot change colours. Styles are given with `style=` or with rich's own renderables.
"""

from __future__ import annotations

import json
import sys
import textwrap
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.settings import Settings

out = Console(markup=False, highlight=False, emoji=False)
"""Facts: what was asked for."""
err = Console(markup=False, highlight=False, emoji=False, stderr=True)
"""Messages and progress: what happens meanwhile."""

_NARROW = 30
"""Characters below which nothing is wrapped."""

SET_UP = "Set up"
LOOK = "Look"
MEASURE = "Measure and judge"
WATCH = "Keep watch"
SHARE = "Share"
PANELS = ("First", SET_UP, LOOK, MEASURE, WATCH, SHARE)
"""Headings of `--help` in their order; a command names its own with `rich_help_panel`."""

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; messages on stderr.")]


class Code(IntEnum):
    """What the exit code of the command says; scripts rely on it."""

    FINE = 0
    FAILED = 1
    """The monitor or its configuration failed."""
    USAGE = 2
    REGRESSED = 3
    UNDECIDED = 4
    """Inconclusive or invalid."""
    UNUSABLE = 5
    """The release does not install, start or answer."""
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before a command's name."""

    config: Path | None = None


def options(ctx: typer.Context) -> Options:
    """Return the options given before the command's name."""
    return ctx.find_object(Options) or Options()


def settings(ctx: typer.Context) -> Settings:
    """Read the configuration that this call names.

    Raises:
        ConfigurationError: as `monitor.settings.load`.

    """
    from monitor.settings import load  # noqa: PLC0415  # `--help` has no use for pydantic

    return load(options(ctx).config)


def emit(schema: str, document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout, its `schema` first.

    Dataclasses become objects; dates are in UTC and end in Z; paths and enums become text.
    """
    text = json.dumps({"schema": schema, **plain(dict(document))}, indent=2, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Return `value` as JSON values; see `emit`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, Path) else value


def tell(text: str, *, style: str | None = None) -> None:
    """Print a message for people on stderr."""
    err.print(harmless(text), style=style, soft_wrap=True)


def paragraph(text: str, *, indent: str, style: str | None = None) -> None:
    """Print a fact with each of its lines indented; a file or pipe gets it in one line."""
    said = harmless(text)
    if out.is_terminal:
        said = textwrap.fill(said, max(out.width - len(indent), _NARROW), break_on_hyphens=False)
    out.print(textwrap.indent(said, indent), style=style, soft_wrap=True)


def tell_error(error: MonitorError) -> None:
    """Say on stderr what happened, what was kept and what to do next."""
    tell(f"Error: {error.what}", style="bold red")
    if error.kept:
        tell(f"Kept: {error.kept}")
    if error.advice:
        tell(f"What to do: {error.advice}")


def harmless(text: str) -> str:
    """Return `text` without what a terminal would obey: control characters and changes of direction."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf"} else "�"
        for character in text
    )


def examples(*commands: str) -> str:
    """Return the epilog that shows complete command lines in a command's help."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {command}" for command in commands)


def minutes(value: float) -> str:
    """Return minutes as people write them: 0.3, 10, 26."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def gib(size: int) -> str:
    """Return a size in bytes as people write it."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB"
