"""Text from outside, made fit to be shown: no control characters, no terminal colours."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""ECMA-48 control sequences, and operating system commands up to their end."""

_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Controls but tab and newline; marks that turn the direction of writing; halves of characters."""


def safe(text: str) -> str:
    """Return the text with every character that cannot be shown replaced by a replacement character."""
    return _UNSHOWABLE.sub("\ufffd", text)


def shortened(text: str, most: int) -> str:
    """Return the text with its middle left out where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def plain_log(text: str) -> str:
    """Return a log without terminal colours, and with its line ends as newlines."""
    return safe(_ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
