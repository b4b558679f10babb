"""What a browser is asked about a page, and a server for it to read from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from playwright.sync_api import Page

SPILLS = """() => [...document.querySelectorAll('main *, header *, footer *')].filter(element => {
    if (element.closest('.scroll, thead, svg, .unseen') || !element.checkVisibility()) return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 120))"""
SMALL = """() => [...document.querySelectorAll('button, select, input:not([type=hidden]):not(.unseen)')]
    .filter(element => element.checkVisibility() && element.getBoundingClientRect().height < 24)
    .map(element => element.outerHTML.slice(0, 120))"""
"""Things to press that are smaller than WCAG 2.2, 2.5.8, asks for."""
UNNAMED = """() => [...document.querySelectorAll('input:not([type=hidden]):not(.unseen), select, textarea')]
    .filter(element => !element.labels?.length).map(element => element.outerHTML.slice(0, 120))"""
FAINT = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const light = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part => linear(part / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'white';
    };
    const speaks = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const seen = [...document.querySelectorAll('body *')].filter(element => element.checkVisibility());
    return seen.filter(speaks).filter(element => {
        const style = getComputedStyle(element);
        const front = light(element.closest('svg') ? style.fill : style.color), back = light(behind(element));
        return (Math.max(front, back) + .05) / (Math.min(front, back) + .05) < 4.5;
    }).map(element => element.outerHTML.slice(0, 120));
}"""
"""Texts with less contrast than WCAG 2.2, 1.4.3, asks for."""


@dataclass
class Watched:
    """A page with everything it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve `app` on a free port of loopback and yield its address; nothing is left behind."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="pages")
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert server.started
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()
