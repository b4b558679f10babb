"""What a build of llama.cpp says of its own options: its `--help`, taken apart.

The page is printed by `common_params_print_usage` of `common/arg.cpp`: names and value in the first 40
columns, what the option does from there on, its default in brackets and the variable that stands for it in
the last line. An option that is only kept to say that it is gone says so in its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_COLUMN = 40
_NAME = re.compile(r"--?[A-Za-z][A-Za-z0-9.-]*")
_HEAD = re.compile(rf"(?P<names>{_NAME.pattern}(?:,\s+{_NAME.pattern})*)(?:\s+(?P<value>\S.*))?")
_VARIABLE = re.compile(r"\(env: ([A-Z0-9_]+)\)")
_DEPRECATED = re.compile(r"DEPRECATED(?::| in favor of)([^]:]*)")
_REMOVED = re.compile(r"the argument has been removed\.?\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """One option of one build."""

    names: tuple[str, ...]
    """All spellings, the negations (`--no-…`) with them."""
    value: str | None
    """What stands for its value, None for a switch."""
    default: str | None
    """As the page says it, None where it says none."""
    variable: str | None
    """Of the environment, None where there is none."""
    removed: str | None
    """What to use instead, where the option is only kept to say that it is gone; else None."""
    deprecated: bool
    instead: tuple[str, ...]
    """Names that it says to use instead, where it is removed or deprecated."""

    @property
    def title(self) -> str:
        """The name to call it by: its first long one."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])


def read_help(page: str) -> list[HelpEntry]:
    """Return the options of a `--help` page in its order, an empty list for any other text."""
    return [_entry(head, text) for head, text in _entries(page)]


def _entries(page: str) -> Iterator[tuple[re.Match[str], str]]:
    head: re.Match[str] | None = None
    lines: list[str] = []
    for line in page.splitlines():
        if line.startswith("-") and not line.startswith("-----"):
            if head is not None:
                yield head, " ".join(lines)
            beside = len(line) > _COLUMN and line[_COLUMN - 1] == " "
            head = _HEAD.fullmatch((line[:_COLUMN] if beside else line).rstrip())
            lines = [line[_COLUMN:].strip()] if beside else []
        elif line.startswith(" " * _COLUMN):
            lines.append(line.strip())
    if head is not None:
        yield head, " ".join(lines)


def _entry(head: re.Match[str], text: str) -> HelpEntry:
    variable = _VARIABLE.search(text)
    removed = _REMOVED.search(_VARIABLE.sub("", text))
    deprecated = _DEPRECATED.search(text)
    told = removed or deprecated
    return HelpEntry(
        names=tuple(_NAME.findall(head["names"])),
        value=head["value"],
        default=_default(text),
        variable=variable[1] if variable else None,
        removed=removed[1].strip() if removed else None,
        deprecated="deprecated" in text.lower(),
        instead=_named(told[1]) if told else (),
    )


def _named(text: str) -> tuple[str, ...]:
    words = (word.strip("`.,;") for word in re.split(r"[\s/]+", text))
    return tuple(word for word in words if _NAME.fullmatch(word))


def _default(text: str) -> str | None:
    """Return what stands behind `default:`, up to the bracket that closes it."""
    found = re.search(r"\bdefault: ", text)
    if found is None:
        return None
    depth = 1
    for at in range(found.end(), len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[found.end() : at].strip()
    return None
