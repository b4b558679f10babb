"""The part of GitHub's release schema that is read here.

https://docs.github.com/en/rest/releases/releases. Everything in it is untrusted, and only what can be
identified is used: an asset without a sha256, or whose upload is not over, is no artifact.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from monitor.releases.github.api import lied

MOST_NOTES = 12_000
"""Characters of release notes that are kept."""
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")


def plain(text: Any) -> str:
    """Return notes as plain text of bounded length, without control characters but line ends and tabs."""
    if not isinstance(text, str):
        return ""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(sign for sign in lines if sign in "\n\t" or sign.isprintable()).strip()
    return kept if len(kept) <= MOST_NOTES else kept[:MOST_NOTES].rstrip() + "\n[…]"


class Asset(BaseModel):
    """One file of a release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int
    name: str
    state: str
    """`uploaded`, or `open` while it is not complete."""
    size: int | None = None
    digest: str | None = None
    """`sha256:…`; files uploaded before June 2025 have none."""
    updated_at: AwareDatetime | None = None
    """When its upload ended."""
    browser_download_url: str

    @property
    def sha256(self) -> str | None:
        """Its sha256, once all of it is there."""
        found = _SHA256.fullmatch(self.digest or "")
        return found[1].lower() if found and self.state == "uploaded" else None


class GithubRelease(BaseModel):
    """One published release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int
    tag_name: str
    draft: bool = False
    prerelease: bool = False
    created_at: AwareDatetime
    """Of the commit; listings are in this order, newest first."""
    published_at: AwareDatetime | None = None
    body: Annotated[str, BeforeValidator(plain)] = ""
    html_url: str = ""
    assets: tuple[Asset, ...] = ()


def read_releases(body: Any, url: str) -> list[GithubRelease]:
    """Return the releases of a page, drafts left out.

    Raises:
        SourceLiedError: it is no list of releases.

    """
    if not isinstance(body, list):
        raise lied(url, "sent JSON that is no list of releases")
    found, wrong = [], 0
    for entry in body:
        release = read_release(entry)
        if release is None:
            wrong += 1
        elif not release.draft and release.published_at is not None:
            found.append(release)
    if wrong and not found:
        raise lied(url, "sent a list in which nothing is a release")
    return found


def read_release(entry: Any) -> GithubRelease | None:
    """Return one release, None for what is none."""
    try:
        return GithubRelease.model_validate(entry)
    except ValidationError:
        return None
