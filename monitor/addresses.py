"""Addresses: what people may see of one, whose credentials go with it, and the file that `file://` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import url2pathname

from monitor.errors import SourceError


def without_credentials(url: str) -> str:
    """Return `url` without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(url: str) -> str:
    """Return `url` as people may see it: without credentials, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit(SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_credentials_of(url: str, owner: str) -> str:
    """Return `url` with the user name and password of `owner`, if both are on the same host and port."""
    mine, theirs = urlsplit(url), urlsplit(owner)
    credentials, at, place = theirs.netloc.rpartition("@")
    if not at or "@" in mine.netloc or (mine.scheme, mine.netloc) != (theirs.scheme, place):
        return url
    return urlunsplit(mine._replace(netloc=f"{credentials}@{mine.netloc}"))


def local_path(url: str) -> Path:
    """Return the path that a `file://` address names."""
    return Path(url2pathname(urlsplit(url).path))


@contextmanager
def open_local(url: str) -> Iterator[BinaryIO]:
    """Open the file a `file://` address names; what fails there is a SourceError."""
    path = local_path(url)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", advice="look whether the folder is still there"
        ) from error
    with stream:
        yield stream
