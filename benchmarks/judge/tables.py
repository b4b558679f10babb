"""Tables of docs/judging.md: each command writes its own between two markers, with how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "judging.md"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(name: str, text: str) -> None:
    """Replace what stands between the markers of `name` in the page, and print it."""
    begin, end = f"<!-- {name}: begin, written by the command below -->", f"<!-- {name}: end -->"
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE.name} has no markers for {name!r}: add {begin} and {end}")
    print(text)
    PAGE.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def percent(share: float, digits: int = 2) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def machine() -> str:
    """Return what the figures were measured on, in words."""
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
