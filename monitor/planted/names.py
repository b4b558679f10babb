"""How a planted release is told from a real one: by its version, visibly."""

from __future__ import annotations

MARK = "+planted."


def is_planted(version: str) -> bool:
    """Say whether a version is that of a stand-in release made here."""
    return MARK in version
