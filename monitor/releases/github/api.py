"""Asks GitHub's REST API: one request at a time, conditional where possible, and never against its limits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monitor.addresses import shown
from monitor.errors import SourceError, SourceLiedError
from monitor.net import Http, Reply, refused
from monitor.releases.github.quota import Budget, Quota
from monitor.releases.memory import held
from monitor.settings_tables import GithubSettings

MAX_ANSWER_BYTES = 48 * 2**20
DEADLINE_S = 60.0
_VERSION = "2022-11-28"
_JSON_TYPES = {"application/json", "application/vnd.github+json"}
_NEXT = re.compile(r'<([^<>\s]+)>\s*;[^,]*\brel="?next"?')


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered to one request that it took."""

    status: int
    """200, 304 (nothing changed since `etag` was given out), or 404 where that was allowed for."""
    body: Any
    """The JSON document, None unless the status is 200."""
    etag: str | None
    following: str | None
    """Address of the next page."""


class GithubApi:
    """The API as one token, or as nobody, sees it; `folder` keeps the quota over restarts."""

    def __init__(
        self, settings: GithubSettings, http: Http, *, folder: Path | None, clock: Callable[[], datetime]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.http = http
        self.folder = folder
        self._token = settings.token.get_secret_value() if settings.token else None
        self.owner = hashlib.sha256(f"{settings.api_url} {self._token or ''}".encode()).hexdigest()[:16]
        """Stands for address and token: what one of them was told (ETags, limits) is nothing to another."""
        self._budget = Budget(folder, self.owner, clock)

    @property
    def has_token(self) -> bool:
        """Whether it is asked in somebody's name."""
        return self._token is not None

    def quota(self) -> Quota:
        """Return what may still be asked, as far as is known; asks nothing."""
        return self._budget.known()

    def quota_in_words(self) -> str:
        """Return what may still be asked, for people."""
        quota, who = self.quota(), "with a token" if self.has_token else "without a token"
        if quota.remaining is None or quota.limit is None:
            return f"asked {who}"
        return f"{quota.remaining} of {quota.limit} requests an hour left, {who}"

    def address(self, path: str) -> str:
        """Return the address of a path that begins with a slash."""
        return f"{self.settings.api_url}{path}"

    def get(
        self, url: str, *, etag: str | None = None, may_lack: bool = False, counts: bool = True
    ) -> Answer:
        """Return the answer to one request.

        `etag` makes it conditional: a 304 costs nothing when there is a token. `may_lack` allows for a 404,
        and `counts` is False for the one address that is not counted by GitHub.

        Raises:
            SourceError: not reached, refused, or a limit forbids to ask (with `retry_after_s`).
            SourceLiedError: answered with something that is no answer of the API.

        """
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _VERSION}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if etag is not None:
            headers["If-None-Match"] = etag
        with held(self.folder / "github.lock") if self.folder is not None else nullcontext():
            if counts:
                self._budget.claim()
            reply = self.http.get(
                url,
                headers=headers,
                max_bytes=MAX_ANSWER_BYTES,
                deadline_s=DEADLINE_S,
                hosts={urlsplit(self.settings.api_url).netloc},
            )
            free = not counts or (reply.status == HTTPStatus.NOT_MODIFIED and self.has_token)
            pause = self._budget.note(reply, counts=not free)
        if pause is not None:
            seconds = pause.total_seconds()
            more = "" if self.has_token else "; a token in `[github]` raises the limit to 5,000 an hour"
            raise SourceError(
                f"GitHub's limit is reached ({shown(url)} answered {reply.status}).",
                kept="what was known about its releases",
                advice=f"nothing: it is asked again in {seconds:.0f} s{more}",
                retry_after_s=seconds,
            )
        return self._answer(reply, url, may_lack=may_lack)

    def _answer(self, reply: Reply, url: str, *, may_lack: bool) -> Answer:
        following = self._following(reply)
        if reply.status == HTTPStatus.NOT_MODIFIED:
            return Answer(reply.status, None, reply.headers.get("etag"), following)
        if reply.status == HTTPStatus.NOT_FOUND and may_lack:
            return Answer(reply.status, None, None, None)
        if reply.status == HTTPStatus.UNAUTHORIZED and self.has_token:
            raise SourceError(
                f"GitHub refuses the token ({shown(url)} answered 401).",
                kept="what was known about its releases",
                advice="make a new one, without permissions, or take it out of `[github]`",
                permanent=True,
            )
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, url, reply.retry_after_s)
        if reply.content_type not in _JSON_TYPES:
            raise lied(url, f"answered with {reply.content_type[:60] or 'no content type'}, which is no JSON")
        try:
            body = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise lied(url, "sent something that is not JSON, or only its beginning") from error
        return Answer(reply.status, body, reply.headers.get("etag"), following)

    def _following(self, reply: Reply) -> str | None:
        found = _NEXT.search(reply.headers.get("link", ""))
        return found[1] if found is not None and found[1].startswith(f"{self.settings.api_url}/") else None


def lied(url: str, what: str) -> SourceLiedError:
    """Return the error for an answer that is not what the API promises."""
    return SourceLiedError(
        f"{shown(url)} {what}.",
        kept="what was known about its releases",
        advice="look at the address in a browser; a proxy may answer in GitHub's place",
    )
