"""Looks at one repository's releases with as few requests as it takes.

1. What was read less than a minute ago is not asked for again: GitHub itself calls it fresh for so long, and
   two channels of one repository share a look.
2. The feed, which costs nothing of the quota, says whether anything is new. It has no files and its last ten
   releases only, so it wakes and does no more: the API is asked anyway once an hour, while a young release
   lacks files, and when the feed cannot be read.
3. The newest page is asked for with its ETag. Pages behind it are read until one brings nothing unknown.
4. Once a day all pages are read, as far back as is wanted: files that came very late, releases that were
   created out of order, and deletions are seen there. What a limit cuts short is tried again soon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from monitor.errors import SourceError
from monitor.releases.github.api import GithubApi
from monitor.releases.github.ledger import Ledger, Page
from monitor.releases.github.schema import GithubRelease, read_release, read_releases

PER_PAGE = 30
"""A release of llama.cpp has some 25 assets: more would be many megabytes, mostly known ones."""
_FRESH = timedelta(minutes=1)
_LOOK_ANYWAY = timedelta(hours=1)
_WALK = timedelta(days=1)
_WALK_AGAIN = timedelta(hours=2)
"""After one that was cut short."""
_RESERVE = 5
"""Requests that a walk leaves for the looks until the limit is reset."""
_MOST_PAGES = 200
_FEED_BYTES, _FEED_DEADLINE_S = 4 * 2**20, 30.0


class Repository:
    """The releases of one repository, `since` a moment of publication."""

    def __init__(self, api: GithubApi, name: str) -> None:
        self._api = api
        self.name = name
        self._releases = api.address(f"/repos/{name}/releases")
        self._feed = f"{api.settings.web_url}/{name}/releases.atom"

    def look(
        self, ledger: Ledger, *, since: datetime, is_young_and_incomplete: Callable[[GithubRelease], bool]
    ) -> None:
        """Bring the ledger up to date; what a failed look had read already stays in it.

        Raises:
            SourceError: the API could not be asked, or answered with an error.
            SourceLiedError: it answered with something that is no list of releases.

        """
        now = self._api.clock()
        if ledger.looked_at is not None and now - ledger.looked_at < _FRESH:
            return
        feed = self._read_feed()
        quiet = (
            feed is not None
            and feed == ledger.feed
            and ledger.looked_at is not None
            and now - ledger.looked_at < _LOOK_ANYWAY
            and ledger.walked_at is not None
            and now - ledger.walked_at < _WALK
            and not any(is_young_and_incomplete(release) for release in ledger.releases.values())
        )
        if quiet:
            return
        self._walk(ledger, since, now)
        ledger.looked_at, ledger.feed = now, feed or ""
        ledger.reaches = max(ledger.reaches or since, since)
        ledger.releases = {
            number: release for number, release in ledger.releases.items() if _published(release) >= since
        }

    def with_tag(self, ledger: Ledger, tag: str) -> GithubRelease | None:
        """Return the release with a tag, asking for it when it lies further back than the listing was read.

        Raises:
            SourceError: it had to be asked for, and could not.

        """
        known = [release for release in ledger.releases.values() if release.tag_name == tag]
        if known:
            return max(known, key=_published)
        if tag not in ledger.further_back:
            answer = self._api.get(f"{self._releases}/tags/{tag}", may_lack=True)
            found = read_release(answer.body) if answer.status == HTTPStatus.OK else None
            ledger.further_back[tag] = found
        return ledger.further_back[tag]

    def _read_feed(self) -> str | None:
        try:
            reply = self._api.http.get(
                self._feed,
                accept="application/atom+xml",
                max_bytes=_FEED_BYTES,
                deadline_s=_FEED_DEADLINE_S,
                hosts={urlsplit(self._api.settings.web_url).netloc},
            )
        except SourceError:
            return None  # it only saves requests
        return hashlib.sha256(reply.body).hexdigest() if reply.status == HTTPStatus.OK else None

    def _walk(self, ledger: Ledger, since: datetime, now: datetime) -> None:
        """Read pages from the newest on, once a day all of them, and forget what is gone from among them."""
        whole = ledger.walked_at is None or now - ledger.walked_at >= _WALK
        known = frozenset(ledger.releases)
        url: str | None = f"{self._releases}?per_page={PER_PAGE}"
        seen: list[GithubRelease] = []
        for _ in range(_MOST_PAGES):
            found, page = self._page(ledger, str(url))
            ledger.pages[str(url)], url = page, page.following
            ledger.releases |= {release.id: release for release in found}
            seen += found
            if not found or max(map(_published, found)) < since:
                url = None
            joined = bool(found) and min(found, key=lambda release: release.created_at).id in known
            if url is None or (joined and not whole) or self._must_save():
                break
        if url is None:
            ids = {release.id for release in seen}
            ledger.releases = {number: one for number, one in ledger.releases.items() if number in ids}
            if whole:
                ledger.further_back = {}
            ledger.walked_at, ledger.reaches = now, since
            return
        if not joined:
            # There may be unknown releases behind what was read.
            ledger.reaches = min(map(_published, seen))
        if whole:
            ledger.walked_at = now - _WALK + _WALK_AGAIN

    def _page(self, ledger: Ledger, url: str) -> tuple[list[GithubRelease], Page]:
        before = ledger.pages.get(url)
        if before is not None and not (before.etag and ledger.releases.keys() >= set(before.ids)):
            before = None
        answer = self._api.get(url, etag=before.etag if before is not None else None)
        if before is not None and answer.status == HTTPStatus.NOT_MODIFIED:
            return [ledger.releases[number] for number in before.ids], before
        found = read_releases(answer.body, url)
        ids = tuple(release.id for release in found)
        return found, Page(etag=answer.etag or "", ids=ids, following=answer.following)

    def _must_save(self) -> bool:
        left = self._api.quota().remaining
        return left is not None and left <= _RESERVE


def _published(release: GithubRelease) -> datetime:
    return release.published_at or release.created_at
