"""Reads a project's releases from a package index, with the folders and pages that go with it."""

from __future__ import annotations

from http import HTTPStatus

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from monitor.addresses import local_path, open_local, shown
from monitor.domain import Artifact, Release
from monitor.errors import ArtifactChangedError, SourceLiedError
from monitor.index_address import index_url_of
from monitor.net import Http, Reply, refused
from monitor.releases import find_links, listing
from monitor.releases.find_links import LISTING_DEADLINE_S, MAX_LISTING_BYTES, FolderReader
from monitor.releases.listing import HTML_TYPE, HTML_TYPES, JSON_TYPE, JSON_TYPES, Listing
from monitor.settings_tables import SourceSettings

__all__ = ["PackageIndex", "index_url_of", "version_order"]

_ACCEPT = f"{JSON_TYPE}, {HTML_TYPE};q=0.2, text/html;q=0.01"
_ACCEPT_HTML = "text/html"
_NOT_NEGOTIATED = {HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}


class PackageIndex:
    """One project on one package index; a `Source` (see `monitor/releases/base.py`)."""

    def __init__(self, settings: SourceSettings, http: Http) -> None:
        self.project = settings.project
        self.channel: str = settings.channel
        self.since = None
        self._settings = settings
        self._http = http
        self._folders = FolderReader()

    @property
    def address(self) -> str:
        """Where the project's page is, without credentials."""
        return shown(self._page_url())

    def poll(self) -> tuple[Release, ...]:
        """Return every release listed now, in ascending order of version; see `Source.poll`.

        Raises:
            SourceError: the index, or a folder or page of `find_links`, could not be read.
            ArtifactChangedError: one file name is listed with two contents.

        """
        listings = [self._index()]
        for place in self._settings.find_links:
            folder = find_links.folder_of(place)
            if folder is None:
                listings.append(find_links.read_page(self._http, place, self.project))
            else:
                listings.append(self._folders.read(folder, self.project))
        return self._releases(listings)

    def _page_url(self) -> str:
        return f"{index_url_of(self._settings).rstrip('/')}/{canonicalize_name(self.project)}/"

    def _index(self) -> Listing:
        url = self._page_url()
        if url.startswith("file:"):
            return self._local(url)
        reply = self._ask(url, _ACCEPT)
        if reply.status in _NOT_NEGOTIATED:
            reply = self._ask(url, _ACCEPT_HTML)
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, url, reply.retry_after_s)
        # Some indexes answer 200 with HTML whatever was asked for: what came decides, not the request.
        if reply.content_type in JSON_TYPES:
            found = listing.read_json(reply.body, self.project, reply.url)
        elif reply.content_type in HTML_TYPES:
            found = listing.read_html(reply.body, self.project, reply.url)
        else:
            raise SourceLiedError(
                f"{shown(url)} answered with {reply.content_type[:60] or 'no content type'}, "
                "which is no form of the simple API.",
                kept="what was known about its releases",
                advice="look whether `index_url` is the address of a simple API",
            )
        if not found.versions:
            raise SourceLiedError(
                f"{shown(url)} lists no release at all.",
                kept="what was known about its releases",
                advice="look at the address in a browser; a project with releases is expected there",
            )
        return found

    def _ask(self, url: str, accept: str) -> Reply:
        return self._http.get(url, accept=accept, max_bytes=MAX_LISTING_BYTES, deadline_s=LISTING_DEADLINE_S)

    def _local(self, url: str) -> Listing:
        folder = local_path(url)
        page = folder / "index.html"
        if not page.is_file():
            return self._folders.read(folder, self.project)
        with open_local(page.as_uri()) as stream:
            return listing.read_html(stream.read(MAX_LISTING_BYTES), self.project, page.as_uri())

    def _releases(self, listings: list[Listing]) -> tuple[Release, ...]:
        files: dict[str, dict[str, Artifact]] = {}
        contents: dict[str, str] = {}
        for found in listings:
            for version in found.versions:
                files.setdefault(version, {})
            for item in found.artifacts:
                if contents.setdefault(item.filename, item.sha256) != item.sha256:
                    raise _two_contents(item.filename, self.address)
                # A later place is nearer than the index: a folder's file needs no network.
                files[item.version][item.sha256] = item
        return tuple(
            Release(
                project=self.project,
                version=version,
                channel=self.channel,
                artifacts=tuple(sorted(files[version].values(), key=lambda item: item.filename)),
                published_at=min(
                    (item.uploaded_at for item in files[version].values() if item.uploaded_at), default=None
                ),
            )
            for version in sorted(files, key=version_order)
        )


def version_order(version: str) -> tuple[bool, Version, str]:
    """Return a key that sorts versions by PEP 440, those that are no such version first."""
    try:
        return True, Version(version), version
    except InvalidVersion:
        return False, Version("0"), version


def _two_contents(filename: str, address: str) -> ArtifactChangedError:
    return ArtifactChangedError(
        f"{filename} is listed with two different contents by {address} and the places beside it.",
        kept="what was known about its releases",
        advice="give a file of your own a build tag or local version of its own, or ask the index",
    )
