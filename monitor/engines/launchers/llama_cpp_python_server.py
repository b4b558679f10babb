"""Serves llama-cpp-python over HTTP, inside the environment under test, in llama.cpp's own protocol.

    python llama_cpp_python_server.py ORDER.json

The order names the arm, the model, the settings and a file to report to. The `baseline` arm is the
library's plain generation, `Llama.generate`. The `mtp` arm is the example server that comes with the
release's source: its `main` builds everything from a configuration file of its own, and instead of its web
server this one is run, which hands requests to its `CompletionService`. So both arms have the same front,
and what is between the two is the library.

Spoken is what the client knows from llama.cpp's server: `POST /completion` and `/v1/chat/completions`
(streamed), `GET /health`, `/props`, `/metrics`. One request is served at a time. Token ids, counts and
times are those of the loop itself. The report is one JSON object: `address`, `path`, `library`.
"""

from __future__ import annotations

import http.server
import importlib.util
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_chat_format

MAX_BODY = 16 * 2**20
_COUNTERS = {
    "drafted": "batch_server:draft_tokens_proposed_total",
    "accepted": "batch_server:draft_tokens_accepted_total",
    "predicted": "llamacpp:tokens_predicted_total",
}


class Piece:
    """What is told at once: a token or none, text, and when it was there."""

    def __init__(self, text: str, tokens: list[int], at_s: float | None = None) -> None:
        """Take text and token ids; without a time it is now."""
        self.text, self.tokens = text, tokens
        self.at_s = time.perf_counter() if at_s is None else at_s


class Outcome:
    """How an answer ended and what was counted while it was made."""

    def __init__(self, stop: str, counts: dict[str, int] | None = None) -> None:
        """Take the reason, `limit` or `eos`, and what was drafted, accepted and predicted."""
        self.stop, self.counts = stop, counts or {}


Answer = Iterator[Piece | Outcome]
"""Pieces, and an outcome as the last."""


class Plain:
    """The library's own generation, a token at a time."""

    path = "Llama.generate"

    def __init__(self, order: dict[str, Any]) -> None:
        """Load the model."""
        self.library = llama_cpp.Llama(**order["llama"], verbose=False)

    def answer(self, tokens: list[int], asked: dict[str, Any]) -> Answer:
        """Generate."""
        library, held = self.library, b""
        vocabulary = llama_cpp.llama_model_get_vocab(library.model)
        # Every request is computed anew, as the other servers do it with `cache_prompt` off.
        library.reset()
        sampling = {key: asked[name] for name, key in _SAMPLING.items() if name in asked}
        generated = library.generate(tokens, **sampling)
        most = int(asked["n_predict"])
        for number, token in enumerate(itertools.islice(generated, most), start=1):
            ended = not asked.get("ignore_eos") and llama_cpp.llama_vocab_is_eog(vocabulary, token)
            held += b"" if ended else library.detokenize([token])
            text, held = _whole(held)
            yield Piece(text, [token])
            if ended or number == most:
                generated.close()
                yield Outcome("eos" if ended else "limit")
                return

    def metrics(self) -> str:
        """Return nothing: the library counts nothing."""
        return ""


def _pieces(text: str, tokens: list[tuple[int, float]]) -> Iterator[Piece]:
    """Yield text and tokens one by one: this thread may have been late, and several have come since."""
    if text and not tokens:
        yield Piece(text, [])
    for token, at_s in tokens:
        yield Piece(text, [token], at_s)
        text = ""


_SAMPLING = {
    **{name: name for name in ("top_k", "top_p", "min_p", "repeat_penalty")},
    "temperature": "temp",
}


class Example:
    """The example server of the release, without its web server."""

    path = "examples/server"

    def __init__(self, order: dict[str, Any]) -> None:
        """Load the vocabulary for tokenizing; the model is loaded by the example itself."""
        self.library = llama_cpp.Llama(order["llama"]["model_path"], vocab_only=True, verbose=False)
        self.service: Any = None
        self._tokens: list[tuple[int, float]] = []

    def take(self, module: Any) -> None:
        """Take over the service that the example's `main` has built."""
        self._request = module.CreateCompletionRequest
        self.service = module.APP.state.service
        scheduler = self.service.scheduler
        handle = getattr(scheduler, "handle_completion_token", None)
        if handle is None:  # another release may call it otherwise; then the text stands for the ids
            return

        def handle_and_note(completion: Any, token: int, *rest: Any, **named: Any) -> Any:
            self._tokens.append((int(token), time.perf_counter()))
            return handle(completion, token, *rest, **named)

        scheduler.handle_completion_token = handle_and_note

    def answer(self, tokens: list[int], asked: dict[str, Any]) -> Answer:
        """Have the example answer."""
        self._tokens.clear()
        before = self._counted()
        end = self.library.token_eos()
        ruled_out = {"logit_bias": {str(end): float("-inf")}} if asked.get("ignore_eos") else {}
        known = {name: asked[name] for name in ("temperature", "top_p", "seed") if name in asked}
        body = self._request(
            prompt=tokens, max_tokens=int(asked["n_predict"]), stream=True, **known, **ruled_out
        )
        stream, _cancel = self.service.submit(body)
        sent, stop = 0, ""
        for chunk in stream:
            choice = chunk["choices"][0]
            stop = choice["finish_reason"] or stop
            new = self._tokens[sent:]
            sent += len(new)
            yield from _pieces(choice["text"], new)
        yield from _pieces("", self._tokens[sent:])
        after = self._counted()
        counts = {name: after[name] - before[name] for name in after}
        yield Outcome("limit" if stop == "length" else "eos", counts)

    def metrics(self) -> str:
        """Return the example's own counters."""
        return str(self.service.render_prometheus_metrics())

    def _counted(self) -> dict[str, int]:
        page = self.metrics()
        found = {
            name: re.search(rf"^{series}(?:{{.*}})? (\S+)", page, re.MULTILINE)
            for name, series in _COUNTERS.items()
        }
        return {name: int(float(match[1])) for name, match in found.items() if match is not None}


# ---------------------------------------------------------------------------------------------
# The front


def handler_for(arm: Plain | Example, facts: dict[str, Any]) -> type[http.server.BaseHTTPRequestHandler]:
    """Return a handler that answers from `arm`, one request after the other."""
    one_at_a_time = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            pages: dict[str, Callable[[], str]] = {
                "/health": lambda: json.dumps({"status": "ok"}),
                "/props": lambda: json.dumps(facts),
                "/metrics": arm.metrics,
            }
            page = pages.get(self.path.partition("?")[0])
            self._send(200, page()) if page else self._send(404, "{}")

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if self.path not in {"/completion", "/v1/chat/completions"} or not 0 < size <= MAX_BODY:
                self._send(404, "{}")
                return
            asked = json.loads(self.rfile.read(size))
            is_chat = self.path != "/completion"
            try:
                tokens = _prompt_of(arm.library, asked, is_chat=is_chat)
            except Exception as error:  # noqa: BLE001  # what a template raises is its own affair
                self._send(400, json.dumps({"error": {"message": str(error)}}))
                return
            asked.setdefault("n_predict", asked.get("max_tokens", 16))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            with one_at_a_time:
                for event in events(arm, tokens, asked, is_chat=is_chat):
                    self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, status: int, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def events(
    arm: Plain | Example, tokens: list[int], asked: dict[str, Any], *, is_chat: bool
) -> Iterator[dict[str, Any]]:
    """Yield an answer's events as llama.cpp's server would stream them."""
    begun, first_s, last_s, n = time.perf_counter(), None, 0.0, 0
    for part in arm.answer(tokens, asked):
        if isinstance(part, Piece):
            n += len(part.tokens)
            if part.tokens:
                first_s, last_s = first_s if first_s is not None else part.at_s, part.at_s
            yield _piece_event(part, n, len(tokens), is_chat=is_chat)
            continue
        n = n or part.counts.get("predicted", 0)
        first_s = first_s if first_s is not None else begun
        timings: dict[str, Any] = {
            "cache_n": 0,
            "prompt_n": len(tokens),
            "prompt_ms": 1000 * (first_s - begun),
            "predicted_n": n,
            "predicted_ms": 1000 * (last_s - first_s),
        }
        if part.counts.get("drafted"):
            timings |= {"draft_n": part.counts["drafted"], "draft_n_accepted": part.counts["accepted"]}
        yield _last_event(part, timings, len(tokens), is_chat=is_chat)


def _piece_event(piece: Piece, n: int, prompt_n: int, *, is_chat: bool) -> dict[str, Any]:
    if is_chat:
        choice = {"index": 0, "delta": {"content": piece.text}, "finish_reason": None}
        return {"choices": [choice], "timings": {"predicted_n": n, "prompt_n": prompt_n}}
    return {"content": piece.text, "tokens": piece.tokens, "tokens_predicted": n, "stop": False}


def _last_event(outcome: Outcome, timings: dict[str, Any], prompt_n: int, *, is_chat: bool) -> dict[str, Any]:
    if is_chat:
        reason = "length" if outcome.stop == "limit" else "stop"
        return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "timings": timings}
    return {
        "content": "",
        "tokens": [],
        "stop": True,
        "stop_type": outcome.stop,
        "truncated": False,
        "tokens_predicted": timings["predicted_n"],
        "tokens_evaluated": prompt_n,
        "timings": timings,
    }


def _prompt_of(library: Any, asked: dict[str, Any], *, is_chat: bool) -> list[int]:
    """Return the prompt's tokens; messages go through the model's own template."""
    if not is_chat:
        return list(library.tokenize(asked["prompt"].encode(), add_bos=True, special=True))
    ends = {"eos_token": library.token_eos(), "bos_token": library.token_bos()}
    written = {name: library.detokenize([token], special=True).decode() for name, token in ends.items()}
    template = library.metadata["tokenizer.chat_template"]
    formatter = llama_chat_format.Jinja2ChatFormatter(template=template, **written)
    more = {name: asked[name] for name in ("tools",) if name in asked}
    prompt = formatter(messages=asked["messages"], **more, **asked.get("chat_template_kwargs", {})).prompt
    return list(library.tokenize(prompt.encode(), add_bos=False, special=True))


def _whole(held: bytes) -> tuple[str, bytes]:
    """Return the characters that are complete, and the bytes of the one that is not."""
    for cut in range(min(len(held), 4)):
        try:
            return held[: len(held) - cut].decode(), held[len(held) - cut :]
        except UnicodeDecodeError:
            continue
    return held.decode(errors="replace"), b""


def serve(arm: Plain | Example, order: dict[str, Any]) -> None:
    """Listen, report where, and answer until this process is ended."""
    facts = {
        "model_path": order["llama"]["model_path"],
        "build_info": f"llama-cpp-python {llama_cpp.__version__}",
        "total_slots": 1,
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_for(arm, facts))
    server.daemon_threads = True
    report = {
        "address": f"http://127.0.0.1:{server.server_address[1]}",
        "path": arm.path,
        "library": llama_cpp.__version__,
    }
    target = Path(order["report"])
    part = target.with_suffix(".part")
    part.write_text(json.dumps(report), encoding="utf-8")
    os.replace(part, target)  # noqa: PTH105  # the reader never sees half of it
    server.serve_forever()


def main() -> None:
    """Serve the arm that the order names."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if order["example"] is None:
        serve(Plain(order), order)
        return
    place = importlib.util.spec_from_file_location("example_server", order["example"])
    if place is None or place.loader is None:
        sys.exit(f"{order['example']} is no Python file")
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module  # its dataclasses look themselves up there
    place.loader.exec_module(module)
    arm = Example(order)

    def run(*_: Any, **__: Any) -> None:
        arm.take(module)
        serve(arm, order)

    module.uvicorn.run = run
    configuration = Path(order["report"]).with_name("example.json")
    configuration.write_text(json.dumps({"model": order["model"]}), encoding="utf-8")
    sys.argv = [order["example"], "--config-file", str(configuration)]
    module.main()


if __name__ == "__main__":
    main()
