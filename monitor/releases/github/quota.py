"""What GitHub still allows, remembered over restarts: a pause it asked for is kept by the next process too.

The rules are GitHub's own:
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#handle-rate-limit-errors-appropriately

| answer is 403 or 429 and has | nothing is asked |
| --- | --- |
| `retry-after` | for as many seconds |
| `x-ratelimit-remaining: 0` | until `x-ratelimit-reset` (UTC, seconds since 1970) |
| neither, and speaks of a rate limit | for a minute, twice as long each time in a row |

The second holds for every answer, also for a good one that used up the last request.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ValidationError

from monitor.errors import SourceError
from monitor.net import Reply
from monitor.releases.memory import write

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=6)
_LIMITED = {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
_MOST_DIGITS = 12


class Quota(BaseModel):
    """What was known after the last answer."""

    limit: int | None = None
    """Requests an hour."""
    remaining: int | None = None
    resets_at: AwareDatetime | None = None
    paused_until: AwareDatetime | None = None
    strikes: int = 0
    """Refusals in a row that named no moment."""
    asked: int = 0
    """Requests that counted since `resets_at` last moved."""


class Budget:
    """The quota of one token (or of none) at one API, kept in a file of `folder`, or nowhere."""

    def __init__(self, folder: Path | None, owner: str, clock: Callable[[], datetime]) -> None:
        name = hashlib.sha256(owner.encode()).hexdigest()[:16]
        self._file = None if folder is None else folder / f"github-quota-{name}.json"
        self._clock = clock
        self._in_memory = Quota()

    def known(self) -> Quota:
        """Return the quota as it is now: a reset that has passed gives everything back."""
        quota = self._read()
        now = self._clock()
        if quota.resets_at is not None and quota.resets_at <= now:
            quota = quota.model_copy(update={"remaining": quota.limit, "resets_at": None, "asked": 0})
        if quota.paused_until is not None and quota.paused_until <= now:
            quota = quota.model_copy(update={"paused_until": None})
        return quota

    def claim(self) -> None:
        """Refuse a request that must not be made now.

        Raises:
            SourceError: with the seconds that are left of the pause.

        """
        quota, now = self.known(), self._clock()
        until = quota.paused_until
        if quota.remaining == 0 and quota.resets_at is not None:
            until = max(until or quota.resets_at, quota.resets_at)
        if until is None:
            return
        left_s = (until - now).total_seconds()
        raise SourceError(
            f"GitHub was not asked: its limit is used up until {until:%Y-%m-%d %H:%M:%S} UTC.",
            kept="what was known about its releases",
            advice=f"nothing: it is asked again in {left_s:.0f} s; a token in `[github]` raises the limit",
            retry_after_s=left_s,
        )

    def note(self, reply: Reply, *, counts: bool = True) -> timedelta | None:
        """Keep what an answer says of the limits; return for how long it forbids to ask, if it does."""
        now, quota = self._clock(), self.known()
        found = _headers(reply.headers)
        if found.get("resets_at") != quota.resets_at:
            quota = quota.model_copy(update={"asked": 0})
        quota = quota.model_copy(update={**found, "asked": quota.asked + counts})
        pause = self._pause(reply, quota, now)
        limited = pause is not None
        named = reply.retry_after_s is not None or quota.remaining == 0
        strikes = quota.strikes + (not named) if limited else 0
        self._write(
            quota.model_copy(
                update={"strikes": strikes, "paused_until": now + pause if pause is not None else None}
            )
        )
        return pause

    @staticmethod
    def _pause(reply: Reply, quota: Quota, now: datetime) -> timedelta | None:
        if reply.status not in _LIMITED:
            return None
        if reply.retry_after_s is not None:
            return timedelta(seconds=reply.retry_after_s)
        if quota.remaining == 0 and quota.resets_at is not None:
            return max(quota.resets_at - now, timedelta(seconds=1))
        if reply.status == HTTPStatus.FORBIDDEN and b"rate limit" not in reply.body.lower():
            return None  # plainly forbidden
        longer: timedelta = _FIRST_PAUSE * 2 ** min(quota.strikes, 16)
        return min(longer, _LONGEST_PAUSE)

    def _read(self) -> Quota:
        if self._file is None:
            return self._in_memory
        try:
            return Quota.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return Quota()

    def _write(self, quota: Quota) -> None:
        self._in_memory = quota
        if self._file is not None:
            write(self._file, quota.model_dump_json().encode())


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a Quota that an answer tells."""
    found: dict[str, Any] = {}
    for name in ("limit", "remaining", "reset"):
        text = headers.get(f"x-ratelimit-{name}", "")
        if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS:
            found[name] = int(text)
    moment = found.pop("reset", None)
    if moment is not None:
        with contextlib.suppress(OverflowError, ValueError, OSError):
            found["resets_at"] = datetime.fromtimestamp(moment, UTC)
    return found
