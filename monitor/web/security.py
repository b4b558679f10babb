"""Who may ask, and who may change: host names, headers, sizes, tokens and sessions.

Pages and documents can be read by anyone who reaches them. Every change is a POST with the bearer token, or
with a session cookie of the same site and its CSRF token. Without a configured token nothing can be changed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.settings_tables import WebSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` with the forms of these very pages.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MAX_BODY_BYTES = 64 * 1024
COOKIE = "mtp_monitor_session"
SESSION_S = 12 * 3600
_MOST_SESSIONS = 200

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_EVERY_ADDRESS = ("0.0.0.0", "::", "[::]")  # noqa: S104 - these are refused as names, not listened on
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


# ---------------------------------------------------------------------------------------------
# Which host names are answered


class HostNames:
    """The names this service may be asked for by: without it any web page could reach it by DNS rebinding.

    A name is good with every port, since tunnels and proxies change it; one configured as `name:port` only
    with that port.
    """

    def __init__(self, settings: WebSettings) -> None:
        listened = [] if settings.host in _EVERY_ADDRESS else [settings.host]
        public = [urlsplit(settings.public_url).netloc] if settings.public_url else []
        self._allowed = {
            _bracketed(name.lower()) for name in (*_LOOPBACK, *listened, *public, *settings.allowed_hosts)
        }

    def allows(self, authority: str) -> bool | None:
        """Say whether a Host header may be answered; None when it is no host name at all."""
        match = _HOST.fullmatch(authority.lower())
        if match is None:
            return None
        name = match["name"].removesuffix(".")
        return name in self._allowed or f"{name}:{match['port']}" in self._allowed


def _bracketed(name: str) -> str:
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


# ---------------------------------------------------------------------------------------------
# What passes in and out


class Perimeter:
    """The outermost layer: checks the Host header, bounds the body, sets the headers of every answer."""

    def __init__(self, app: ASGIApp, *, names: HostNames, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._names = names
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        # The whole body is read here, so that nothing behind has to count.
        body = await self._body(receive)
        if body is None:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, send_with_headers)
            return
        await self._app(scope, _replayed(body, receive), send_with_headers)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        allowed = self._names.allows(hosts[0]) if len(hosts) == 1 else None
        if allowed is None:
            return PlainTextResponse("The request names no host.\n", 400)
        if not allowed:
            return PlainTextResponse(
                "This service does not answer to that host name: add it to `web.allowed_hosts`.\n",
                421,
            )
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._max_body_bytes:
            return PlainTextResponse("The request is too large.\n", 413)
        return None

    async def _body(self, receive: Receive) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return body
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > self._max_body_bytes:
                return None
            if not message.get("more_body", False):
                return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


# ---------------------------------------------------------------------------------------------
# Who may change something


@dataclass(frozen=True, slots=True)
class WebSession:
    """Somebody who gave the token on the login page."""

    csrf: str
    """Goes into every form, and comes back with it."""


class Access:
    """Tokens and sessions. The token is kept as a hash only, sessions in memory: a restart ends them."""

    def __init__(self, settings: WebSettings) -> None:
        token = settings.token.get_secret_value() if settings.token is not None else ""
        self._token_hash = _hash(token) if token else None
        self._key = secrets.token_bytes(32)
        self._ends: dict[str, float] = {}  # hash of a session's id → when it ends, on the monotonic clock
        self._lock = threading.Lock()
        self._secure = (settings.public_url or "").lower().startswith("https://")

    @property
    def can_change(self) -> bool:
        """Whether a token is configured at all."""
        return self._token_hash is not None

    @property
    def secure(self) -> bool:
        """Whether people reach the pages by https, so that the cookie may be kept to it."""
        return self._secure

    def is_token(self, given: str) -> bool:
        """Say whether this is the token, in the same time for every wrong one."""
        # Hashes have one length, so even the length of a guess tells nothing.
        expected = self._token_hash or _hash(secrets.token_hex())
        return hmac.compare_digest(_hash(given), expected) and self._token_hash is not None

    def is_bearer(self, header: str | None) -> bool:
        """Say whether an Authorization header carries the token."""
        scheme, _, given = (header or "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def log_in(self, token: str) -> str | None:
        """Begin a session and return its id for the cookie; None for a wrong token."""
        if not self.is_token(token):
            return None
        identity = secrets.token_urlsafe(32)
        with self._lock:
            self._forget_old()
            while len(self._ends) >= _MOST_SESSIONS:
                del self._ends[min(self._ends, key=self._ends.__getitem__)]
            self._ends[_hash(identity).hex()] = time.monotonic() + SESSION_S
        return identity

    def session(self, cookies: Mapping[str, str]) -> WebSession | None:
        """Return the session of a request, None when there is none that goes on."""
        identity = cookies.get(COOKIE, "")
        with self._lock:
            self._forget_old()
            known = _hash(identity).hex() in self._ends
        if not known:
            return None
        csrf = hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()
        return WebSession(csrf)

    def log_out(self, cookies: Mapping[str, str]) -> None:
        """End the session of a request."""
        with self._lock:
            self._ends.pop(_hash(cookies.get(COOKIE, "")).hex(), None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        for identity in [identity for identity, end in self._ends.items() if end <= now]:
            del self._ends[identity]


def is_same_site(headers: Headers, names: HostNames) -> bool:
    """Say whether a form was sent by a page of this service, as far as the browser tells.

    The CSRF token already decides that; this stops the request before anything of it is read.
    """
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or names.allows(urlsplit(origin).netloc) is True


def is_csrf(session: WebSession, given: str) -> bool:
    """Say whether a form brought back the token it was given."""
    return hmac.compare_digest(session.csrf.encode(), given.encode())


def local_path(target: str, *, otherwise: str = "/") -> str:
    """Return `target` when it is a path of this service, so that a login leads to no other site."""
    safe = re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", target) is not None
    return target if safe else otherwise


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()
