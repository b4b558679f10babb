"""Reads a model hub's public HTTP interface: commits, file lists, and files with their hashes.

The address is `HF_ENDPOINT` or the public hub. A token goes to that address only: a redirect to another
host (where the large files lie) is followed without it.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx

from monitor.errors import ModelError

DEFAULT_ENDPOINT = "https://huggingface.co"
Progress = Callable[[str, int, int], None]
"""Told (file, bytes done, bytes in all)."""

_STALL_S = 60.0  # without a byte for so long a connection counts as dead
_TRIES = 5
_PAUSE_S = 1.0  # before the second try; doubled before each further one
_MAX_LISTING = 64 * 2**20  # bytes of JSON
_MAX_PAGES = 200
_CHUNK = 2**20


class NotOnHubError(ModelError):
    """The hub has no such repository, revision or file."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository at a commit."""

    path: str
    size: int
    sha256: str | None
    """Of large files; small ones are known by the id git gives them."""
    git_id: str | None


class Hub:
    """The hub at one address."""

    def __init__(
        self, *, token: str | None = None, endpoint: str | None = None, pause_s: float = _PAUSE_S
    ) -> None:
        self._address = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pause_s = pause_s

    def commit(self, repository: str, revision: str) -> str:
        """Return the commit that `revision` (a branch, tag or commit) stands for now."""
        place = f"{repository}@{revision}"
        answer, _ = self._json(f"/api/models/{repository}/revision/{quote(revision, safe='')}", place)
        sha = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(sha, str) or not re.fullmatch("[0-9a-f]{40}", sha):
            raise _nonsense(place)
        return sha

    def files(self, repository: str, commit: str) -> list[HubFile]:
        """Return every file of the repository at `commit`."""
        place = f"{repository}@{commit[:12]}"
        url: str | None = f"/api/models/{repository}/tree/{commit}?recursive=true"
        found: list[HubFile] = []
        for _ in range(_MAX_PAGES):
            if url is None:
                return found
            page, url = self._json(url, place)
            if not isinstance(page, list):
                raise _nonsense(place)
            found += [_file(entry, place) for entry in page if _is_file(entry)]
        raise _nonsense(place)

    def download(
        self, repository: str, commit: str, file: HubFile, target: Path, progress: Progress | None = None
    ) -> str:
        """Bring one file to `target` and return its sha256; what an earlier try left is gone on with.

        Raises:
            ModelError: when the hub refuses, keeps failing, or sends something else than it listed.

        """
        content_id = file.sha256 or file.git_id or ""
        part = target.with_name(f"{target.name}.{content_id[:12]}.download")
        place = f"{file.path} of {repository}@{commit[:12]}"
        if target.is_file() and (sha256 := _expected_sha256(target, file)) is not None:
            return sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        self._bring(f"/{repository}/resolve/{commit}/{quote(file.path)}", part, file, place, progress)
        if (sha256 := _expected_sha256(part, file)) is None:
            part.unlink()
            raise ModelError(
                f"{place} arrived with another content than the hub lists.",
                kept="the other files of the model",
                advice="fetch again; if it happens twice, the hub or a proxy on the way is broken",
                permanent=False,
            )
        part.replace(target)
        return sha256

    def _bring(self, path: str, part: Path, file: HubFile, place: str, progress: Progress | None) -> None:
        done = furthest = _size(part)
        in_vain = 0
        # Many GB come in over a line that breaks now and then: only tries that bring nothing count.
        while in_vain < _TRIES:
            if done > file.size:
                part.unlink()
                done = furthest = 0
            if done == file.size and part.exists():
                return
            with suppress(httpx.TransportError):
                self._continue(path, part, file, place, done=done, progress=progress)
            done = _size(part)
            # A hub that begins again each time brings nothing before it is further than ever.
            in_vain = 0 if done > furthest else in_vain + 1
            furthest = max(furthest, done)
            if done != file.size and in_vain < _TRIES:
                time.sleep(self._pause_s * 2 ** max(in_vain - 1, 0))
        raise ModelError(
            f"The download of {place} broke off {_TRIES} times in a row without bringing more.",
            kept=f"what has arrived, in {part}",
            advice="fetch again when the network is back; it goes on where it stopped",
            permanent=False,
        )

    def _continue(
        self, path: str, part: Path, file: HubFile, place: str, *, done: int, progress: Progress | None
    ) -> None:
        """Append to `part` what follows its first `done` bytes, as far as the connection holds."""
        headers = {"Range": f"bytes={done}-"} if done else {}
        # Without `identity` a proxy may compress, and the range would count compressed bytes.
        headers["Accept-Encoding"] = "identity"
        with self._client() as client, client.stream("GET", self._address + path, headers=headers) as reply:
            if _worth_another_try(reply.status_code):
                raise httpx.ReadError(f"status {reply.status_code}")
            _check_status(reply.status_code, place)
            if reply.status_code != HTTPStatus.PARTIAL_CONTENT:
                done = 0  # the hub begins again
            with part.open("r+b" if done else "wb") as stream:
                stream.seek(done)
                stream.truncate()
                try:
                    # As it arrives: a block kept back to be filled would be lost with the connection.
                    for chunk in reply.iter_bytes():
                        done += len(chunk)
                        if done > file.size:
                            break
                        stream.write(chunk)
                        if progress:
                            progress(file.path, done, file.size)
                finally:
                    stream.flush()
                    os.fsync(stream.fileno())

    def _json(self, path: str, place: str) -> tuple[Any, str | None]:
        """Return (content, address of the next page)."""
        url = path if path.startswith("http") else self._address + path
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self._pause_s * 2 ** (attempt - 1))
            try:
                with self._client() as client, client.stream("GET", url) as reply:
                    if _worth_another_try(reply.status_code):
                        continue
                    _check_status(reply.status_code, place)
                    content = bytearray()
                    for chunk in reply.iter_bytes():
                        content += chunk
                        if len(content) > _MAX_LISTING:
                            raise _nonsense(place)
                    next_page = reply.links.get("next", {}).get("url")
                    return _parse(bytes(content), place), self._own(next_page, place)
            except httpx.TransportError:
                continue
        raise ModelError(
            f"The model hub at {self._address} does not answer about {place}.",
            kept="the models that are here",
            advice="check the network, or name a mirror with `models.endpoint`",
            permanent=False,
        )

    def _own(self, url: str | None, place: str) -> str | None:
        # The listing is asked with the token, so a next page on another host is refused.
        if url is not None and not url.startswith((self._address + "/", "/")):
            raise _nonsense(place)
        return url

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with httpx.Client(
            headers=self._headers,
            timeout=_STALL_S,
            follow_redirects=True,
            verify=ssl.create_default_context(),
        ) as client:
            yield client


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _worth_another_try(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


def _check_status(status: int, place: str) -> None:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise ModelError(
            f"The model hub does not give {place} to us ({status}).",
            advice="accept the model's licence on its page, and give a token in MTP_MONITOR_MODELS__TOKEN "
            "or `models.token_file`",
        )
    if status == HTTPStatus.NOT_FOUND:
        raise NotOnHubError(
            f"The model hub has no {place}.",
            advice="correct `repository`, `revision` or `files` in the check",
        )
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise ModelError(
            f"The model hub answered {status} for {place}.", advice="try again later", permanent=False
        )


def _parse(content: bytes, place: str) -> Any:
    try:
        return httpx.Response(200, content=content).json()
    except ValueError:
        raise _nonsense(place) from None


def _is_file(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("type") == "file"


def _file(entry: dict[str, Any], place: str) -> HubFile:
    path, size, git_id = entry.get("path"), entry.get("size"), entry.get("oid")
    lfs = entry.get("lfs")
    sha256 = lfs.get("oid") if isinstance(lfs, dict) else None
    # A listing is untrusted: its paths become paths on this disk.
    sound = isinstance(path, str) and path and "\\" not in path and "\0" not in path
    parts = PurePosixPath(path).parts if sound and isinstance(path, str) else ("..",)
    if ".." in parts or parts[0] == "/" or not isinstance(size, int) or size < 0 or not isinstance(path, str):
        raise _nonsense(place)
    return HubFile(
        path=path,
        size=size,
        sha256=sha256 if isinstance(sha256, str) else None,
        git_id=git_id if isinstance(git_id, str) else None,
    )


def _expected_sha256(path: Path, file: HubFile) -> str | None:
    """Return the sha256 of `path` when it holds what the hub lists, else None.

    Small files are listed without a sha256, under the id that git gives their content.
    """
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(4 * _CHUNK):
            sha256.update(block)
            git.update(block)
    listed, found = (file.sha256, sha256) if file.sha256 else (file.git_id, git)
    return sha256.hexdigest() if listed == found.hexdigest() else None


def _nonsense(place: str) -> ModelError:
    return ModelError(
        f"The model hub answered about {place} with something that is no answer.",
        kept="the models that are here",
        advice="check that `models.endpoint` or HF_ENDPOINT names a hub and not a sign-in page",
        permanent=False,
    )
