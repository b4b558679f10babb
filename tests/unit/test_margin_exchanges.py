"""What each family of engines is asked for a margin, and what its answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.domain import Divergence, Prompt
from monitor.engines import engine_for
from monitor.engines.base import Request
from monitor.engines.llama_http import LLAMA
from monitor.engines.margins import TOP, Exchange, TellsMargins, Told
from monitor.engines.vllm_http import VllmHttp
from monitor.errors import EngineReplyError
from standins.engine import standin_check

TEXT = Prompt("p", "code", 64, text="if")
CHAT = Prompt("p", "chat", 64, messages=({"role": "user", "content": "hi"},), tools=({"type": "function"},))
PLACE = Divergence(0, "code", "p", 0, common=(7, 8), expected=9, found=10)
CHECK = standin_check(sampling={"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}})
VLLM = VllmHttp("m")


def exchanged(exchange: Exchange, *answers: Any) -> tuple[list[Request], Told]:
    """Answer each request in turn; return what was asked and the end."""
    asked = [next(exchange), *(exchange.send(answer) for answer in answers[:-1])]
    with pytest.raises(StopIteration) as end:
        exchange.send(answers[-1])
    return asked, end.value.value


def llama(*likely: tuple[int, float]) -> dict[str, Any]:
    entries = [{"id": token, "token": "x", "bytes": [120], "logprob": value} for token, value in likely]
    return {"content": "x", "completion_probabilities": [{"id": 9, "top_logprobs": entries}]}


def vllm(*likely: tuple[int, float]) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"top_logprobs": [{f"token_id:{t}": value for t, value in likely}]}}]}


TWO = llama((9, -0.2), (10, -1.7))


# --- llama.cpp -----------------------------------------------------------------------------------


def test_llama_cpp_makes_tokens_of_a_text_and_is_forced_along_the_common_beginning() -> None:
    asked, told = exchanged(LLAMA.margin(PLACE, TEXT, CHECK), {"tokens": [1, 2]}, TWO)

    assert [request.path for request in asked] == ["/tokenize", "/completion"]
    assert asked[0].body == {"content": "if", "add_special": True, "parse_special": True}
    assert asked[1].body["prompt"] == [1, 2, 7, 8]
    assert (asked[1].body["n_predict"], asked[1].body["n_probs"]) == (1, TOP)
    assert told == Told(pytest.approx(1.5), at_least=False)


def test_llama_cpp_renders_the_chat_itself_from_the_request_that_was_measured() -> None:
    asked, _ = exchanged(LLAMA.margin(PLACE, CHAT, CHECK), {"prompt": "<user>hi"}, {"tokens": [1]}, TWO)

    assert [request.path for request in asked] == ["/apply-template", "/tokenize", "/completion"]
    measured = LLAMA.request(CHAT, CHECK).body
    unasked = ("stream", "timings_per_token")
    assert asked[0].body == {key: measured[key] for key in measured if key not in unasked}
    assert asked[0].body["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked[1].body["content"] == "<user>hi"


def test_the_example_server_of_llama_cpp_python_is_not_asked() -> None:
    assert not isinstance(engine_for("llama-cpp-python").dialect(CHECK), TellsMargins)
    for name in ("llama-server", "xllamacpp", "vllm"):
        assert isinstance(engine_for(name).dialect(CHECK), TellsMargins)


# --- vLLM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (TEXT, {"choices": [{"prompt_token_ids": [1, 2]}]}),
        (CHAT, {"prompt_token_ids": [1, 2], "choices": [{"message": {}}]}),
    ],
    ids=["text", "chat"],
)
def test_vllm_tells_the_tokens_of_the_measured_prompt(prompt: Prompt, answer: dict[str, Any]) -> None:
    asked, told = exchanged(VLLM.margin(PLACE, prompt, CHECK), answer, vllm((10, -0.1), (9, -2.1)))

    measured = VLLM.request(prompt, CHECK)
    assert asked[0].path == measured.path
    unchanged = measured.body.keys() - {"stream", "stream_options", "max_tokens"}
    assert {key: asked[0].body[key] for key in unchanged} == {key: measured.body[key] for key in unchanged}
    assert asked[0].body.keys() == unchanged | {"max_tokens"}
    assert asked[1].path == "/v1/completions"
    assert (asked[1].body["prompt"], asked[1].body["max_tokens"]) == ([1, 2, 7, 8], 1)
    assert (asked[1].body["logprobs"], asked[1].body["return_tokens_as_token_ids"]) == (TOP, True)
    assert told == Told(pytest.approx(-2.0), at_least=False)


# --- what is not among the most likely -----------------------------------------------------------


@pytest.mark.parametrize(
    ("likely", "nats"),
    [
        (((9, -0.1), (3, -4.0)), 3.9),  # the found one is no likelier than the last
        (((10, -0.1), (3, -4.0)), -3.9),
        (((3, -0.1), (4, -4.0)), 0.0),
        (((9, -0.1), (3, -3.4e38)), 9998.9),
    ],
)
def test_a_token_that_is_not_told_makes_the_margin_at_least_what_the_last_one_says(
    likely: tuple[tuple[int, float], ...], nats: float
) -> None:
    _, told = exchanged(LLAMA.margin(PLACE, TEXT, CHECK), {"tokens": [1]}, llama(*likely))

    assert told == Told(pytest.approx(nats), at_least=True)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"completion_probabilities": []},
        {"completion_probabilities": [{"id": 9}]},
        {"completion_probabilities": [{"top_logprobs": []}]},
        {"completion_probabilities": [{"top_logprobs": [{"id": -1, "logprob": -0.5}]}]},
        llama((9, 0.7)),
        {"completion_probabilities": [{"top_logprobs": [{"id": 9, "logprob": "-0.5"}]}]},
        {"completion_probabilities": [{"top_logprobs": [{"id": 9, "logprob": None}]}]},
    ],
)
def test_an_answer_of_llama_cpp_that_tells_nothing_sound_is_refused(answer: dict[str, Any]) -> None:
    exchange = LLAMA.margin(PLACE, TEXT, CHECK)
    next(exchange)
    exchange.send({"tokens": [1]})
    with pytest.raises(EngineReplyError):
        exchange.send(answer)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": []},
        {"choices": [{"logprobs": None}]},
        {"choices": [{"logprobs": {"top_logprobs": [None]}}]},
        {"choices": [{"logprobs": {"top_logprobs": [{" the": -0.5}]}}]},
    ],
)
def test_an_answer_of_vllm_that_tells_nothing_sound_is_refused(answer: dict[str, Any]) -> None:
    exchange = VLLM.margin(PLACE, TEXT, CHECK)
    next(exchange)
    exchange.send({"choices": [{"prompt_token_ids": [1]}]})
    with pytest.raises(EngineReplyError):
        exchange.send(answer)


def test_a_prompt_whose_tokens_are_not_told_is_refused() -> None:
    exchange = VLLM.margin(PLACE, TEXT, CHECK)
    next(exchange)
    with pytest.raises(EngineReplyError, match="token ids"):
        exchange.send({"choices": [{}]})
