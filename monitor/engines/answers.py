"""The answers of an engine under test, taken apart.

What it says is untrusted: whatever is not a sound value raises `EngineReplyError`, so that nothing that is
out of range reaches a sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from monitor.domain import Check, Prompt
from monitor.engines.base import LENGTH, Completion, Event
from monitor.errors import EngineReplyError

_MAX_COUNT = 2**53
_SHOWN = 120  # characters of a wrong value in a message
_SHOWN_WORDS = 200  # characters of a name that a server gives itself


def words(value: Any) -> str | None:
    """Return untrusted text on one line and at most 200 characters long, None for anything else."""
    if not isinstance(value, str):
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:_SHOWN_WORDS] or None


def refuse(what: str) -> EngineReplyError:
    """Return the error for an answer that is no sound completion."""
    return EngineReplyError(
        f"The engine's answer is no valid completion: {what}.",
        kept="the complete sessions; nothing of this one",
        advice="see the engine's log, and ask the same by hand (the report has the exact request)",
    )


def check_status(status: int, text: str) -> None:
    """Raise EngineReplyError unless `status` is 200; `text` is the body, for the message."""
    if status != HTTPStatus.OK:
        raise refuse(f"it has status {status} and says {shown(text)}")


def refuse_error_bodies(events: Sequence[Event]) -> None:
    """Raise EngineReplyError for an error that came with status 200."""
    for event in events:
        if "error" in event.data and event.data["error"] is not None:
            raise refuse(f"status 200, but an error inside: {shown(event.data['error'])}")


def count(data: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    """Return `data[key]`, which must be a whole number from 0 to 2^53."""
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise refuse(f"`{key}` should be a count, but is {shown(value)}")
    return value


def amount(data: Mapping[str, Any], key: str) -> float:
    """Return `data[key]`, which must be a finite number that is not negative."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise refuse(f"`{key}` should be a number that is not negative, but is {shown(value)}")
    return float(value)


def token_list(value: Any) -> list[int]:
    """Return a list of token ids."""
    if not isinstance(value, list) or not all(
        isinstance(token, int) and not isinstance(token, bool) and 0 <= token < _MAX_COUNT for token in value
    ):
        raise refuse(f"token ids should be a list of counts, but are {shown(value)}")
    return value


def table(value: Any, name: str) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise refuse(f"`{name}` should be an object, but is {shown(value)}")
    return value


def check_completion(completion: Completion, prompt: Prompt, check: Check) -> Completion:
    """Return `completion` when it can be an answer to `prompt`.

    Raises:
        EngineReplyError: when it has no tokens, more or fewer than it may, or impossible counts or times.

    """
    asked, n = prompt.max_tokens, completion.n
    if not 0 < completion.n_first <= n:
        raise refuse(f"{completion.n_first} tokens in the first chunk of {n} in all")
    if n > asked:
        raise refuse(f"{n} tokens, though at most {asked} were asked for")
    if completion.stop == LENGTH and n != asked:
        raise refuse(f"stopped for its length after {n} of {asked} tokens; the context may be too short")
    if check.sampling.get("ignore_eos") and n != asked:
        raise refuse(f"{n} tokens, though {asked} were asked for, end of text ignored")
    if completion.last_s < completion.first_s:
        raise refuse("its last chunk came before its first")
    if completion.accepted is not None:
        if completion.accepted > (completion.drafted or 0):
            raise refuse(f"{completion.accepted} draft tokens accepted of {completion.drafted}")
        if completion.accepted > n - completion.n_first:
            raise refuse(f"{completion.accepted} draft tokens accepted in {n} tokens")
    return completion


def text_sha256(parts: Iterable[str]) -> str:
    """Return the sha256, in hex, of a text that came in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


def flat(prefix: str, value: Any, *, limit: int = 200) -> dict[str, Any]:
    """Return untrusted JSON as dotted name → plain value, at most `limit` of them, texts shortened."""
    facts: dict[str, Any] = {}
    pending = [(prefix, value)]
    while pending and len(facts) < limit:
        name, item = pending.pop(0)
        if isinstance(item, dict):
            pending += [(f"{name}.{key}" if name else str(key), item[key]) for key in sorted(item, key=str)]
        elif isinstance(item, list):
            facts[name] = ", ".join(str(part) for part in item[:20])[:500]
        elif isinstance(item, float) and not math.isfinite(item):
            facts[name] = str(item)
        elif isinstance(item, str):
            facts[name] = item[:500]
        elif item is None or isinstance(item, bool | int | float):
            facts[name] = item
    return facts


def shown(value: Any) -> str:
    """Return a wrong value as a message may show it: plain ASCII, shortened."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
