"""A server that is started, logs, counts and answers like vLLM's, with one fault: STANDIN_FAULT.

No weights are needed: an answer is as long as was asked for, and of three drafted tokens all are accepted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULT = os.environ.get("STANDIN_FAULT", "")
DRAFT = 3
PREFIX = "(APIServer pid=7) INFO 11-24 18:26:51 [model.py:733] "
ERROR = "(Worker pid=9) ERROR 11-24 18:28:52 [core.py:1510]"

counted = {"drafts": 0, "draft_tokens": 0, "accepted_tokens": 0}
asked: set[str] = set()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("api_server.py")
    for name in ("model", "served-model-name", "host", "port", "max-model-len", "speculative-config"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--enable-prompt-tokens-details", action="store_true")
    parser.add_argument("--enable-per-request-metrics", action="store_true")
    parser.add_argument("--enable-prefix-caching", action="store_true")
    parser.add_argument("--per-request-spec-decode-metrics", default="none")
    return parser.parse_args()


def start_up(options: argparse.Namespace) -> None:
    speculative = json.loads(options.speculative_config or "null")
    if options.per_request_spec_decode_metrics != "none" and speculative is None:
        say("ValueError: --per-request-spec-decode-metrics requires speculative decoding to be enabled.")
        sys.exit(1)
    if speculative is not None and (unknown := speculative.keys() - {"method", "num_speculative_tokens"}):
        say("pydantic_core._pydantic_core.ValidationError: 1 validation error for SpeculativeConfig")
        say(min(unknown))
        say("  Unexpected keyword argument [type=unexpected_keyword_argument, input_value=1, input_type=int]")
        say(
            "    For further information visit https://errors.pydantic.dev/2.12/v/unexpected_keyword_argument"
        )
        sys.exit(1)
    if FAULT == "no-head" and speculative is not None:
        say(f"{ERROR} Traceback (most recent call last):")
        missing = "{'model.fc.weight'}"
        say(f"{ERROR} ValueError: Following weights were not initialized from checkpoint: {missing}")
        heard = "WorkerProc initialization failed due to an exception in a background process."
        say(f"{ERROR} Exception: {heard}")
        say("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        sys.exit(1)
    say(f"{PREFIX}Resolved architecture: StandinForCausalLM")
    if speculative is not None and speculative["method"] != "mtp":
        say(f"{PREFIX}method `{speculative['method']}` is deprecated and replaced with mtp.")
    said = (
        f"SpeculativeConfig(method='mtp', model='{options.model}', num_spec_tokens=3)"
        if speculative
        else None
    )
    say(
        f"{PREFIX}Initializing a V1 LLM engine (v0.32.0) with config: speculative_config={said}, "
        "dtype=torch.bfloat16, quantization=None, enforce_eager=True, enable_prefix_caching=False, "
        "'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>"
    )
    if FAULT == "other-runner":  # the other one says nothing of itself
        say(f"{PREFIX}Using V2 Model Runner")
    if FAULT == "fewer-graphs" and speculative is not None:
        say(
            f"{PREFIX}CUDAGraphMode.FULL_AND_PIECEWISE is not supported with spec-decode for attention "
            "backend FlashInferBackend (support: AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE); setting "
            "cudagraph_mode=PIECEWISE"
        )


OPTIONS = arguments()
DRAFTS = OPTIONS.speculative_config is not None and FAULT != "silently-off"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pages = {
            "/health": "",
            "/version": '{"version": "0.32.0"}',
            "/v1/models": json.dumps({"data": [{"id": OPTIONS.served_model_name, "max_model_len": 128}]}),
            "/metrics": counters(),
        }
        text = pages.get(self.path)
        content = (text or "").encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("tools") and body.get("tool_choice", "auto") == "auto":
            self.refuse(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            )
            return
        if not body.get("stream"):
            self.at_once(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in answer(body):
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
            if FAULT == "dies" and asked:
                say(f"{ERROR} EngineDeadError: EngineCore encountered an issue.")
                os.kill(os.getpid(), signal.SIGKILL)
        asked.add(said(body))
        self.wfile.write(b"data: [DONE]\n\n")

    def refuse(self, why: str) -> None:
        error = {"message": why, "type": "BadRequestError", "param": None, "code": 400}
        content = json.dumps({"error": error}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def at_once(self, body: dict[str, Any]) -> None:
        """Answer what is asked for a margin: the prompt's tokens, and then what is likely behind them."""
        choice: dict[str, Any] = {"finish_reason": "length", "token_ids": [1]}
        if isinstance(body["prompt"], str):
            choice["prompt_token_ids"] = [1, 2, 3]
        else:
            told = {"token_id:2": -0.7, "token_id:99": -0.9, "token_id:5": -8.0}
            choice["logprobs"] = {"top_logprobs": [told]}
        content = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def said(body: dict[str, Any]) -> str:
    """Return what is asked: a text, or the messages of a chat."""
    return str(body["prompt"] if "prompt" in body else body["messages"])


def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
    n, step = body["max_tokens"], 1 + (DRAFT if DRAFTS and FAULT != "draft-not-loaded" else 0)
    starts = [0, *range(1, n, step)]
    chunks = [list(range(a, min(b, n))) for a, b in zip(starts, [*starts[1:], n], strict=True)]
    steps = len(chunks) - 1
    told = {"num_draft_tokens": 0, "num_accepted_draft_tokens": 0}
    if DRAFTS:
        told = {"num_draft_tokens": DRAFT * steps, "num_accepted_draft_tokens": n - 1 - steps}
        counted["drafts"] += steps
        counted["draft_tokens"] += told["num_draft_tokens"]
        counted["accepted_tokens"] += told["num_accepted_draft_tokens"]
    again = said(body) in asked and FAULT != "no-prefix-cache"
    cached = 4 if OPTIONS.enable_prefix_caching and again else 0
    events: list[dict[str, Any]] = [
        {"choices": [{"token_ids": tokens, "finish_reason": None if i < steps else "length"}]}
        for i, tokens in enumerate(chunks)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": n, "prompt_tokens_details": {"cached_tokens": cached}}
    last: dict[str, Any] = {"choices": [], "usage": usage}
    if DRAFTS and OPTIONS.per_request_spec_decode_metrics == "detailed" and FAULT != "renamed":
        last["metrics"] = {"speculative_decoding": told}
    return [*events, last]


def counters() -> str:
    if not DRAFTS:
        return "vllm:num_requests_running 0\n"
    name = "vllm:spec_decode_total" if FAULT == "renamed" else "vllm:spec_decode_num"
    return "".join(f'{name}_{key}_total{{engine="0"}} {value}.0\n' for key, value in counted.items())


def main() -> None:
    start_up(OPTIONS)
    ThreadingHTTPServer((OPTIONS.host, int(OPTIONS.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
