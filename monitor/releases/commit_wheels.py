"""Reads the wheels that vLLM builds of every commit, so that what lies between two releases can be measured.

`<address>/nightly/<variant>/<project>/metadata.json` lists the newest commit's wheels with their paths, which
lead to `<address>/<commit>/`; under `<address>/<commit>/<variant>/` the same list is kept of each commit
since December 2025. No hash is promised there. So a wheel is read once, when it is wanted, and its sha256
remembered: another content under the same address later is an error.

https://github.com/vllm-project/vllm/blob/main/docs/contributing/ci/nightly_builds.md
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from monitor.addresses import shown
from monitor.domain import Artifact, Release, version_order
from monitor.errors import ConfigurationError, SourceLiedError
from monitor.net import Http, Reply, refused
from monitor.releases.listing import normalised
from monitor.releases.memory import held, write
from monitor.settings_tables import SourceSettings

ADDRESS = "https://wheels.vllm.ai"
KEPT = 200
"""Commits that are remembered, each with its one wheel: so many of either kind."""
_DEADLINE_S = 60.0
_MAX_LISTING = 2**22
_READ_S = 1800.0
_MAX_WHEEL = 4 * 2**30
_NAME = 200
_SHORT = 7
"""Digits by which a version names its commit, at the least."""
_COMMIT = re.compile(r"/([0-9a-f]{40})/[^/]+$")


class _Listed(BaseModel):
    """One wheel of the listing; what else is said of it is not needed."""

    filename: str
    path: str


class _Known(BaseModel):
    """One wheel that was read."""

    commit: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int
    uploaded_at: AwareDatetime | None
    read_at: AwareDatetime
    asked: bool = False
    """For a bisection; otherwise it was the newest at a look."""


_LISTING = TypeAdapter(list[_Listed])
_MEMORY = TypeAdapter(list[_Known])


class CommitWheels:
    """The wheels of one variant, a commit a release; a `Source` (see `monitor/releases/base.py`)."""

    def __init__(
        self, settings: SourceSettings, http: Http, *, folder: Path | None, clock: Callable[[], datetime]
    ) -> None:
        """Take what is to be read.

        Raises:
            ConfigurationError: no variant is named.

        """
        if settings.variant is None:
            raise ConfigurationError(
                "A source of kind 'commit-wheels' needs a variant.", advice='such as `variant = "cu130"`'
            )
        self.project = settings.project
        self.channel: str = settings.channel
        self.since: datetime | None = None
        self._between = timedelta(hours=settings.hours_between)
        self._http, self._clock = http, clock
        self._root = settings.wheels_url or ADDRESS
        self._place = f"{settings.variant}/{settings.project}"
        self._listing = f"{self._root}/nightly/{self._place}/metadata.json"
        name = f"commit-wheels-{settings.project}-{settings.variant}.json"
        self._memory = folder / name if folder is not None else None

    @property
    def address(self) -> str:
        """Where the newest commit is listed."""
        return self._listing

    def newest(self) -> tuple[str, str, str] | None:
        """Return (commit, file name, address) of the newest wheel for this machine, None when there is none.

        Raises:
            SourceError: the listing could not be read.
            SourceLiedError: it is none, or leads elsewhere.

        """
        return self._chosen(self._listing, self._get(self._listing))

    def of_commit(self, commit: str) -> Release | None:
        """Return what a commit (all 40 digits) is as a release, None when it has no wheel for this machine.

        Its wheel is read unless that was done before.

        Raises:
            SourceError: the wheels of the commit could not be looked up or read.
            SourceLiedError: what was found there are none, or leads elsewhere.
            DiskFullError, HostError: it cannot be remembered.

        """
        known = next((wheel for wheel in self._recall() if wheel.commit == commit), None)
        if known is None:
            found = self._wheel_of(commit)
            known = self._read(*found, asked=True) if found is not None else None
            if known is None:
                return None
            self._remember(known)
        return self._release(known)

    def poll(self) -> tuple[Release, ...]:
        """Return the commits read so far, after reading the newest one when it is time; see `Source.poll`."""
        known = self._recall()
        newest = self.newest()
        last = max((wheel.read_at for wheel in known if not wheel.asked), default=None)
        due = last is None or self._clock() - last >= self._between
        if newest is not None and due and all(wheel.url != newest[2] for wheel in known):
            read = self._read(*newest)
            known = self._remember(read) if read is not None else known
        releases = [self._release(wheel) for wheel in known]
        return tuple(sorted(releases, key=lambda release: version_order(release.version)))

    def _wheel_of(self, commit: str) -> tuple[str, str, str] | None:
        listing = f"{self._root}/{commit}/{self._place}/metadata.json"
        reply = self._get(listing)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        found = self._chosen(listing, reply, commit)
        if found is not None and f"+g{commit[:_SHORT]}" not in found[1]:
            raise _lied(listing, f"lists {found[1][:_NAME]}, which does not say that it is of this commit")
        return found

    def _get(self, url: str) -> Reply:
        hosts = {urlsplit(url).netloc}
        return self._http.get(url, max_bytes=_MAX_LISTING, deadline_s=_DEADLINE_S, hosts=hosts)

    def _chosen(self, listing: str, reply: Reply, commit: str | None = None) -> tuple[str, str, str] | None:
        """Return (commit, file name, address) of the first wheel for this machine that is listed."""
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, listing, reply.retry_after_s)
        try:
            wheels = _LISTING.validate_json(reply.body)
        except ValidationError as error:
            raise _lied(listing, "is no listing of wheels") from error
        for wheel in wheels:
            if not _fits(wheel.filename):
                continue
            url = urljoin(listing, wheel.path)
            found = _COMMIT.search(urlsplit(url).path)
            # The scheme and the host, too.
            elsewhere = urlsplit(url)[:2] != urlsplit(listing)[:2]
            if found is None or elsewhere or commit not in {None, found[1]}:
                raise _lied(listing, f"leads to {shown(url)}, which is no commit's folder there")
            return found[1], wheel.filename, url
        return None

    def _remember(self, read: _Known) -> list[_Known]:
        """Add a wheel to what is remembered, unless another process did meanwhile, and return all of it."""
        if self._memory is None:
            return [read]
        with held(self._memory.with_suffix(".lock")):
            known = self._recall()
            if all(wheel.url != read.url for wheel in known):
                alike = [wheel for wheel in known if wheel.asked == read.asked]
                dropped = alike[: max(len(alike) + 1 - KEPT, 0)]
                known = [*(wheel for wheel in known if wheel not in dropped), read]
                write(self._memory, _MEMORY.dump_json(known, indent=1))
        return known

    def _read(self, commit: str, filename: str, url: str, *, asked: bool = False) -> _Known | None:
        """Return what a wheel is, None when it was taken away although it is still listed."""
        head = self._http.head(url, headers={}, deadline_s=_DEADLINE_S)
        if head.status == HTTPStatus.NOT_FOUND:
            return None
        sha256, size = self._http.digest(url, max_bytes=_MAX_WHEEL, deadline_s=_READ_S)
        _, version, _, _ = parse_wheel_filename(filename)
        return _Known(
            commit=commit,
            version=normalised(str(version)),
            filename=filename,
            url=url,
            sha256=sha256,
            size=size,
            uploaded_at=_moment(head.headers.get("last-modified", "")),
            read_at=self._clock(),
            asked=asked,
        )

    def _release(self, wheel: _Known) -> Release:
        artifact = Artifact(
            project=self.project,
            version=wheel.version,
            filename=wheel.filename,
            sha256=wheel.sha256,
            url=wheel.url,
            size=wheel.size,
            uploaded_at=wheel.uploaded_at or wheel.read_at,
        )
        return Release(self.project, wheel.version, self.channel, (artifact,), artifact.uploaded_at)

    def _recall(self) -> list[_Known]:
        if self._memory is None:
            return []
        try:
            return _MEMORY.validate_json(self._memory.read_bytes())
        except (OSError, ValidationError):
            return []


def _lied(listing: str, what: str) -> SourceLiedError:
    return SourceLiedError(
        f"{shown(listing)} {what}.",
        kept="what was known of its releases",
        advice="look at the address in a browser; the variant may be called differently",
    )


def _fits(filename: str) -> bool:
    try:
        _, _, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion):
        return False
    return not tags.isdisjoint(sys_tags())


def _moment(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
