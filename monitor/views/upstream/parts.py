"""What the text for a tracker is put together from: two releases, and the steps of a script."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import Artifact, Environment

GOOD, BAD = "good", "bad"
"""Folders of the two releases, and their names in the text."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two releases, with the environment it was measured in."""

    name: str
    artifact: Artifact
    environment: Environment
    index_url: str | None = None
    """Of a further package index that has it, where that is a public one."""
    published: bool = True
    """Its index, or its own address, can be reached by anybody."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the script."""

    title: str
    words: str
    """Markdown, the monitor's own."""
    script: str
    folded: bool = False


def plain(name: str) -> str:
    """Return a name from outside with nothing in it that a shell or Markdown could take for its own."""
    return "".join(character for character in name if character.isalnum() or character in " .,_+-")
