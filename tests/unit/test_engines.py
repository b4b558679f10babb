from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.domain import Arm, Check, Prompt
from monitor.engines import engine_for
from monitor.engines.base import Event, Setup
from monitor.engines.llama_http import LLAMA
from monitor.engines.vllm_http import VllmHttp
from monitor.errors import ConfigurationError, EngineReplyError
from standins.engine import environment_of, standin_check

PYTHON = Path("/environments/one/bin/python")
TEXT = Prompt("p", "code", 6, text="if")
CHAT = Prompt("p", "chat", 6, messages=({"role": "user", "content": "hi"},), tools=({"type": "function"},))


def setup(check: Check, arm: Arm, folder: Path = Path("/scratch"), draft: Path | None = None) -> Setup:
    return Setup(check, arm, environment_of(PYTHON), Path("/models/one.gguf"), draft, folder, 4711)


def events(*data: dict[str, Any]) -> list[Event]:
    return [Event(float(i), item) for i, item in enumerate(data)]


def launched(engine: str, check: Check, arm: Arm, draft: Path | None = None) -> tuple[str, ...]:
    launch = engine_for(engine).launch(setup(check, arm, draft=draft))
    assert launch is not None
    return launch.argv


# --- xllamacpp -----------------------------------------------------------------------------------


def order(arm: Arm, **changes: Any) -> dict[str, Any]:
    launch = engine_for("xllamacpp").launch(setup(standin_check(**changes), arm))
    assert launch is not None
    parameters = json.loads(launch.files["order.json"])["parameters"]
    return {entry["places"][0]: entry.get("choice", [entry["value"]])[-1] for entry in parameters}


def test_only_the_mtp_arm_of_xllamacpp_is_told_to_speculate() -> None:
    baseline, mtp = order(Arm.BASELINE), order(Arm.MTP, draft_length=5)
    assert not any("speculative" in place for place in baseline)
    assert {place: mtp[place] for place in baseline} == baseline
    assert mtp["speculative.types"] == "COMMON_SPECULATIVE_TYPE_DRAFT_MTP"
    assert mtp["speculative.draft.n_max"] == 5
    assert (mtp["n_parallel"], mtp["cpuparams.n_threads"], mtp["fit_params"]) == (1, 1, False)


def test_each_of_several_streams_has_the_context_the_check_asks_for() -> None:
    assert (order(Arm.MTP, concurrency=4)["n_ctx"], order(Arm.MTP)["n_ctx"]) == (256, 64)


def test_what_would_be_chosen_by_the_machine_has_to_be_given() -> None:
    with pytest.raises(ConfigurationError, match=r"serve\.threads"):
        order(Arm.MTP, serve={"context": 64})


@pytest.mark.parametrize(
    "report", ['{"address": "http://10.0.0.1:80"}', '{"address": "http://127.0.0.1:x"}', "[]", "{"]
)
def test_a_launcher_that_reports_nonsense_is_not_followed(tmp_path: Path, report: str) -> None:
    where = setup(standin_check(), Arm.MTP, tmp_path)
    assert engine_for("xllamacpp").address(where) is None
    (tmp_path / "report.json").write_text(report)
    with pytest.raises(EngineReplyError):
        engine_for("xllamacpp").address(where)


# --- llama.cpp's protocol ------------------------------------------------------------------------


def raw(**changes: Any) -> list[Event]:
    timings = {"cache_n": 0, "prompt_n": 2, "predicted_n": 6, "predicted_ms": 50.0}
    last = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_evaluated": 2}
    chunks = [{"content": c, "tokens": [t], "tokens_predicted": t} for t, c in enumerate("abcdef", start=1)]
    return events(*chunks, {**last, "timings": timings, **changes})


def test_a_text_is_asked_as_it_is_and_messages_as_a_chat_with_the_sampling_of_the_check() -> None:
    check = standin_check(sampling={"temperature": 0, "cache_prompt": True})
    text, chat = LLAMA.request(TEXT, check), LLAMA.request(CHAT, check)
    assert (text.path, text.body["prompt"], text.body["n_predict"]) == ("/completion", "if", 6)
    assert (chat.path, chat.body["max_tokens"]) == ("/v1/chat/completions", 6)
    assert chat.body["tools"] == list(CHAT.tools)
    assert text.body["cache_prompt"] is True
    assert LLAMA.request(TEXT, standin_check()).body["cache_prompt"] is False


def test_the_rate_of_a_llama_server_is_by_one_formula_whatever_it_says_itself() -> None:
    found = LLAMA.read(raw(), TEXT, standin_check())
    assert (found.n, found.n_first, found.first_s, found.last_s) == (6, 1, 0.0, 6.0)
    assert found.server_decode_tps == pytest.approx(100.0)
    assert (found.drafted, found.accepted, found.token_ids) == (0, 0, (1, 2, 3, 4, 5, 6))


def test_tokens_held_back_inside_a_character_are_counted_and_the_text_stands_for_the_ids() -> None:
    whole = raw()
    del whole[0]  # the first token ended inside a character: it came with the second
    found = LLAMA.read(whole, TEXT, standin_check())
    assert (found.n, found.n_first, found.token_ids) == (6, 2, None)
    assert found.tokens_sha256 is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stop_type": "none"}, "stop_type"),
        ({"truncated": True}, "too short"),
        ({"timings": None}, "timings"),
        ({"stop_type": "eos", "timings": {"predicted_n": 5, "predicted_ms": 9.0}}, "end of text ignored"),
        ({"timings": {"predicted_n": 6, "predicted_ms": -1}}, "not negative"),
        ({"timings": {"predicted_n": 7, "predicted_ms": 9.0}}, "at most 6"),
        ({"timings": {"predicted_n": True, "predicted_ms": 9.0}}, "should be a count"),
    ],
)
def test_an_unsound_last_event_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(EngineReplyError, match=reason):
        LLAMA.read(raw(**changes), TEXT, standin_check())


def test_a_model_that_ends_its_text_early_stops_unless_it_was_told_not_to() -> None:
    timings = {"predicted_n": 5, "predicted_ms": 9.0}
    check = standin_check(sampling={})
    assert LLAMA.read(raw(stop_type="eos", timings=timings), TEXT, check).stop == "stop"


def test_facts_of_a_llama_server_are_flat_and_bounded_whatever_it_sends() -> None:
    props = {"build_info": "b" * 9000, "default_generation_settings": {"n_ctx": 64, "params": 3}}
    facts = LLAMA.effective({"/props": props, "/slots": ["?"]})
    assert facts == {"n_ctx": 64, "build_info": "b" * 500}


# --- vLLM ----------------------------------------------------------------------------------------


def vllm_answer() -> list[Event]:
    def chunk(tokens: list[int] | None, reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"delta": {}, "token_ids": tokens, "finish_reason": reason}], "usage": None}

    usage = {"prompt_tokens": 9, "completion_tokens": 6}
    return events(
        chunk(None), chunk([1]), chunk([2, 3, 4]), chunk([5, 6], "length"), {"choices": [], "usage": usage}
    )


def test_vllm_is_given_its_speculation_as_one_json_value() -> None:
    check = standin_check(serve={"context": 128}, serve_mtp={"method": "mtp"}, draft_length=4)
    assert "--speculative-config" not in launched("vllm", check, Arm.BASELINE)
    argv = launched("vllm", check, Arm.MTP, Path("/models/assistant"))
    config = json.loads(argv[argv.index("--speculative-config") + 1])
    assert config == {"method": "mtp", "model": "/models/assistant", "num_speculative_tokens": 4}
    assert argv[argv.index("--port") + 1] == "4711"


def test_tokens_of_vllm_are_counted_by_ids_and_the_last_chunk_is_the_one_with_the_reason() -> None:
    found = VllmHttp("m").read(vllm_answer(), TEXT, standin_check())
    assert (found.n, found.n_first, found.first_s, found.last_s, found.stop) == (6, 1, 1.0, 3.0, "length")
    assert (found.prompt_tokens, found.token_ids) == (9, (1, 2, 3, 4, 5, 6))
    assert (found.drafted, found.accepted) == (None, None)


def test_an_answer_of_vllm_whose_ids_and_count_differ_is_refused() -> None:
    answer = vllm_answer()
    del answer[2]
    with pytest.raises(EngineReplyError, match="3 token ids, but 6 tokens"):
        VllmHttp("m").read(answer, TEXT, standin_check())


# --- endpoints -----------------------------------------------------------------------------------


def test_an_endpoint_is_asked_where_the_check_says_and_nothing_is_started() -> None:
    urls = {"baseline_url": "http://127.0.0.1:1/", "mtp_url": "http://127.0.0.1:2"}
    check = standin_check(serve={**urls, "protocol": "vllm", "model": "m"})
    engine = engine_for("endpoint")
    assert engine.launch(setup(check, Arm.MTP)) is None
    assert engine.address(setup(check, Arm.BASELINE)) == "http://127.0.0.1:1"
    assert engine.address(setup(check, Arm.MTP)) == "http://127.0.0.1:2"
    assert engine.dialect(check).request(TEXT, check).body["model"] == "m"


@pytest.mark.parametrize(
    "serve",
    [
        {"protocol": "llama.cpp", "baseline_url": "http://127.0.0.1:1"},
        {"protocol": "llama.cpp", "mtp_url": "file:///x", "baseline_url": "http://127.0.0.1:1"},
        {"mtp_url": "http://127.0.0.1:2", "baseline_url": "http://127.0.0.1:1"},
        {"protocol": "vllm", "mtp_url": "http://127.0.0.1:2", "baseline_url": "http://127.0.0.1:1"},
    ],
)
def test_an_endpoint_that_is_not_fully_described_is_refused(serve: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        engine_for("endpoint").launch(setup(standin_check(serve=serve), Arm.MTP))


def test_an_unknown_engine_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'xllamacpp'"):
        engine_for("xlamacpp")
