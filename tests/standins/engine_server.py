"""A server that answers like llama.cpp's, one fault at a time: `engine_server.py FAULT PORT [BUILD [MODEL]]`.

It needs no weights: every answer is the same, eight tokens in three steps of which two drafted. The faults
whose names begin with `paced` answer as many tokens as they are asked for, one each PACE_S, and print when an
answer begins with how many are under way then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULT = sys.argv[1]
BUILD, MODEL = (*sys.argv[3:], *("b1-standin", "/models/one.gguf")[len(sys.argv[3:]) :])
TOKENS = (10, 11, 12, 13, 14, 15, 16, 17)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
SLEEPER = [sys.executable, "-c", STUBBORN]

PACE_S = 0.01

answered: list[float] = []
"""When each answer was begun."""
under_way: list[str] = []
"""Prompts that are being answered."""
counting = threading.Lock()


def events() -> list[str]:
    tokens = list(TOKENS)
    timings: dict[str, Any] = {
        "cache_n": 0,
        "prompt_n": 5,
        "predicted_n": len(tokens),
        "predicted_ms": 7.0,
        "draft_n": 9,
        "draft_n_accepted": 4,
    }
    if FAULT == "does-not-draft":
        del timings["draft_n"], timings["draft_n_accepted"]
    if FAULT == "too-few-tokens":
        tokens = tokens[:5]
        timings |= {"predicted_n": 5, "draft_n_accepted": 2}
    if FAULT == "other-clock":
        timings["predicted_ms"] = 7000.0
    if FAULT == "negative-count":
        timings["draft_n_accepted"] = -4
    if FAULT == "accepts-more-than-it-drafts":
        timings["draft_n"] = 3
    lines = [
        json.dumps({"content": "x", "tokens": [token], "stop": False, "tokens_predicted": i + 1})
        for i, token in enumerate(tokens)
    ]
    last = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_evaluated": 5}
    lines.append(json.dumps({**last, "tokens_predicted": len(tokens), "timings": timings}))
    if FAULT == "not-a-number":
        lines[-1] = lines[-1].replace("7.0", "NaN")
    if FAULT == "error-with-200":
        lines[2:] = [json.dumps({"error": {"code": 500, "message": "\x1b[31mno memory"}})]
    if FAULT == "no-last-event":
        del lines[-1]
    return lines


def counters() -> str:
    reset = FAULT == "counters-reset" and len(answered) > 1
    done = 0 if reset or FAULT == "does-not-draft" else len(answered)
    name = "llamacpp:spec_decode_num"
    return (
        f"{name}_drafts_total {3 * done}\n{name}_draft_tokens_total {9 * done}\n"
        f"{name}_accepted_tokens_total {4 * done}\n"
        f'{name}_accepted_tokens_per_pos_total{{position="0"}} {3 * done}\n'
        f'{name}_accepted_tokens_per_pos_total{{position="1"}} {done}\n'
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pages = {
            "/health": '{"status":"ok"}',
            "/props": json.dumps(
                {"build_info": BUILD, "model_path": MODEL, "default_generation_settings": {"n_ctx": 64}}
            ),
            "/slots": '[{"n_ctx":64,"speculative":true}]',
            "/metrics": counters(),
        }
        ready = FAULT != "never-ready"
        self.page(
            200 if ready and self.path in pages else 503, pages.get(self.path, "{}"), "application/json"
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize" or "n_probs" in body:
            self.margin(body)
            return
        if FAULT == "garbage":
            self.page(200, "<html>it works</html>", "text/html")
            return
        if FAULT == "status-500":
            self.page(500, '{"error":{"message":"out of memory"}}', "application/json")
            return
        if FAULT.startswith("paced"):
            self.paced(body["prompt"], body["n_predict"])
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        answered.append(time.monotonic())
        for index, line in enumerate(events()):
            self.wfile.write(f"data: {line}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.001)  # as `predicted_ms` says
            if index == 3:
                misbehave()

    def paced(self, prompt: str, n: int) -> None:
        """Answer at a fixed pace; the prompt `bad` is refused, broken off or not ended, as the fault says."""
        with counting:
            under_way.append(prompt)
            answered.append(time.monotonic())
            say(f"begin {prompt}: {len(under_way)}")
        try:
            self.at_pace(n, FAULT if prompt == "bad" else "paced")
            say(f"end {prompt}")
        except OSError:
            say(f"dropped {prompt}")
        finally:
            with counting:
                under_way.remove(prompt)

    def at_pace(self, n: int, fault: str) -> None:
        if fault == "paced-status-500":
            time.sleep(5 * PACE_S)
            self.page(500, '{"error":{"message":"out of memory"}}', "application/json")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        began = time.monotonic()
        for i in range(n):
            token = {"content": "x", "tokens": [10 + i], "stop": False, "tokens_predicted": i + 1}
            self.event(token)
            time.sleep(PACE_S)
            if fault == "paced-hangs":
                time.sleep(600)
            if fault == "paced-crashes" and i == 5:  # the others are under way
                os.kill(os.getpid(), signal.SIGSEGV)
        timings = {
            "cache_n": 0,
            "predicted_n": n,
            "predicted_ms": (time.monotonic() - began) * 1000,
            "draft_n": 9,
            "draft_n_accepted": 4,
        }
        last = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_evaluated": 5}
        self.event({**last, "tokens_predicted": n, "timings": timings})

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def margin(self, body: dict[str, Any]) -> None:
        """Answer what is asked behind the measured answers: two tokens are nearly as likely."""
        if FAULT == "margin-hangs":
            time.sleep(600)
        if FAULT == "margin-crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if FAULT == "margin-refused":
            self.page(501, '{"error":{"message":"This server does not support it"}}', "application/json")
            return
        answer: dict[str, Any] = {"tokens": [1, 2, 3]}
        if "n_probs" in body:
            told = [{"id": token, "logprob": value} for token, value in ((12, -0.7), (99, -0.9), (5, -8.0))]
            answer = {"completion_probabilities": [{"id": 12, "top_logprobs": told[: body["n_probs"]]}]}
        if FAULT == "margin-empty":
            answer = {"tokens": [1, 2, 3]}
        self.page(200, json.dumps(answer), "application/json")

    def page(self, status: int, text: str, media: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class calls it so
        sys.stderr.write("request\n")


def misbehave() -> None:
    if FAULT == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if FAULT == "hangs":
        time.sleep(600)


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def main() -> None:
    say("standin started")
    if FAULT == "dies-at-start":
        say("\x1b[31mno such tensor: blk.4\x00")
        sys.exit(7)
    if FAULT == "floods":
        line = b"all work and no play makes the log a full log " * 40 + b"\n"
        for _ in range(4000):
            os.write(1, line)
        say("the very end")
    if FAULT in {"ignores-term", "leaves-grandchildren"}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if FAULT == "leaves-grandchildren":
        # Neither a process group nor a parent nor a tag in its environment leads back from it to the engine.
        start = f"subprocess.Popen({SLEEPER!r}, start_new_session=True, env={{}})"
        subprocess.run([sys.executable, "-c", f"import os, subprocess; {start}; os._exit(0)"], check=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()


main()
