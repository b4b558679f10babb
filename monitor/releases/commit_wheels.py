"""Reads the wheels that vLLM builds of every commit, so that what lies between two releases can be measured.

`<address>/nightly/<variant>/<project>/metadata.json` lists the newest commit's wheels with their paths, which
lead to `<address>/<commit>/`. No hash is promised there. So the newest wheel for this machine is read once,
when it is wanted, and its sha256 remembered: another content under the same address later is an error.
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
from monitor.net import Http, refused
from monitor.releases.listing import normalised
from monitor.releases.memory import write
from monitor.settings_tables import SourceSettings

ADDRESS = "https://wheels.vllm.ai"
KEPT = 200
"""Commits that are remembered, each with its one wheel."""
_DEADLINE_S = 60.0
_MAX_LISTING = 2**22
_READ_S = 1800.0
_MAX_WHEEL = 4 * 2**30
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
        root = settings.wheels_url or ADDRESS
        self._listing = f"{root}/nightly/{settings.variant}/{settings.project}/metadata.json"
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
        reply = self._http.get(self._listing, max_bytes=_MAX_LISTING, deadline_s=_DEADLINE_S)
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, self._listing, reply.retry_after_s)
        try:
            listed = _LISTING.validate_json(reply.body)
        except ValidationError as error:
            raise self._lied("is no listing of wheels") from error
        for wheel in listed:
            if not _fits(wheel.filename):
                continue
            url = urljoin(self._listing, wheel.path)
            found = _COMMIT.search(urlsplit(url).path)
            if found is None or urlsplit(url).netloc != urlsplit(self._listing).netloc:
                raise self._lied(f"leads to {shown(url)}, which is no commit's folder there")
            return found[1], wheel.filename, url
        return None

    def poll(self) -> tuple[Release, ...]:
        """Return the commits read so far, after reading the newest one when it is time; see `Source.poll`."""
        known = self._recall()
        newest = self.newest()
        last = max((wheel.read_at for wheel in known), default=None)
        due = last is None or self._clock() - last >= self._between
        if newest is not None and due and all(wheel.url != newest[2] for wheel in known):
            known = [*known, self._read(*newest)][-KEPT:]
            if self._memory is not None:
                write(self._memory, _MEMORY.dump_json(known, indent=1))
        releases = [self._release(wheel) for wheel in known]
        return tuple(sorted(releases, key=lambda release: version_order(release.version)))

    def _read(self, commit: str, filename: str, url: str) -> _Known:
        head = self._http.head(url, headers={}, deadline_s=_DEADLINE_S)
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

    def _lied(self, what: str) -> SourceLiedError:
        return SourceLiedError(
            f"{shown(self._listing)} {what}.",
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
