from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Judgement, SampleSet, Signature, Verdict
from monitor.judge.verdict import judge

GOOD = Truth(noise=0.005)
LATER = START + timedelta(days=1)


def judged(change: Callable[[SampleSet], SampleSet], **header: Any) -> Judgement:
    return judge(measure(GOOD), change(measure(replace(GOOD, header=header), start=LATER, seed=2)))


def tripped(judgement: Judgement) -> set[str]:
    return {guard.name for guard in judgement.guards if guard.tripped}


def mtp(**changes: Any) -> Callable[[SampleSet], SampleSet]:
    return lambda samples: altered(samples, Arm.MTP, **changes)


def session_facts(samples: SampleSet, **facts: Any) -> SampleSet:
    sessions = tuple(replace(session, effective=facts) for session in samples.sessions)
    return SampleSet(samples.header, sessions, samples.samples)


def unchanged(samples: SampleSet) -> SampleSet:
    return samples


@pytest.mark.parametrize(
    ("name", "change", "header"),
    [
        ("host", unchanged, {"host": "another"}),
        ("host", unchanged, {"hardware_class": "another"}),
        ("model", unchanged, {"model_sha256": "f" * 64}),
        ("sampling", unchanged, {"sampling": {"temperature": 0.7}}),
        ("prompt tokens", mtp(prompt_tokens=21), {}),
        ("prompts", mtp(prompt=lambda s: s.prompt + "x"), {}),
        ("stop reasons", mtp(stop="stop"), {}),
        ("server rates of the candidate", mtp(server_decode_tps=lambda s: s.server_decode_tps * 1.1), {}),
        ("counts of the candidate", mtp(accepted=lambda s: s.drafted + 1), {}),
        ("counts of the candidate", mtp(steps=lambda s: s.steps + 9), {}),
        ("engine counters of the candidate", lambda s: session_facts(s, **{"counter.drafted": 5}), {}),
        ("roofline of the candidate", unchanged, {"roofline_tokens_per_s": 40.0}),
        (
            "usable prompts of the candidate",
            lambda s: altered(mtp(decode_s=None)(s), Arm.BASELINE, decode_s=None),
            {},
        ),
        (
            "sessions of the candidate",
            lambda s: SampleSet(s.header, s.sessions, tuple(x for x in s.samples if x.arm is Arm.BASELINE)),
            {},
        ),
    ],
)
def test_what_cannot_be_compared_or_cannot_be_right_is_invalid(
    name: str, change: Callable[[SampleSet], SampleSet], header: dict[str, Any]
) -> None:
    found = judged(change, **header)

    assert name in tripped(found)
    assert (found.verdict, found.signature) == (Verdict.INVALID, Signature.HARNESS_DRIFT)
    assert name in found.headline


def test_nothing_trips_on_a_good_measurement() -> None:
    assert tripped(judged(unchanged)) == set()


def test_diverged_text_that_stops_elsewhere_on_many_prompts_is_invalid() -> None:
    other = mtp(
        tokens_sha256=lambda s: "x" + s.prompt, stop=lambda s: "stop" if s.prompt[-1] in "01" else "length"
    )

    found = judged(other)

    assert "diverged text (mtp)" in tripped(found)
    assert found.verdict is Verdict.INVALID


def test_diverged_text_that_ends_alike_is_only_reported() -> None:
    found = judged(mtp(tokens_sha256=lambda s: "x" + s.prompt))

    assert tripped(found) == {"diverged text (mtp)"}
    assert found.verdict is not Verdict.INVALID


def test_a_quick_tier_is_compared_with_a_full_one_on_the_prompts_of_both() -> None:
    def quick(samples: SampleSet) -> SampleSet:
        few = tuple(s for s in samples.samples if s.prompt[-1] in "01")
        return SampleSet(samples.header, samples.sessions, few)

    found = judged(quick)

    assert found.verdict is Verdict.UNCHANGED
    assert tripped(found) == {"prompts"}


def test_a_session_that_lacks_prompts_is_left_out_and_said_so() -> None:
    def cut(samples: SampleSet) -> SampleSet:
        kept = tuple(s for s in samples.samples if not (s.session == 0 and s.prompt.endswith("3")))
        return SampleSet(samples.header, samples.sessions, kept)

    found = judged(cut)

    assert "sessions of the candidate" in tripped(found)
    assert found.verdict is Verdict.UNCHANGED


def test_a_changed_configuration_is_told_without_a_verdict() -> None:
    found = judge(
        session_facts(measure(GOOD), flash_attention="on"),
        session_facts(measure(GOOD, start=LATER, seed=2), flash_attention="off"),
    )

    guard = next(g for g in found.guards if g.name == "effective configuration")
    assert guard.tripped
    assert "flash_attention: on → off" in guard.detail
    assert found.verdict is Verdict.UNCHANGED


def configuration(old: dict[str, Any], new: dict[str, Any]) -> str:
    found = judge(
        session_facts(measure(GOOD), **old), session_facts(measure(GOOD, start=LATER, seed=2), **new)
    )
    return next(guard for guard in found.guards if guard.name == "effective configuration").detail


def test_what_only_one_release_says_of_itself_is_a_difference() -> None:
    lost = configuration({"engine": "vllm"}, {"engine": "vllm", "cudagraph_override": "to PIECEWISE"})
    assert lost == "baseline and mtp cudagraph_override: not said → to PIECEWISE"
    assert "sampler: fast → not said" in configuration({"engine": "e", "sampler": "fast"}, {"engine": "e"})
    # Of a server that says nothing at all, nothing is known.
    assert configuration({"counter.drafts": 5}, {"engine": "vllm"}) == "the same"


def test_what_explains_speed_is_told_before_names_and_sizes() -> None:
    names = (
        "architectures",
        "batched_tokens",
        "kv_cache_tokens",
        "cudagraph_mode",
        "model_runner",
        "moe_backend",
    )
    detail = configuration(dict.fromkeys(names, "old"), dict.fromkeys(names, "new") | {"another": 1})
    told = [part.split(": ")[0].removeprefix("baseline and mtp ") for part in detail.split("; ")]
    assert told == ["model_runner", "moe_backend", "cudagraph_mode"]
    assert detail.endswith(" and 4 more")
    few = ("kv_cache_tokens", "architectures")
    detail = configuration(dict.fromkeys(few, "old"), dict.fromkeys(few, "new") | {"another": 1})
    places = [detail.index(name) for name in ("architectures", "another", "kv_cache_tokens")]
    assert places == sorted(places)


def test_of_long_values_the_part_that_differs_is_shown() -> None:
    long = "SpeculativeConfig(method='mtp', model='/a/rather/long/folder/of/models/gemma-4', num_spec_tokens="
    detail = configuration({"speculative_config": f"{long}3)"}, {"speculative_config": f"{long}4)"})
    assert detail.endswith("num_spec_tokens=3) → …4', num_spec_tokens=4)")


# --- a host that does other work -----------------------------------------------------------------


def busy(samples: SampleSet, *numbers: int) -> SampleSet:
    """Return a copy in which other work took half of the host during these sessions."""
    sessions = tuple(
        replace(s, effective={"load.others": 0.5 if s.session in numbers else 0.02}) for s in samples.sessions
    )
    return SampleSet(samples.header, sessions, samples.samples)


def test_times_of_a_busy_host_decide_nothing_and_counts_stay_decided() -> None:
    slow = measure(replace(GOOD, step_time_s=0.05), start=LATER, seed=2)
    worse = measure(replace(GOOD, step_time_s=0.05, accepted_share=0.5), start=LATER, seed=2)
    everywhere = [session.session for session in slow.sessions]

    assert judge(measure(GOOD), slow).verdict is Verdict.REGRESSED
    found = judge(measure(GOOD), busy(slow, *everywhere))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "busy host (candidate)" in tripped(found)
    assert "busy with other work" in found.headline
    found = judge(measure(GOOD), busy(worse, *everywhere))
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.ACCEPTANCE_DROP)


def test_a_session_that_other_work_disturbed_is_left_out_when_quiet_ones_remain() -> None:
    quiet, disturbed = measure(GOOD), busy(measure(GOOD, start=LATER, seed=2), 0, 1)
    slowed = SampleSet(
        disturbed.header,
        disturbed.sessions,
        tuple(
            replace(s, decode_s=9.0, server_decode_tps=None) if s.session < 2 else s
            for s in disturbed.samples
        ),
    )

    found = judge(quiet, slowed)

    assert found.verdict is Verdict.UNCHANGED
    assert "busy host (candidate)" in tripped(found)


def test_a_copy_was_disturbed_as_its_original_was() -> None:
    original = busy(measure(GOOD), *range(8))

    found = judge(
        original,
        altered(original, Arm.BASELINE, decode_s=lambda s: s.decode_s / 1.05, server_decode_tps=None),
    )

    assert found.signature is Signature.BASELINE_FASTER


def test_a_client_that_waits_on_a_busy_host_does_not_make_counts_invalid() -> None:
    everywhere = range(8)
    late = mtp(server_decode_tps=lambda s: s.server_decode_tps * 4)

    found = judge(measure(GOOD), busy(late(measure(GOOD, start=LATER, seed=2)), *everywhere))
    assert "server rates of the candidate" in tripped(found)
    assert found.verdict is Verdict.INCONCLUSIVE

    worse = replace(GOOD, accepted_share=0.5)
    found = judge(measure(GOOD), busy(late(measure(worse, start=LATER, seed=2)), *everywhere))
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.ACCEPTANCE_DROP)


def test_a_speedup_measured_on_a_busy_host_alarms_nobody() -> None:
    few = replace(GOOD, header={"judging": {"min_speedup": 3.0}})

    assert judge(None, measure(few)).verdict is Verdict.REGRESSED
    assert judge(None, busy(measure(few), *range(8))).verdict is Verdict.UNCHANGED


def gpu_facts(samples: SampleSet, numbers: set[int] | None = None, **facts: Any) -> SampleSet:
    sessions = tuple(
        replace(session, gpu=facts) if numbers is None or session.session in numbers else session
        for session in samples.sessions
    )
    return SampleSet(samples.header, sessions, samples.samples)


DISTURBED = {"contaminated": 2, "contaminated_by": ["hardware thermal slowdown"]}


def test_a_session_on_a_slowed_down_gpu_is_left_out_where_others_are_not() -> None:
    found = judged(lambda s: gpu_facts(s, {0}, **DISTURBED))
    (guard,) = [guard for guard in found.guards if guard.name == "busy host (candidate)"]
    assert guard.outcome is None
    assert "session 0" in guard.detail
    assert "hardware thermal slowdown" in guard.detail
    assert found.verdict is Verdict.UNCHANGED


def test_when_every_session_was_slowed_down_the_times_decide_nothing() -> None:
    slow = mtp(decode_s=lambda s: s.decode_s * 2, server_decode_tps=lambda s: s.server_decode_tps / 2)
    assert judged(slow).verdict is Verdict.REGRESSED
    found = judged(lambda s: gpu_facts(slow(s), **DISTURBED))
    assert found.verdict is Verdict.INCONCLUSIVE
    (guard,) = [guard for guard in found.guards if guard.name == "busy host (candidate)"]
    assert guard.outcome is Verdict.INCONCLUSIVE


def test_clocks_under_a_power_cap_are_told_and_decide_nothing() -> None:
    found = judged(lambda s: gpu_facts(s, flags={"power cap": 0.42}))
    (guard,) = [guard for guard in found.guards if guard.name == "GPU clocks of the candidate"]
    assert (guard.tripped, guard.outcome) == (True, None)
    assert "power cap in up to 42 %" in guard.detail
    assert found.verdict is Verdict.UNCHANGED


@pytest.mark.parametrize("facts", [{"flags": [1]}, {"flags": {"x": "y"}}, {"contaminated": "many"}])
def test_a_strange_record_of_the_gpu_is_not_believed(facts: dict[str, Any]) -> None:
    assert judged(lambda s: gpu_facts(s, **facts)).verdict is Verdict.UNCHANGED


SIXTEEN = Truth(noise=0.005, header={"concurrency": 16})


def of_streams(share: object, concurrency: int = 16) -> Judgement:
    truth = replace(SIXTEEN, header={"concurrency": concurrency})
    reference = session_facts(measure(truth, blocks=6), **{"streams.full_share": 0.9})
    candidate = session_facts(measure(truth, start=LATER, seed=2), **{"streams.full_share": share})
    return judge(reference, candidate)


def test_rates_that_are_partly_those_of_fewer_streams_are_told_and_decide_nothing() -> None:
    found = of_streams(0.52)
    (guard,) = [guard for guard in found.guards if guard.name == "streams of the candidate"]
    assert (guard.tripped, guard.outcome) == (True, None)
    assert "all 16 streams were busy for only 52 % of the decode time" in guard.detail
    assert "effective configuration" not in tripped(found)
    assert found.verdict is Verdict.UNCHANGED


def test_streams_that_were_busy_are_told_without_alarm() -> None:
    (guard,) = [guard for guard in of_streams(0.84).guards if guard.name == "streams of the candidate"]
    assert (guard.tripped, guard.detail) == (False, "all 16 busy for 84 % of the decode time or more")


@pytest.mark.parametrize(("share", "concurrency"), [(0.1, 1), (None, 16), ("much", 16)])
def test_nothing_is_said_of_streams_where_there_is_one_or_nothing_is_known(
    share: object, concurrency: int
) -> None:
    assert "streams of the candidate" not in {guard.name for guard in of_streams(share, concurrency).guards}
