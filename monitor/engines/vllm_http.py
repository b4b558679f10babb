"""How vLLM's OpenAI-compatible server is asked and what its answers mean.

Under speculation one chunk of a stream carries the tokens of one step, so tokens are counted by their ids
and by `usage`, never by chunks: the "inter-token latency" that vLLM reports counts steps. What was drafted
and accepted is read from the answer itself where the version tells it there, else from the counters of the
server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.domain import Check, Divergence, Prompt
from monitor.engines import vllm_versions
from monitor.engines.answers import (
    amount,
    check_completion,
    count,
    flat,
    refuse,
    refuse_error_bodies,
    table,
    token_list,
    words,
)
from monitor.engines.base import LENGTH, STOP, Completion, Event, Request, Served
from monitor.engines.check_settings import merge_sampling
from monitor.engines.margins import TOP, Exchange, following, log_probability, tell
from monitor.errors import EngineCrashError

_SEARCHED = 1000  # characters of an error
_ID_MARK = "token_id:"
_FINISH_REASONS = {"length": LENGTH, "stop": STOP, "tool_calls": STOP}


class VllmHttp:
    """The OpenAI-compatible protocol with vLLM's additions."""

    metrics_path = "/metrics"
    ready_path = "/health"
    fact_paths: tuple[str, ...] = ("/version", "/v1/models")
    series = vllm_versions.SERIES

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
            # Without a choice vLLM takes "auto", and refuses that where no parser of tool calls is set. The
            # template gets the tools all the same, and a call is counted as the text that it is.
            body |= {"tools": list(prompt.tools), "tool_choice": "none"}
        return Request("/v1/chat/completions", merge_sampling(body, check))

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        """Return what the streamed answer says."""
        _tell_crash(events)
        refuse_error_bodies(events)
        stream = _Stream()
        for event in events:
            stream.take(event)
        return check_completion(stream.completion(), prompt, check)

    def margin(self, divergence: Divergence, prompt: Prompt, check: Check) -> Exchange:
        """Ask for the most likely tokens behind the common beginning.

        The prompt's tokens are those that the server says it made of the request that was measured.
        """
        measured = self.request(prompt, check)
        body = {key: value for key, value in measured.body.items() if key not in ("stream", "stream_options")}
        answered = yield Request(measured.path, {**body, "max_tokens": 1})
        tokens = following(_prompt_tokens(table(answered, "answer")), divergence)
        told = yield Request(
            "/v1/completions",
            {
                "model": self._model,
                "prompt": tokens,
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": TOP,
                "return_tokens_as_token_ids": True,
            },
        )
        return tell(divergence.expected, divergence.found, _likely(table(told, "answer")))

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


def _tell_crash(events: Sequence[Event]) -> None:
    """Raise EngineCrashError where the server says that its core died; it ends itself a little later."""
    for event in events:
        error = event.data.get("error")
        if error is not None and vllm_versions.CORE_DIED.search(str(error)[:_SEARCHED]):
            raise EngineCrashError(
                f"The engine's core died in the middle of its work; the server says {words(str(error))!a}.",
                kept="the complete sessions; nothing of this one",
                advice="see the engine's log",
            )


def _said(choice: dict[str, Any]) -> str:
    """Return the part of the answer in a chunk: a completion has it as `text`, a chat in its `delta`."""
    if "delta" in choice:
        return str(table(choice["delta"] or {}, "delta").get("content") or "")
    return str(choice.get("text") or "")


class _Stream:
    """One streamed answer, chunk by chunk."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._n_first = 0
        self._stop = ""
        self._tokens: list[int] = []
        self._said: list[str] = []
        self._usage: dict[str, Any] | None = None
        self._metrics: dict[str, Any] = {}

    def take(self, event: Event) -> None:
        """Take the next chunk."""
        if event.data.get("usage") is not None:
            self._usage = table(event.data["usage"], "usage")
        if event.data.get("metrics") is not None:
            self._metrics = table(event.data["metrics"], "metrics")
        choices = event.data.get("choices")
        if not isinstance(choices, list):
            raise refuse("a chunk has no `choices`")
        for item in choices:
            choice = table(item, "choice")
            carried = token_list(choice.get("token_ids") or [])
            if carried and self._first is None:
                self._first, self._n_first = event, len(carried)
            self._tokens += carried
            self._said.append(_said(choice))
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
        drafted, accepted = self._speculation()
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
            text="".join(self._said),
            server_decode_tps=self._server_rate(n),
            drafted=drafted,
            accepted=accepted,
        )

    def _server_rate(self, n: int) -> float | None:
        """Return the rate from the first token to the last by the engine's own clock, where it tells it."""
        if self._metrics.get("generation_time_ms") is None or n == self._n_first:
            return None
        passed_ms = amount(self._metrics, "generation_time_ms")
        if passed_ms == 0:
            raise refuse(f"{n} tokens in no time at all")
        return (n - self._n_first) * 1000 / passed_ms

    def _speculation(self) -> tuple[int | None, int | None]:
        """Return how much was drafted and accepted by the answer's own count, None where it has none."""
        if self._metrics.get("speculative_decoding") is None:
            return None, None
        told = table(self._metrics["speculative_decoding"], "speculative_decoding")
        return count(told, "num_draft_tokens"), count(told, "num_accepted_draft_tokens")


def _first_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise refuse("it has no `choices`")
    return table(choices[0], "choice")


def _prompt_tokens(answer: Mapping[str, Any]) -> list[int]:
    """Return the prompt's token ids: a chat has them beside its choices, a completion inside."""
    own = answer.get("prompt_token_ids")
    return token_list(own if own is not None else _first_choice(answer).get("prompt_token_ids"))


def _likely(answer: Mapping[str, Any]) -> dict[int, float]:
    places = table(_first_choice(answer).get("logprobs"), "logprobs").get("top_logprobs")
    if not isinstance(places, list) or len(places) != 1:
        raise refuse("it tells no log probabilities of its token")
    return {
        _token_id(name): log_probability(value) for name, value in table(places[0], "top_logprobs").items()
    }


def _token_id(name: str) -> int:
    number = name.removeprefix(_ID_MARK)
    if not name.startswith(_ID_MARK) or not number.isdecimal():
        raise refuse(f"a token is called {name!a:.40} and not by its id")
    return int(number)
