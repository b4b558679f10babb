"""Slack's blocks within Slack's limits, and text from outside made harmless in them.

The limits: https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAX_BLOCKS = 50
MAX_CHARACTERS = 10_000
"""Of all texts together; Slack refuses about 13,000 as `msg_blocks_too_long`."""
MAX_SECTION = 3000
_HEADER = 150
_FIELD = 2000
_CLOSING = 2000
"""Characters kept free for the last block."""


def plain(text: object) -> str:
    """Return text from outside so that Slack shows it as it is: no format, no mention, no link.

    A word joiner after `@` keeps `@here` from being one when a workspace parses it.
    """
    text = str(text).translate(_HARMLESS)
    return _MENTION.sub("@\u2060", text)


_HARMLESS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "ˋ", "*": "∗", "~": "∼", "\r": " "})
_MENTION = re.compile(r"@(?=\w)")


def link(url: str, text: str) -> str:
    """Return a link, whatever stands in the address."""
    # `|` and `>` would end the address.
    address = url.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return f"<{address}|{plain(text)}>"


class Blocks:
    """Blocks that keep to the limits: what no longer fits is left out, and the message says so."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []
        self._characters = 0
        self._full = False

    def header(self, text: str) -> None:
        """Add the line in large letters; the text is made harmless here."""
        shown = cut(text, _HEADER)
        self._add({"type": "header", "text": {"type": "plain_text", "text": shown, "emoji": False}}, shown)

    def section(self, text: str) -> None:
        """Add text that is harmless already and may be formatted."""
        shown = _shorter(text, MAX_SECTION)
        if shown.strip("* \n"):
            self._add({"type": "section", "text": _markdown(shown)}, shown)

    def fields(self, texts: Iterable[str]) -> None:
        """Add texts side by side, harmless already."""
        shown = [_shorter(text, _FIELD) for text in texts]
        if shown:
            self._add({"type": "section", "fields": [_markdown(text) for text in shown]}, *shown)

    def context(self, parts: Iterable[str]) -> None:
        """Add small print; the parts are made harmless here."""
        shown = _shorter("  ·  ".join(plain(part) for part in parts), _FIELD)
        self._add({"type": "context", "elements": [_markdown(shown)]}, shown)

    def divider(self) -> None:
        """Add a line."""
        self._add({"type": "divider"})

    def closed(self, last: str) -> list[dict[str, Any]]:
        """Return all blocks, with a last line that is always there."""
        left_out = "Not all of it fits into one message. " if self._full else ""
        if left_out or last:
            text = _shorter(f"{left_out}{last}", _CLOSING)
            self._blocks.append({"type": "section", "text": _markdown(text)})
        return self._blocks

    def _add(self, block: dict[str, Any], *texts: str) -> None:
        size = sum(map(len, texts))
        room = MAX_CHARACTERS - _CLOSING - self._characters
        if self._full or size > room or len(self._blocks) >= MAX_BLOCKS - 1:
            self._full = True
            return
        self._characters += size
        self._blocks.append(block)


def _markdown(text: str) -> dict[str, Any]:
    # Verbatim: addresses, channel names and mentions in the text stay text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def cut(text: str, most: int) -> str:
    """Return text from outside made harmless, cut before that, so that no entity is cut in two."""
    shown, raw = plain(text), text
    while len(shown) > most:
        raw = raw[: len(raw) - 1 - (len(shown) - most) // _LONGEST]
        shown = f"{plain(raw).rstrip()}…"
    return shown


def _shorter(text: str, most: int) -> str:
    """Return text that is harmless already within a limit, cut at the end of a line or word."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    at = max(kept.rfind("\n"), kept.rfind(" "))
    return f"{kept[:at] if at > 0 else _ENTITY_PART.sub('', kept)}…"


_LONGEST = 5  # characters that one may become: `&amp;`
_ENTITY_PART = re.compile(r"&[a-z]{0,3}$")
