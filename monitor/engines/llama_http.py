"""How llama.cpp's HTTP server is asked and what its answers mean, whoever packages it.

Read from its `tools/server/README.md` and measured on builds b9294 to b11549. A stream has one event a token,
also under speculation, where the events of one step come together. An event whose text ends inside a UTF-8
character is held back, so token ids can be missing from the stream; `tokens_predicted` counts them still.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.domain import Check, Divergence, Prompt
from monitor.engines.answers import (
    amount,
    check_completion,
    count,
    flat,
    refuse,
    refuse_error_bodies,
    table,
    text_sha256,
    token_list,
    words,
)
from monitor.engines.base import LENGTH, STOP, Completion, Event, Request, Served, SpeculationSeries
from monitor.engines.check_settings import merge_sampling
from monitor.engines.margins import TOP, Exchange, following, log_probability, tell

SERIES = SpeculationSeries(
    drafts="llamacpp:spec_decode_num_drafts_total",
    drafted="llamacpp:spec_decode_num_draft_tokens_total",
    accepted="llamacpp:spec_decode_num_accepted_tokens_total",
    accepted_per_position="llamacpp:spec_decode_num_accepted_tokens_per_pos_total",
)
"""Since b10566."""

_NO_BUILD = re.compile(r"b?0\b")
_STOP_TYPES = {"limit": LENGTH, "eos": STOP, "word": STOP}
_FINISH_REASONS = {"length": LENGTH, "stop": STOP, "tool_calls": STOP}


class LlamaHttp:
    """llama.cpp's own protocol."""

    metrics_path = "/metrics"
    ready_path = "/health"
    fact_paths: tuple[str, ...] = ("/props", "/slots")
    series = SERIES

    def request(self, prompt: Prompt, check: Check) -> Request:
        """Return the request: a text goes to /completion as it is, messages through the chat template."""
        if prompt.text is not None:
            body: dict[str, Any] = {
                "prompt": prompt.text,
                "n_predict": prompt.max_tokens,
                "stream": True,
                "return_tokens": True,
                "cache_prompt": False,
            }
            return Request("/completion", merge_sampling(body, check))
        body = {
            "messages": list(prompt.messages),
            "max_tokens": prompt.max_tokens,
            "stream": True,
            # The only way to learn how many tokens a chunk of a chat carries.
            "timings_per_token": True,
            "cache_prompt": False,
        }
        if prompt.tools:
            body["tools"] = list(prompt.tools)
        return Request("/v1/chat/completions", merge_sampling(body, check))

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        """Return what the streamed answer to `request(prompt, check)` says."""
        refuse_error_bodies(events)
        completion = _read_raw(events) if prompt.text is not None else _read_chat(events)
        return check_completion(completion, prompt, check)

    def effective(self, documents: Mapping[str, Any]) -> dict[str, Any]:
        """Return flat facts from /props and /slots.

        /props can say `speculative.types: none` while MTP drafts (measured), so that is kept as what it is, a
        statement; what counts is how much was drafted.
        """
        facts: dict[str, Any] = {}
        props = documents.get("/props")
        if isinstance(props, dict):
            settings = props.get("default_generation_settings")
            if isinstance(settings, dict):
                facts["n_ctx"] = settings.get("n_ctx")
                params = settings.get("params")
                if isinstance(params, dict):
                    said = {key: params[key] for key in params if str(key).startswith("speculative")}
                    facts |= said
            facts |= {
                key: props.get(key) for key in ("build_info", "total_slots", "model_path", "model_alias")
            }
        slots = documents.get("/slots")
        if isinstance(slots, list) and slots and isinstance(slots[0], dict):
            facts |= {"slots": len(slots), "slot.n_ctx": slots[0].get("n_ctx")}
            facts["slot.speculative"] = slots[0].get("speculative")
        return flat("", {key: value for key, value in facts.items() if value is not None})

    def served(self, documents: Mapping[str, Any]) -> Served:
        """Return build and model from /props; `b0` is a build made without its number, which says nothing."""
        props = documents.get("/props")
        props = props if isinstance(props, dict) else {}
        build = words(props.get("build_info"))
        names = dict.fromkeys(words(props.get(key)) for key in ("model_alias", "model_path"))
        return Served(
            version=None if build is None or _NO_BUILD.match(build) else build,
            model=" at ".join(name for name in names if name) or None,
        )


class LlamaServerHttp(LlamaHttp):
    """The protocol of llama.cpp's own server, which tells margins as well."""

    def margin(self, divergence: Divergence, prompt: Prompt, check: Check) -> Exchange:
        """Ask for the most likely tokens behind the common beginning.

        The prompt becomes tokens as in measuring: the server renders the chat template (from the request that
        was measured) and makes tokens of it with the special ones.
        """
        text = prompt.text
        if text is None:
            rendered = yield Request("/apply-template", _at_once(self.request(prompt, check)))
            text = _text(table(rendered, "answer"), "prompt")
        made = yield Request("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        tokens = following(token_list(table(made, "answer").get("tokens")), divergence)
        # The probabilities are those of the logits, whatever the sampling.
        body = {"prompt": tokens, "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": False}
        answered = yield Request("/completion", {**body, "stream": False})
        places = table(answered, "answer").get("completion_probabilities")
        if not isinstance(places, list) or len(places) != 1:
            raise refuse("it tells no probabilities of its token")
        return tell(divergence.expected, divergence.found, _likely(table(places[0], "probabilities")))


LLAMA = LlamaServerHttp()


def _at_once(request: Request) -> dict[str, Any]:
    return {key: value for key, value in request.body.items() if key not in ("stream", "timings_per_token")}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise refuse(f"`{key}` should be a text")
    return value


def _likely(place: Mapping[str, Any]) -> dict[int, float]:
    entries = place.get("top_logprobs")
    if not isinstance(entries, list):
        raise refuse("it tells no log probabilities")
    told = [table(entry, "token") for entry in entries]
    return {count(entry, "id"): log_probability(entry.get("logprob")) for entry in told}


def _read_raw(events: Sequence[Event]) -> Completion:
    first: Event | None = None
    tokens: list[int] = []
    for event in events:
        carried = token_list(event.data.get("tokens", []))
        if first is None and (carried or event.data.get("content")):
            first = event
        tokens += carried
    last = next((event for event in events if event.data.get("stop") is True), None)
    if first is None or last is None:
        raise refuse("the stream holds no token" if first is None else "the stream has no last event")
    n = count(table(last.data.get("timings"), "timings"), "predicted_n")
    whole = len(tokens) == n
    texts = [str(event.data.get("content", "")) for event in events]
    stop_type = last.data.get("stop_type")
    if stop_type not in _STOP_TYPES:
        raise refuse(f"`stop_type` is {stop_type!a}")
    if last.data.get("truncated") is True:
        raise refuse("the context was too short and parts of it were thrown away")
    return _completion(
        first,
        last,
        # A last event that is also the first one counts all tokens.
        n_first=count(first.data, "tokens_predicted", default=len(token_list(first.data.get("tokens", [])))),
        stop=_STOP_TYPES[stop_type],
        prompt_tokens=count(last.data, "tokens_evaluated"),
        token_ids=tuple(tokens) if whole else None,
        tokens_sha256=None if whole else text_sha256(texts),
        text="".join(texts),
    )


def _read_chat(events: Sequence[Event]) -> Completion:
    first = last = None
    stop = ""
    texts: list[str] = []
    said: list[str] = []
    for event in events:
        choices = event.data.get("choices")
        if not isinstance(choices, list):
            raise refuse("a chunk of the chat has no `choices`")
        for choice in choices:
            delta = table(table(choice, "choice").get("delta") or {}, "delta")
            carried = [
                str(delta[key]) for key in ("reasoning_content", "content", "tool_calls") if delta.get(key)
            ]
            texts += carried
            said.append(str(delta.get("content") or ""))
            if carried and first is None:
                first = event
            if (reason := table(choice, "choice").get("finish_reason")) is not None:
                if reason not in _FINISH_REASONS:
                    raise refuse(f"`finish_reason` is {reason!a}")
                stop, last = _FINISH_REASONS[reason], event
    if first is None or last is None:
        raise refuse("the chat holds no text" if first is None else "the chat has no finish reason")
    timings = table(last.data.get("timings"), "timings")
    return _completion(
        first,
        last,
        n_first=count(table(first.data.get("timings"), "timings"), "predicted_n"),
        stop=stop,
        prompt_tokens=count(timings, "prompt_n") + count(timings, "cache_n", default=0),
        token_ids=None,
        tokens_sha256=text_sha256(texts),
        text="".join(said),
    )


def _completion(
    first: Event,
    last: Event,
    *,
    n_first: int,
    stop: str,
    prompt_tokens: int,
    token_ids: tuple[int, ...] | None,
    tokens_sha256: str | None,
    text: str,
) -> Completion:
    timings = table(last.data.get("timings"), "timings")
    n = count(timings, "predicted_n")
    predicted_ms = amount(timings, "predicted_ms")
    if predicted_ms == 0 and n > 1:
        raise refuse(f"{n} tokens in no time at all")
    return Completion(
        n=n,
        n_first=n_first,
        first_s=first.at_s,
        last_s=last.at_s,
        stop=stop,
        prompt_tokens=prompt_tokens,
        cached_tokens=count(timings, "cache_n", default=0),
        # Both keys are there only when something was drafted.
        drafted=count(timings, "draft_n", default=0),
        accepted=count(timings, "draft_n_accepted", default=0),
        # `predicted_per_second` was n / ms before b10566 and is (n − 1) / ms since: one formula for all.
        server_decode_tps=(n - 1) * 1000 / predicted_ms if n > 1 else None,
        token_ids=token_ids,
        tokens_sha256=tokens_sha256,
        text=text,
    )
