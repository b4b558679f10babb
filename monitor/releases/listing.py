"""Reads what an index or a page of links lists, and refuses what is no listing.

The simple repository API in its JSON and HTML forms: https://packaging.python.org/en/latest/specifications/simple-repository-api/
Everything in a listing is untrusted: a file that cannot be identified is left out, and a listing that
does not hold together is an error, so that a broken page never reads as "every release is gone".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pypi_simple import RepositoryPage, UnparsableFilenameError, UnsupportedRepoVersionError, parse_filename

from monitor.addresses import shown
from monitor.domain import Artifact
from monitor.errors import SourceError, SourceLiedError

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
HTML_TYPES = frozenset({HTML_TYPE, "text/html"})
JSON_TYPES = frozenset({JSON_TYPE, "application/json"})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILENAME = re.compile(r"[A-Za-z0-9_.+!-]{1,255}")
_SUPPORTED_MAJOR = "1"


@dataclass(frozen=True, slots=True)
class Listing:
    """What one place lists for one project."""

    artifacts: tuple[Artifact, ...]
    versions: frozenset[str] = frozenset()
    """Versions it names or has any file of, with or without a file that can be identified."""


def artifact(
    project: str,
    filename: str,
    url: str,
    sha256: str,
    *,
    size: Any = None,
    requires_python: Any = None,
    uploaded_at: datetime | None = None,
    yanked: str | None = None,
) -> Artifact | None:
    """Return the file as an artifact, or None when it is of another project or of no known format."""
    version = version_in(filename, project)
    if version is None or not _SHA256.fullmatch(sha256):
        return None
    return Artifact(
        project=project,
        version=version,
        filename=filename,
        sha256=sha256,
        url=url,
        size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        requires_python=requires_python if isinstance(requires_python, str) and requires_python else None,
        uploaded_at=uploaded_at,
        yanked=yanked,
    )


def version_in(filename: str, project: str) -> str | None:
    """Return the version a file name carries, normalised where it can be; None for other projects."""
    if not _FILENAME.fullmatch(filename):
        return None
    try:
        name, version, kind = parse_filename(filename, project)
    except UnparsableFilenameError:
        return None
    if kind not in {"wheel", "sdist"} or canonicalize_name(name) != canonicalize_name(project):
        return None
    return normalised(version)


def normalised(version: str) -> str:
    """Return `version` as PEP 440 spells it, or as it is when it is no such version."""
    try:
        return str(Version(version))
    except InvalidVersion:
        return version


# ---------------------------------------------------------------------------------------------
# JSON


def read_json(body: bytes, project: str, url: str) -> Listing:
    """Read a project page of the JSON simple API (PEP 691, 700 and 792).

    Raises:
        SourceLiedError: no JSON, of another project, or without a list of files.
        SourceError: the index has quarantined the project.

    """
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _lied(url, "sent something that is not JSON, or only its beginning") from error
    if not isinstance(page, dict) or not isinstance(page.get("files"), list):
        raise _lied(url, "sent JSON without a list of files")
    if canonicalize_name(str(page.get("name", project))) != canonicalize_name(project):
        raise _lied(url, f"sent the page of another project than {project}")
    meta = page.get("meta")
    _check_api_version(meta.get("api-version", "1.0") if isinstance(meta, dict) else "1.0", url)
    status = page.get("project-status")
    if isinstance(status, dict):
        _check_status(status.get("status"), status.get("reason"), project, url)
    files = [entry for entry in page["files"] if isinstance(entry, dict)]
    named = page.get("versions")
    versions = (
        {normalised(item) for item in named if isinstance(item, str)} if isinstance(named, list) else set()
    )
    artifacts = [_from_json(entry, project, url) for entry in files]
    return _listing(artifacts, versions, (str(entry.get("filename", "")) for entry in files), project)


def _from_json(entry: dict[str, Any], project: str, base: str) -> Artifact | None:
    filename, hashes = entry.get("filename"), entry.get("hashes")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    url = _joined(base, entry.get("url"))
    if not isinstance(filename, str) or not isinstance(sha256, str) or url is None:
        return None
    yanked = entry.get("yanked")
    return artifact(
        project,
        filename,
        url,
        sha256.lower(),
        size=entry.get("size"),
        requires_python=entry.get("requires-python"),
        uploaded_at=_moment(entry.get("upload-time")),
        # PEP 691: a boolean, or a non-empty string that says why.
        yanked=(yanked if isinstance(yanked, str) else "") if yanked else None,
    )


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


# ---------------------------------------------------------------------------------------------
# HTML


def read_html(body: bytes, project: str, url: str, *, flat: bool = False) -> Listing:
    """Read a project page of the HTML simple API (PEP 503 and 592), or with `flat` any page of links.

    Raises:
        SourceLiedError: a page that lists no file of the project and does not claim to be a listing.
        SourceError: the index has quarantined the project.

    """
    try:
        page = RepositoryPage.from_html(body, url)
    except UnsupportedRepoVersionError as error:
        raise _lied(url, "speaks a version of the simple API that is not known here") from error
    except (ValueError, AssertionError, RecursionError) as error:
        raise _lied(url, "sent a page that cannot be read") from error
    status = page.pypi_meta.get("project-status")
    if status:
        _check_status(status[0], page.status_reason, project, url)
    artifacts, filenames = [], []
    for link in page.links:
        target = _joined(url, link.url)
        if target is None:
            continue
        parts = urlsplit(target)
        # The text of a link may be cut short; the path is what will be downloaded.
        filename = unquote(PurePosixPath(parts.path).name)
        filenames.append(filename)
        algorithm, _, value = parts.fragment.partition("=")
        requires, yanked = link.attrs.get("data-requires-python"), link.attrs.get("data-yanked")
        artifacts.append(
            artifact(
                project,
                filename,
                parts._replace(fragment="").geturl(),
                value.lower() if algorithm == "sha256" else "",
                requires_python=requires,
                yanked=None if yanked is None else str(yanked),
            )
        )
    listing = _listing(artifacts, set(), filenames, project)
    if not listing.versions and not flat and "repository-version" not in page.pypi_meta:
        raise _lied(url, f"sent a page that lists no file of {project}")
    return listing


# ---------------------------------------------------------------------------------------------


def _listing(
    artifacts: Iterable[Artifact | None], versions: set[str], filenames: Iterable[str], project: str
) -> Listing:
    kept = dict.fromkeys(item for item in artifacts if item is not None)
    known = {version for name in filenames if (version := version_in(name, project)) is not None}
    return Listing(tuple(kept), frozenset(versions | known))


def _joined(base: str, url: Any) -> str | None:
    """Resolve a link; one that leaves the web for this machine's files is nobody's to follow."""
    if not isinstance(url, str):
        return None
    try:
        joined = urljoin(base, url)
        scheme = urlsplit(joined).scheme
    except ValueError:
        return None
    allowed = {"http", "https", "file"} if base.startswith("file:") else {"http", "https"}
    return joined if scheme in allowed else None


def _check_api_version(version: Any, url: str) -> None:
    if str(version).partition(".")[0] != _SUPPORTED_MAJOR:
        raise _lied(url, f"speaks version {version!s:.20} of the simple API, which is not known here")


def _check_status(status: Any, reason: Any, project: str, url: str) -> None:
    """Stop at a quarantine: PEP 792 says that nothing of such a project may be installed."""
    if status == "quarantined":
        because = f": {reason:.200}" if isinstance(reason, str) and reason else ""
        raise SourceError(
            f"{shown(url)} has quarantined {project}{because}.",
            kept="its known releases and their results",
            advice="wait until the index has looked into it; nothing of it is installed meanwhile",
            permanent=True,
        )


def _lied(url: str, what: str) -> SourceLiedError:
    return SourceLiedError(
        f"{shown(url)} {what}.",
        kept="what was known about its releases",
        advice="look at the address in a browser; a proxy may answer in the index's place",
    )
