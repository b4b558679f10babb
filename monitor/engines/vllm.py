"""vLLM's OpenAI-compatible server.

Settings of a check (`serve`, and `serve_mtp` for the mtp arm):

- `context`: `--max-model-len` (required);
- `flags`: further arguments of the server, as they are;
- `method`: of speculation; `mtp` where it is not given, for without a method older releases take Gemma's
  assistant for a plain draft model. Further keys of `--speculative-config` go into `speculative_config`;
- `environment`: variables for the process.

Under speculation one chunk of a stream carries the tokens of one step, so tokens are counted by their ids and
by `usage`, never by chunks. What was drafted and accepted is read from the counters of the server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.domain import Arm, Check, Prompt
from monitor.engines.base import (
    LENGTH,
    STOP,
    Completion,
    Dialect,
    Event,
    Launch,
    Request,
    Served,
    Setup,
    SpeculationSeries,
    check_completion,
    count,
    flat,
    known_settings,
    merge_sampling,
    refuse,
    refuse_error_bodies,
    table,
    text_settings,
    token_list,
    variables,
    words,
)
from monitor.errors import ConfigurationError

SERVED_NAME = "model-under-test"
SERIES = SpeculationSeries(
    drafts="vllm:spec_decode_num_drafts_total",
    drafted="vllm:spec_decode_num_draft_tokens_total",
    accepted="vllm:spec_decode_num_accepted_tokens_total",
    accepted_per_position="vllm:spec_decode_num_accepted_tokens_per_pos_total",
)
"""The same names from 0.11 to 0.33; absent while speculation is off."""

_SETTINGS = {"context", "flags", "method", "speculative_config", "environment"}
_FINISH_REASONS = {"length": LENGTH, "stop": STOP, "tool_calls": STOP}


class VllmEngine:
    """The engine `vllm`."""

    name = "vllm"

    def launch(self, setup: Setup, /) -> Launch:
        """Return the command line. The server is run as a module: not every packaging has the script."""
        settings = known_settings(setup, _SETTINGS)
        if "context" not in settings:
            raise ConfigurationError(
                f"The check {setup.check.id} lacks `serve.context`.",
                advice="without it vLLM takes the model's longest context, which may not fit",
            )
        argv = [str(setup.python), "-u", "-m", "vllm.entrypoints.openai.api_server"]
        argv += ["--model", str(setup.model), "--served-model-name", SERVED_NAME]
        argv += ["--host", "127.0.0.1", "--port", str(setup.port)]
        argv += ["--max-model-len", str(settings["context"]), *text_settings(settings, "flags")]
        if setup.arm is Arm.MTP:
            speculative: dict[str, Any] = {
                "method": settings.get("method", "mtp"),
                "num_speculative_tokens": setup.check.draft_length,
                **dict(settings.get("speculative_config", {})),
            }
            if setup.draft_model is not None:
                speculative["model"] = str(setup.draft_model)
            argv += ["--speculative-config", json.dumps(speculative, sort_keys=True)]
        return Launch(argv=tuple(argv), environment=variables(settings), path=(setup.python.parent,))

    def address(self, setup: Setup, /) -> str | None:
        """Return the address it was told to listen at."""
        return f"http://127.0.0.1:{setup.port}"

    def dialect(self, _check: Check, /) -> Dialect:
        """Return vLLM's protocol, with the name the model is served by."""
        return VllmHttp(SERVED_NAME)

    def facts(self, _setup: Setup, /) -> dict[str, Any]:
        """Return nothing: what was started stands in the check."""
        return {}


class VllmHttp:
    """The OpenAI-compatible protocol with vLLM's additions."""

    metrics_path = "/metrics"
    ready_path = "/health"
    fact_paths: tuple[str, ...] = ("/version", "/v1/models")
    series = SERIES

    def __init__(self, model: str) -> None:
        self._model = model

    def request(self, prompt: Prompt, check: Check) -> Request:
        """Return the request: a text goes to completions as it is, messages through the chat template."""
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": prompt.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if prompt.text is not None:
            return Request("/v1/completions", merge_sampling({**body, "prompt": prompt.text}, check))
        body["messages"] = list(prompt.messages)
        if prompt.tools:
            body["tools"] = list(prompt.tools)
        return Request("/v1/chat/completions", merge_sampling(body, check))

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        """Return what the streamed answer says."""
        refuse_error_bodies(events)
        stream = _Stream()
        for event in events:
            stream.take(event)
        return check_completion(stream.completion(), prompt, check)

    def effective(self, documents: Mapping[str, Any]) -> dict[str, Any]:
        """Return the version the server reports, and what it serves."""
        model = self._model_card(documents)
        # Its `created` is the moment of the start: no fact of the server.
        told = {f"model.{key}": model.get(key) for key in ("id", "root", "max_model_len") if key in model}
        return flat("", documents.get("/version", {})) | flat("", told)

    def served(self, documents: Mapping[str, Any]) -> Served:
        """Return the version from /version and the model from /v1/models."""
        version, model = documents.get("/version"), self._model_card(documents)
        names = dict.fromkeys(words(model.get(key)) for key in ("id", "root"))
        return Served(
            version=words(version.get("version")) if isinstance(version, dict) else None,
            model=" at ".join(name for name in names if name) or None,
        )

    def _model_card(self, documents: Mapping[str, Any]) -> dict[str, Any]:
        """Return what /v1/models says of the model that is asked, which may have adapters beside it."""
        listed = documents.get("/v1/models")
        cards = listed.get("data") if isinstance(listed, dict) else None
        found = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        return next((card for card in found if card.get("id") == self._model), {})


class _Stream:
    """One streamed answer, chunk by chunk."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._n_first = 0
        self._stop = ""
        self._tokens: list[int] = []
        self._usage: dict[str, Any] | None = None

    def take(self, event: Event) -> None:
        """Take the next chunk."""
        if event.data.get("usage") is not None:
            self._usage = table(event.data["usage"], "usage")
        choices = event.data.get("choices")
        if not isinstance(choices, list):
            raise refuse("a chunk has no `choices`")
        for item in choices:
            choice = table(item, "choice")
            carried = token_list(choice.get("token_ids") or [])
            if carried and self._first is None:
                self._first, self._n_first = event, len(carried)
            self._tokens += carried
            if (reason := choice.get("finish_reason")) is not None:
                if reason not in _FINISH_REASONS:
                    raise refuse(f"`finish_reason` is {reason!a}")
                self._stop, self._last = _FINISH_REASONS[reason], event

    def completion(self) -> Completion:
        """Return what all chunks say together."""
        if self._first is None:
            raise refuse("the stream holds no token ids")
        if self._last is None:
            raise refuse("the stream has no finish reason")
        if self._usage is None:
            raise refuse("the stream has no `usage`")
        n = count(self._usage, "completion_tokens")
        if len(self._tokens) != n:
            raise refuse(f"{len(self._tokens)} token ids, but {n} tokens by its own count")
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return Completion(
            n=n,
            n_first=self._n_first,
            first_s=self._first.at_s,
            last_s=self._last.at_s,
            stop=self._stop,
            prompt_tokens=count(self._usage, "prompt_tokens"),
            cached_tokens=count({"cached_tokens": cached}, "cached_tokens") if cached is not None else None,
            token_ids=tuple(self._tokens),
        )
