"""HTTP with a total deadline, a size cap and limited redirects; files arrive whole and hashed, or not at all.

Proxies and certificates come from the environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, …), which
httpx honours by itself. What goes wrong on the way is a `SourceError`; addresses in messages are shown
without credentials and without query, where signed addresses carry theirs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import urlsplit

import httpx

from monitor import disk
from monitor.addresses import open_local, shown, without_credentials
from monitor.deadline import Deadline
from monitor.errors import ArtifactChangedError, SourceError, SourceLiedError

DEFAULT_TIMEOUT_S = 30.0
_MAX_REDIRECTS = 5
_CHUNK = 2**18
_WAIT_STATUSES = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE}
_LONGEST_WAIT_S = 86400.0  # a source that asks for more is asked again after a day


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes
    url: str
    """Of the last redirect, without credentials: what relative links in the body count from."""

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" when none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after_s(self) -> float | None:
        """Seconds the server asks to wait before the next request, or None."""
        return _retry_after(self.status, self.headers)


class Http:
    """Requests to sources; one request opens one connection, closed with it."""

    def __init__(
        self,
        *,
        user_agent: str = "mtp-monitor",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._client = httpx.Client(
            headers={"User-Agent": user_agent},
            transport=transport,
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            # A connection that is kept would be reused without the event that `Deadline` listens to.
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks={"request": [_stay_on_hosts]},
        )
        self._not_before: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what the client holds."""
        self._client.close()

    def get(
        self,
        url: str,
        *,
        accept: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int,
        deadline_s: float,
        hosts: Collection[str] | None = None,
    ) -> Reply:
        """Return the whole answer, whatever its status, within `deadline_s` and `max_bytes`.

        With `hosts` (names with their port, unless it is the usual one) nothing else is asked, also when a
        redirect leads there. What authorises is never sent on to another host.

        Raises:
            SourceError: no answer, cut off, too slow, or the host asked for a pause that is not over
                (`retry_after_s` says how much of it is left).
            SourceLiedError: longer than `max_bytes`, not decodable, or not on `hosts`.

        """
        asked = dict(headers or {})
        if accept is not None:
            asked["Accept"] = accept
        body = bytearray()
        with self._stream(url, asked, deadline_s, hosts) as reply:
            for chunk in reply.iter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_big(url, max_bytes)
            return Reply(reply.status_code, reply.headers, bytes(body), without_credentials(str(reply.url)))

    def head(self, url: str, *, headers: Mapping[str, str], deadline_s: float) -> Reply:
        """Return status and headers of the answer to HEAD; raises as `get`."""
        with self._stream(url, headers, deadline_s, None, method="HEAD") as reply:
            return Reply(reply.status_code, reply.headers, b"", without_credentials(str(reply.url)))

    def download(
        self,
        url: str,
        target: Path,
        *,
        sha256: str,
        max_bytes: int,
        deadline_s: float,
        hosts: Collection[str] | None = None,
    ) -> Path:
        """Bring the file at `url` (also `file://`) to `target` and return it, its sha256 checked.

        It grows as `<target>.part` and gets its name when it is complete; a failure leaves nothing. `hosts`
        as in `get`.

        Raises:
            SourceError: as `get`, or refused by the source.
            SourceLiedError: longer than `max_bytes`, or a page where a file was promised.
            ArtifactChangedError: complete, but with another sha256.
            DiskFullError: no room; the part is removed. HostError: not writable at all.

        """
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                found = self._fill(stream, url, max_bytes, deadline_s, hosts)
            if found != sha256.lower():
                raise _changed(url, sha256, found)
            part.replace(target)
        except OSError as error:
            raise disk.cannot_write(error, target) from error
        finally:
            with suppress(OSError):
                part.unlink()
        return target

    def digest(self, url: str, *, max_bytes: int, deadline_s: float) -> tuple[str, int]:
        """Return sha256 and size of the file at `url`, which is read and not kept; raises as `download`."""
        digest, size = hashlib.sha256(), 0
        with self._chunks(url, deadline_s, None) as chunks:
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise _too_big(url, max_bytes)
                digest.update(chunk)
        return digest.hexdigest(), size

    def _fill(
        self, stream: BinaryIO, url: str, max_bytes: int, deadline_s: float, hosts: Collection[str] | None
    ) -> str:
        digest, size = hashlib.sha256(), 0
        with self._chunks(url, deadline_s, hosts) as chunks:
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise _too_big(url, max_bytes)
                digest.update(chunk)
                stream.write(chunk)
        return digest.hexdigest()

    @contextmanager
    def _chunks(
        self, url: str, deadline_s: float, hosts: Collection[str] | None
    ) -> Iterator[Iterator[bytes]]:
        if urlsplit(url).scheme == "file" and hosts is None:
            with open_local(url) as source:
                yield iter(lambda: source.read(_CHUNK), b"")
            return
        # A compressed transfer would be hashed decoded, and its length would not be the file's.
        with self._stream(url, {"Accept-Encoding": "identity"}, deadline_s, hosts) as reply:
            if reply.status_code != HTTPStatus.OK:
                raise refused(reply.status_code, url, _retry_after(reply.status_code, reply.headers))
            if reply.headers.get("content-type", "").startswith("text/html"):
                raise SourceLiedError(
                    f"{shown(url)} answered with a page instead of a file.",
                    advice="look at the address in a browser: a login or proxy page may stand in the way",
                )
            yield reply.iter_bytes(_CHUNK)

    @contextmanager
    def _stream(
        self,
        url: str,
        headers: Mapping[str, str],
        deadline_s: float,
        hosts: Collection[str] | None,
        *,
        method: str = "GET",
    ) -> Iterator[httpx.Response]:
        try:
            host = urlsplit(url).netloc.rpartition("@")[2]
        except ValueError as error:
            raise _no_address(url) from error
        self._respect_pause(host, url)
        timeout = httpx.Timeout(min(self._timeout_s, deadline_s))
        with Deadline(deadline_s) as deadline:
            try:
                with self._client.stream(
                    method,
                    url,
                    headers=headers,
                    timeout=timeout,
                    extensions={"trace": deadline.watch, _HOSTS: hosts},
                ) as reply:
                    pause_s = _retry_after(reply.status_code, reply.headers)
                    if pause_s is not None:
                        self._not_before[host] = self._clock() + pause_s
                    yield reply
                if deadline.passed:
                    # Without a length, a socket that was shut down looks like an answer that is complete.
                    raise _unreachable(url, httpx.ReadError("cut"), deadline)
            except httpx.DecodingError as error:
                raise SourceLiedError(f"{shown(url)} sent a body that cannot be decoded.") from error
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
                raise _no_address(url) from error
            except httpx.HTTPError as error:
                raise _unreachable(url, error, deadline) from error

    def _respect_pause(self, host: str, url: str) -> None:
        left_s = self._not_before.get(host, 0.0) - self._clock()
        if left_s > 0:
            raise SourceError(
                f"{shown(url)} was not asked: its host asked for a pause.",
                advice=f"try again in {left_s:.0f} s",
                retry_after_s=left_s,
            )


_HOSTS = "mtp_monitor_hosts"


def _stay_on_hosts(request: httpx.Request) -> None:
    """Refuse a request, or a redirect of it, to a host that its caller did not name; httpx calls it for each.

    Nor is a connection with TLS given up for one without.
    """
    hosts: Collection[str] | None = request.extensions.get(_HOSTS)
    if hosts is None:
        return
    place = request.url.netloc.decode("ascii")
    if place not in hosts or (request.url.scheme != "https" and request.url.host not in _LOOPBACK):
        raise SourceLiedError(
            f"A file was offered at {shown(str(request.url))}, which is none of the hosts it may come from: "
            f"{', '.join(sorted(hosts))}.",
            kept="everything else; nothing was asked there",
            advice="look who changed the address; a host that is right is added in the configuration",
        )


_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

# ---------------------------------------------------------------------------------------------
# Failures


def refused(status: int, url: str, retry_after_s: float | None = None) -> SourceError:
    """Return the error for an answer whose status is not the one wanted."""
    advice = "try again later"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        advice = "look at the user name and password of the source"
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        advice = "look whether the source still offers it; a new file may also need some minutes to appear"
    if retry_after_s is not None:
        advice = f"try again in {retry_after_s:.0f} s, as the source asks"
    return SourceError(f"{shown(url)} answered {status}.", advice=advice, retry_after_s=retry_after_s)


def _no_address(url: str) -> SourceError:
    return SourceError(
        f"{shown(url)} is no address that can be asked.",
        advice="correct the address in the configuration",
        permanent=True,
    )


def _too_big(url: str, max_bytes: int) -> SourceLiedError:
    return SourceLiedError(
        f"{shown(url)} sent more than {max_bytes} bytes.",
        advice="look at the address in a browser: this is not what a release source sends",
    )


def _changed(url: str, wanted: str, found: str) -> ArtifactChangedError:
    return ArtifactChangedError(
        f"{shown(url)} has the sha256 {found[:12]}…, its source promised {wanted[:12]}….",
        kept="the release's record and every earlier result; the file was removed",
        advice="install nothing from this source before its owner has explained the change",
    )


def _unreachable(url: str, error: httpx.HTTPError, deadline: Deadline) -> SourceError:
    reasons: list[tuple[type[httpx.HTTPError], Callable[[], str]]] = [
        (httpx.TimeoutException, lambda: "did not answer in time"),
        (httpx.ConnectError, lambda: f"cannot be reached ({error})"),
        (httpx.TooManyRedirects, lambda: f"redirected more than {_MAX_REDIRECTS} times"),
        (httpx.HTTPError, lambda: f"broke the answer off ({error})"),
    ]
    reason = next(text() for kind, text in reasons if isinstance(error, kind))
    if deadline.passed:
        reason = f"had not answered completely after {deadline.seconds:g} s"
    return SourceError(f"{shown(url)} {reason}.", advice="look at the network; it will be tried again")


def _retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds or a date, as RFC 9110 section 10.2.3 has it."""
    text = headers.get("retry-after", "").strip()
    if status not in _WAIT_STATUSES or not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)
