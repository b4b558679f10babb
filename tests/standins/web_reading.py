"""What a test reads of the service: a page with its tags and its text, a document of the API.

client = client_of(station, Recorder())
page(client, "/runs").text            # as a reader sees it; a page that is not well formed fails the test
document(client, "/api/v1/runs")
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from factory_values import HOSTILE
from monitor.steps.station import Station
from monitor.web.app import create_app
from standins.web import TOKEN

ADDRESS = "http://127.0.0.1:8640"
HARMLESS = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
"""What a page shows of the text from outside."""
BEARER = {"authorization": f"Bearer {TOKEN}"}
_INLINE = frozenset({"a", "abbr", "b", "code", "small", "span", "time"})
_VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})


def client_of(found: Station, actions: Any, clock: Callable[[], datetime] | None = None) -> TestClient:
    """Return a visitor who is not logged in; `actions` is asked for what somebody wants changed."""
    app = create_app(found, actions=actions, clock=clock)
    return TestClient(app, base_url=ADDRESS, follow_redirects=False)


class Page(HTMLParser):
    """Tags and readable text of a page; refuses one that is not well formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "br":
            self.texts.append(" ")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag not in _INLINE:
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def links(self) -> set[str]:
        return {attrs["href"] or "" for tag, attrs in self.tags if tag == "a" and attrs.get("href")}


def page(client: TestClient, path: str, status: int = 200) -> Page:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def document(client: TestClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())
