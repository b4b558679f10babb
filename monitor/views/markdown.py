"""GitHub's Markdown, with text from outside that stays text.

What others wrote (versions, package names, sentences of an engine) may hold markup, HTML, mentions and links.
None of it may take effect in an issue: `text` and `cell` disarm it, `code` and `block` fence it in.
https://github.github.com/gfm/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from monitor.views.text import safe

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&^$])")
_JOINER = "\u2060"
"""Word joiner: not seen, and GitHub finds no mention, reference or link across it."""
_LINKED = re.compile(r"(@|#|://|\bwww\.|\bGH-)(?=\S)", re.IGNORECASE)
_RUN = re.compile("`+")


def text(value: str) -> str:
    """Return text from outside on one line, without any markup, mention, reference or link in it."""
    line = _LINKED.sub(lambda found: found[1] + _JOINER, " ".join(safe(value).split()))
    escaped = _MARKUP.sub(r"\\\1", line)
    # What would begin a list, a heading or a rule, were the text the first of its line.
    return re.sub(r"^(\d+)([.)])|^([-=])", lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", escaped)


def code(value: str) -> str:
    """Return text from outside as a span of code on one line, which may stand in a table."""
    line = " ".join(safe(value).split()) or " "
    fence = "`" * (max((len(run) for run in _RUN.findall(line)), default=0) + 1)
    padding = " " if line[:1] == "`" or line[-1:] == "`" else ""
    # A bar ends a cell of a table also within code; escaped it is one everywhere in GitHub's tables.
    return f"{fence}{padding}{line}{padding}{fence}".replace("|", "\\|")


def block(value: str, language: str = "") -> str:
    """Return lines as a block of code that nothing in them can end."""
    longest = max((len(run) for run in _RUN.findall(value)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{safe(value).rstrip()}\n{fence}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def folded(title: str, content: str) -> str:
    """Return content that is shown on demand; the title is the monitor's own."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
