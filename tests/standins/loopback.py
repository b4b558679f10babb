"""An HTTP server on loopback, which other stand-ins answer through."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Loopback:
    """Serves from the moment it is made until it is closed, and logs nothing; no thread outlives the test.

    With the files of a `certificate` and its key it speaks TLS, and leaves it to the client to say what went
    wrong: a refused certificate is a test's point.
    """

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], *, certificate: tuple[str, str] | None = None
    ) -> None:
        silent = type("Silent", (handler,), {"log_message": lambda *_: None})
        self._server = (_Quiet if certificate else _Server)(("127.0.0.1", 0), silent)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_port)
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    """Joined on close."""


class _Quiet(_Server):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass
