"""The line of a log that says why an engine ended; often it is not the last one.

An engine of several processes prints its reason where it happened, then once more for each process that heard
of it, and those repetitions only point back. So the last line counts that names an error and is none of them;
one whose own explanation is to look further up does not count either, as long as something is named there.
"""

from __future__ import annotations

import re
from pathlib import Path

from monitor import proc

_LOOKED_AT = 256 * 2**10  # bytes from the end
_FOLLOWING = 3  # lines that belong to an error: which field, what is wrong with it
_LIMIT = 400  # characters

# How Python's programs, argparse and C++ ones begin the line that names an error.
_ERROR = re.compile(r"(?:^|\s)(?:[\w.]*(?:Error|Exception|Interrupt|Exit): \S|error: \S|fatal: |what\(\):)")
# `(EngineCore pid=7) ERROR 11-24 18:28:52 [core.py:1510] `, as vLLM begins its lines.
_PREFIX = re.compile(
    r"^(?:\(\w[^)]{0,60}\) )?(?:(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]{1,80}\] )?"
)
_HARMLESS = {"DEBUG", "INFO", "WARNING"}
_SERIOUS = {"ERROR", "CRITICAL", "FATAL"}
_POINTS_BACK = re.compile(
    r"see (?:the )?(?:root cause|stack trace|logs?|error)\b|root cause above|check the logs"
    r"|for further information visit|initialization failed due to an exception",
    re.IGNORECASE,
)
_LOOK_UP = re.compile(r"check the logs|see (?:the )?logs?\b", re.IGNORECASE)
_TRACE = re.compile(r"^\s*(?:Traceback|File \"|\^+|~+|During handling|The above exception)")


def telling(log: Path) -> str:
    """Return on one line the reason that a log gives; its last line where it names no error."""
    raw = proc.tail(log, lines=10**6, max_bytes=_LOOKED_AT).splitlines()
    lines = [_PREFIX.sub("", line) for line in raw]
    harmless = [_level(line) in _HARMLESS for line in raw]
    named = [
        number
        for number, line in enumerate(lines)
        if _ERROR.search(line) and not _POINTS_BACK.search(line) and not harmless[number]
    ]
    if not named:
        serious = [line for line, said in zip(lines, raw, strict=True) if _level(said) in _SERIOUS]
        plain = [line for line in lines if line.strip()]
        return proc.one_line((serious or plain or [""])[-1], _LIMIT)
    reason = next((number for number in reversed(named) if not _refers_back(lines, number)), named[-1])
    said = [lines[reason].strip()]
    for number in range(reason + 1, min(len(lines), reason + 1 + _FOLLOWING)):
        line = lines[number]
        if not line.strip() or _TRACE.match(line) or _ERROR.search(line) or _POINTS_BACK.search(line):
            break
        if harmless[number]:
            break
        said.append(line.strip())
    return proc.one_line(" ".join(said), _LIMIT)


def _refers_back(lines: list[str], number: int) -> bool:
    """Say whether what belongs to an error is no more than that the reason stands in the log before it."""
    following = lines[number + 1 : number + 2]
    return any(line[:1].isspace() and _LOOK_UP.search(line) is not None for line in following)


def _level(line: str) -> str | None:
    prefix = _PREFIX.match(line)
    return prefix["level"] if prefix is not None else None
