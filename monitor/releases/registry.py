"""Reads a project's releases from the tags of a container image.

The protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (tags, manifests) and
https://distribution.github.io/distribution/spec/auth/token/ (nobody asks, and gets a token all the same).
A registry tells no dates, so a release counts as published when its digest was first seen here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from packaging.version import InvalidVersion, Version
from pydantic import AwareDatetime, BaseModel, ValidationError

from monitor.addresses import shown
from monitor.domain import Artifact, Release, version_order
from monitor.domain.images import IMAGE_SCHEME
from monitor.errors import ConfigurationError, SourceError, SourceLiedError
from monitor.net import Http, Reply, refused
from monitor.releases.listing import normalised
from monitor.releases.memory import held, write
from monitor.settings_tables import SourceSettings

MAX_ANSWER_BYTES = 16 * 2**20
DEADLINE_S = 60.0
NEWEST = 20
"""Versions whose digests are asked for: a registry keeps thousands of tags, and each costs a request."""
_MOST_PAGES = 50
_PER_PAGE = 1000
_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution.manifest"
_MANIFESTS = f"{_OCI}.index.v1+json, {_OCI}.manifest.v1+json, {_DOCKER}.list.v2+json, {_DOCKER}.v2+json"
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_NEXT = re.compile(r'<([^<>\s]+)>\s*;[^,]*\brel="?next"?')
_LOOPBACK = {"127.0.0.1", "localhost"}


class _Seen(BaseModel):
    """When each digest of a tag was seen first."""

    first: dict[str, AwareDatetime] = {}


class Registry:
    """The versions among the tags of one image; a `Source` (see `monitor/releases/base.py`)."""

    def __init__(
        self, settings: SourceSettings, http: Http, *, folder: Path | None, clock: Callable[[], datetime]
    ) -> None:
        """Take what is to be read.

        Raises:
            ConfigurationError: no image is named.

        """
        if settings.image is None:
            raise ConfigurationError("A source of kind 'registry' needs an image.", advice="name its `image`")
        self.project = settings.project
        self.channel: str = settings.channel
        self.since: datetime | None = None
        self._settings = settings
        self._http = http
        self._folder = folder
        self._clock = clock
        host, _, self._name = settings.image.partition("/")
        host = _HUB.get(host, host)
        # As container tools do: a registry on this machine is spoken to without TLS.
        scheme = "http" if host.partition(":")[0] in _LOOPBACK else "https"
        self._root = f"{scheme}://{host}"
        before, _, after = settings.tag.partition("{version}")
        self._tag = re.compile(f"{re.escape(before)}([0-9][0-9A-Za-z.+_-]*?){re.escape(after)}")
        self._token: str | None = None

    @property
    def address(self) -> str:
        """The image and how its versions are tagged."""
        return f"{IMAGE_SCHEME}{self._settings.image}:{self._settings.tag}"

    def poll(self) -> tuple[Release, ...]:
        """Return the newest versions that are tagged, in ascending order; see `Source.poll`.

        Raises:
            SourceError: the registry could not be asked, or refuses.
            SourceLiedError: it answered with something else than tags and digests.

        """
        versions = self._versions()
        newest = sorted(versions, key=version_order)[-NEWEST:]
        found = [(version, versions[version], self._digest(versions[version])) for version in newest]
        with held(self._memory.with_suffix(".lock")) if self._memory else nullcontext():
            seen = self._recall()
            releases = tuple(
                self._release(version, tag, digest, seen) for version, tag, digest in found if digest
            )
            if self._memory:
                write(self._memory, seen.model_dump_json().encode())
        moments = [release.published_at for release in releases if release.published_at]
        # What lies further back was not asked about.
        self.since = min(moments, default=None) if len(versions) > NEWEST else None
        return releases

    def _versions(self) -> dict[str, str]:
        url: str | None = f"{self._root}/v2/{self._name}/tags/list?n={_PER_PAGE}"
        found: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            if url is None:
                break
            reply = self._get(url)
            found |= self._read_tags(reply, url)
            following = _NEXT.search(reply.headers.get("link", ""))
            url = urljoin(url, following[1]) if following else None
            if url is not None and urlsplit(url).netloc != urlsplit(self._root).netloc:
                raise _lied(url, "is on another host than the registry")
        if not found:
            raise _lied(self._root, f"has no tag of {self._settings.image} like {self._settings.tag}")
        return found

    def _read_tags(self, reply: Reply, url: str) -> dict[str, str]:
        try:
            tags = json.loads(reply.body)["tags"] or []
            texts = [tag for tag in tags if isinstance(tag, str)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _lied(url, "sent something that is no list of tags") from error
        found = {}
        for tag in texts:
            match = self._tag.fullmatch(tag)
            if match and _is_version(match[1]):
                found[normalised(match[1])] = tag
        return found

    def _digest(self, tag: str) -> str | None:
        url = f"{self._root}/v2/{self._name}/manifests/{tag}"
        reply = self._ask(url, lambda headers: self._http.head(url, headers=headers, deadline_s=DEADLINE_S))
        if reply.status == HTTPStatus.NOT_FOUND:
            return None  # deleted since it was listed
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, url, reply.retry_after_s)
        found = _DIGEST.fullmatch(reply.headers.get("docker-content-digest", "").strip())
        if found is None:
            raise _lied(url, "did not tell the digest of a manifest")
        return found[1]

    def _release(self, version: str, tag: str, digest: str, seen: _Seen) -> Release:
        first = seen.first.setdefault(f"{tag}@{digest}", self._clock())
        image = Artifact(
            project=self.project,
            version=version,
            filename=tag,
            sha256=digest,
            url=f"{IMAGE_SCHEME}{self._settings.image}@sha256:{digest}",
            uploaded_at=first,
        )
        return Release(self.project, version, self.channel, (image,), first)

    # -----------------------------------------------------------------------------------------
    # Asking

    def _get(self, url: str) -> Reply:
        def get(headers: Mapping[str, str]) -> Reply:
            return self._http.get(url, headers=headers, max_bytes=MAX_ANSWER_BYTES, deadline_s=DEADLINE_S)

        reply = self._ask(url, get)
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, url, reply.retry_after_s)
        return reply

    def _ask(self, url: str, ask: Callable[[Mapping[str, str]], Reply]) -> Reply:
        """Ask, and once more with a token when the registry wants one."""
        reply = ask(self._headers())
        challenge = reply.headers.get("www-authenticate", "")
        if reply.status == HTTPStatus.UNAUTHORIZED and challenge.lower().startswith("bearer "):
            self._token = self._new_token(dict(_PARAMETER.findall(challenge)), url)
            reply = ask(self._headers())
        return reply

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": f"{_MANIFESTS}, application/json;q=0.5"}
        return headers | ({"Authorization": f"Bearer {self._token}"} if self._token else {})

    def _new_token(self, challenge: Mapping[str, str], url: str) -> str:
        realm = challenge.get("realm", "")
        secure = urlsplit(realm).scheme == "https" or urlsplit(self._root).scheme == "http"
        if not realm or not secure:
            raise _lied(url, "names no safe place to get a token from")
        scope = challenge.get("scope", f"repository:{self._name}:pull")
        asked = f"{realm}?{urlencode({'service': challenge.get('service', ''), 'scope': scope})}"
        reply = self._http.get(asked, max_bytes=2**20, deadline_s=DEADLINE_S)
        if reply.status != HTTPStatus.OK:
            raise refused(reply.status, realm, reply.retry_after_s)
        try:
            answer: dict[str, Any] = json.loads(reply.body)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError) as error:
            raise _lied(realm, "sent something that is no token") from error
        if not isinstance(token, str):
            raise _lied(realm, "sent something that is no token")
        return token

    # -----------------------------------------------------------------------------------------
    # Memory

    @property
    def _memory(self) -> Path | None:
        if self._folder is None:
            return None
        key = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        return self._folder / f"registry-{key}.json"

    def _recall(self) -> _Seen:
        try:
            return _Seen.model_validate_json(self._memory.read_bytes()) if self._memory else _Seen()
        except (OSError, ValidationError):
            return _Seen()


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _lied(url: str, what: str) -> SourceError:
    return SourceLiedError(
        f"{shown(url)} {what}.",
        kept="what was known about its releases",
        advice="look at `image` and `tag` of the source",
    )
