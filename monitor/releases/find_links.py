"""Further files for a project: folders of this machine and pages of links."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from monitor.addresses import local_path, shown
from monitor.domain import Artifact
from monitor.errors import SourceError
from monitor.net import Http, refused
from monitor.releases import listing
from monitor.releases.listing import Listing

MAX_LISTING_BYTES = 64 * 2**20
LISTING_DEADLINE_S = 60.0


class FolderReader:
    """Lists the files of one project in folders; a file is hashed again only after it changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def read(self, folder: Path, project: str) -> Listing:
        """Return the project's files in `folder`.

        Raises:
            SourceError: the folder cannot be read.

        """
        try:
            found = [
                self._artifact(path, project)
                for path in sorted(folder.iterdir())
                if listing.version_in(path.name, project) is not None and path.is_file()
            ]
        except OSError as error:
            raise SourceError(
                f"{error.filename or folder} cannot be read: {error.strerror}.",
                kept="what was known about its releases",
                advice="look whether the folder is there, or take it out of `find_links`",
            ) from error
        artifacts = tuple(item for item in found if item is not None)
        return Listing(artifacts, frozenset(item.version for item in artifacts))

    def _artifact(self, path: Path, project: str) -> Artifact | None:
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size)
        if key not in self._known:
            with path.open("rb") as stream:
                self._known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return listing.artifact(
            project,
            path.name,
            path.absolute().as_uri(),
            self._known[key],
            size=status.st_size,
            uploaded_at=datetime.fromtimestamp(status.st_mtime, UTC),
        )


def read_page(http: Http, url: str, project: str) -> Listing:
    """Return the project's files that the page at `url` links to.

    Raises:
        SourceError: it cannot be read, or is no page.

    """
    reply = http.get(url, max_bytes=MAX_LISTING_BYTES, deadline_s=LISTING_DEADLINE_S)
    if reply.status != HTTPStatus.OK:
        raise refused(reply.status, url, reply.retry_after_s)
    return listing.read_html(reply.body, project, reply.url, flat=True)


def folder_of(place: str) -> Path | None:
    """Return the folder that an entry of `find_links` names, or None for a page on the web."""
    scheme = urlsplit(place).scheme
    if scheme in {"http", "https"}:
        return None
    if scheme == "file":
        return local_path(place)
    if "://" in place:
        raise SourceError(
            f"{shown(place)} is neither a folder nor a page.",
            advice="`find_links` takes folders, and addresses that begin with https:// or file://",
            permanent=True,
        )
    return Path(place).expanduser()
