"""What was read of one repository, kept between looks: pages with their ETags, and the releases on them.

It is a memory, not a record: without it everything is read again. The record is the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ValidationError

from monitor.releases.github.schema import GithubRelease
from monitor.releases.memory import held, write


class Page(BaseModel):
    """One page of the listing as it was last sent whole."""

    etag: str
    ids: tuple[int, ...]
    """Of its releases."""
    following: str | None


class Ledger(BaseModel):
    """Everything that is known of a repository's releases."""

    owner: str = ""
    """Who was told the ETags: they are no one else's."""
    looked_at: AwareDatetime | None = None
    """When the API was last asked for the newest releases."""
    walked_at: AwareDatetime | None = None
    """When it was last asked for all of them, as far back as is wanted."""
    reaches: AwareDatetime | None = None
    """Every release since then is known."""
    feed: str = ""
    """sha256 of the feed at the last look."""
    pages: dict[str, Page] = {}
    """Address → page."""
    releases: dict[int, GithubRelease] = {}
    """GitHub's number → release."""
    further_back: dict[str, GithubRelease | None] = {}
    """Tag → a release that was asked for by name, None: there is none."""
    promoted: dict[str, str] = {}
    """Identity of the file that names a promoted build → what stands in it."""


@contextmanager
def opened(folder: Path | None, repository: str, owner: str) -> Iterator[Ledger]:
    """Yield the ledger of a repository, and keep what was changed in it, also when the look failed.

    Two processes never look at one repository at the same time: the second finds what the first has read.

    Raises:
        DiskFullError: no room. HostError: the folder is not writable.

    """
    if folder is None:
        yield Ledger(owner=owner)
        return
    name = hashlib.sha256(repository.lower().encode()).hexdigest()[:8]
    file = folder / f"github-{repository.replace('/', '--')}-{name}.json"
    with held(file.with_suffix(".lock")):
        before = b""
        ledger = Ledger()
        with suppress(OSError, ValidationError):
            before = file.read_bytes()
            ledger = Ledger.model_validate_json(before)
        if ledger.owner != owner:
            ledger.owner, ledger.pages = owner, {}
        try:
            yield ledger
        finally:
            after = ledger.model_dump_json().encode()
            if after != before:
                write(file, after)
