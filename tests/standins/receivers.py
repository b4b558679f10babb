"""Receivers of messages on loopback: a webhook that verifies, and Slack as its documentation has it.

with WebhookReceiver(SECRET) as receiver:
    ...                                   # receiver.url is its address; receiver.messages what it took
    receiver.answers += [Answer(503, headers={"Retry-After": "60"})]     # for the next request
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from standins.loopback import Loopback


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float | None = None
    """Seconds between the bytes of a reply without end."""


@dataclass(frozen=True)
class Post:
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Answers 200 to every POST, or what `answers` holds next."""

    def __init__(self, *, certificate: tuple[str, str] | None = None) -> None:
        self.answers: deque[Answer] = deque()
        self.posts: list[Post] = []
        self._certificate = certificate
        self._over = threading.Event()
        self._served: Loopback | None = None

    def judge(self, post: Post) -> Answer:
        """Return the answer to a request for which none is prepared."""
        return Answer()

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._answer(self)

            def do_GET(self) -> None:
                receiver.posts.append(Post(self.path, {"method": "GET"}, b""))
                _send(self, Answer())

        self._served = Loopback(Handler, certificate=self._certificate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        assert self._served is not None
        self._served.close()

    @property
    def port(self) -> int:
        assert self._served is not None, "only inside `with`"
        return self._served.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/s3cret-path"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        post = Post(handler.path, headers, handler.rfile.read(int(headers.get("content-length", 0))))
        self.posts.append(post)
        answer = self.answers.popleft() if self.answers else self.judge(post)
        try:
            if answer.drip_s is None:
                _send(handler, answer)
                return
            handler.send_response(answer.status)
            handler.end_headers()
            while not self._over.wait(answer.drip_s):
                handler.wfile.write(b" ")
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client has seen enough


class WebhookReceiver(Receiver):
    """Verifies signatures with the library, and keeps each message once."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._webhook = Webhook(secret)
        self.messages: dict[str, Any] = {}

    def judge(self, post: Post) -> Answer:
        try:
            body = self._webhook.verify(post.body, post.headers)
        except WebhookVerificationError as error:
            return Answer(401, str(error).encode())
        self.messages[post.headers["webhook-id"]] = body
        return Answer(204)


class SlackStandIn(Receiver):
    """Takes what Slack takes, and refuses the rest with Slack's status and word."""

    def judge(self, post: Post) -> Answer:
        if not post.headers.get("content-type", "").startswith("application/json"):
            return Answer(400, b"invalid_payload")
        try:
            payload = json.loads(post.body)
        except ValueError:
            return Answer(400, b"invalid_payload")
        refusal = refusal_of(payload)
        return Answer(400, refusal.encode()) if refusal else Answer(200, b"ok")


def refusal_of(payload: Any) -> str:
    """Return Slack's word for a payload it refuses; "" for one it takes."""
    if not isinstance(payload, dict) or not isinstance(payload.get("text", ""), str):
        return "invalid_payload"
    blocks = payload.get("blocks", [])
    if not payload.get("text") and not blocks:
        return "no_text"
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format"
    if len(blocks) > 50 or not all(_is_block(block) for block in blocks):
        return "invalid_blocks"
    if sum(len(text) for block in blocks for text in texts_of(block)) > 13_000:
        return "msg_blocks_too_long"
    return ""


def texts_of(block: dict[str, Any]) -> list[str]:
    parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
    return [part["text"] for part in parts if isinstance(part, dict)]


def _is_block(block: dict[str, Any]) -> bool:
    match block:
        case {"type": "divider"}:
            return set(block) == {"type"}
        case {"type": "header", "text": {"type": "plain_text"} as text}:
            return _is_text(text, 150)
        case {"type": "section", "text": text}:
            return _is_text(text, 3000)
        case {"type": "section", "fields": [_, *_] as fields}:
            return len(fields) <= 10 and _are_texts(fields, 2000)
        case {"type": "context", "elements": [_, *_] as elements}:
            return len(elements) <= 10 and _are_texts(elements, 3000)
    return False


def _are_texts(texts: Sequence[Any], most: int) -> bool:
    return all(_is_text(text, most) for text in texts)


def _is_text(text: Any, most: int) -> bool:
    known = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
    return (
        isinstance(text, dict)
        and set(text) <= known.get(text.get("type"), set())
        and isinstance(text.get("text"), str)
        and 1 <= len(text["text"]) <= most
    )


def as_shown(text: str) -> str:
    """Return a text as a reader sees it: links by their words, entities as what they stand for."""
    text = re.sub(r"<(https?://[^|>]+)\|([^>]*)>", r"\2", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)
