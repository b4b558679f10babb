"""Handmade values for the tests of the store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from monitor.domain import (
    Arm,
    ArmSummary,
    Artifact,
    Attribution,
    Channel,
    Check,
    Effect,
    Environment,
    Expectation,
    Guard,
    Header,
    Host,
    Judgement,
    Lossless,
    Metric,
    ModelSpec,
    Package,
    Prompt,
    Release,
    Requirements,
    Role,
    Sample,
    SampleSet,
    Session,
    Share,
    Signature,
    Tier,
    Verdict,
    Workload,
)
from monitor.store import Store
from monitor.store.queries import runs

NOW = datetime(2026, 11, 24, 4, 5, 6, 789012, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KATHMANDU = timezone(timedelta(hours=5, minutes=45))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def artifact(version: str = "1.0", *, build: str = "", **other: Any) -> Artifact:
    filename = f"xllamacpp-{version}{build}-py3-none-any.whl"
    known = {"sha256": sha(filename), "url": f"https://files.example/{filename}"}
    return Artifact(project="xllamacpp", version=version, filename=filename, **known | other)


def release(version: str = "1.0", *artifacts: Artifact, channel: str = "stable") -> Release:
    return Release("xllamacpp", version, channel, artifacts or (artifact(version),), NOW)


def environment(of: Artifact, *packages: Package, **other: Any) -> Environment:
    known: dict[str, Any] = {
        "key": f"{of.project}-{of.version}-{of.sha256[:12]}-py3.11",
        "path": Path("/srv/environments/e"),
        "python": Path("/srv/environments/e/bin/python"),
        "python_version": "3.11.9",
        "built_at": NOW,
    }
    listed = packages or (Package("zlib-ng", "2", sha("z")), Package("numpy", "2.3.5"))
    return Environment(artifact=of, packages=listed, **known | other)


def host(machine_id: str = "m1") -> Host:
    return Host(
        name="bench",
        machine_id=machine_id,
        hardware_class="gpu",
        boot_id="boot-1",
        cpu="a CPU",
        cores=2,
        memory_bytes=2**37,
        gpu={"name": "a GPU", "driver": "580.1", "memory_bytes": 96 * 2**30},
        kernel="6.12.8",
    )


def check(digest: str = "d1", title: str = "a check") -> Check:
    prompt = Prompt(
        "code-1", "code", 64, messages=({"role": "user", "content": "say é\n"},), tools=({"a": 1},)
    )
    return Check(
        id="synthetic",
        title=title,
        description="",
        engine="xllamacpp",
        projects=("xllamacpp",),
        model=ModelSpec(
            "m", "synthetic", {"seed": 7, "noise": 0.1}, files=("a", "b"), sha256={"a": sha("a")}
        ),
        draft_model=None,
        quantisation="F32",
        draft_length=3,
        concurrency=1,
        sampling={"temperature": 0},
        serve={"threads": 2},
        serve_mtp={},
        workloads=(Workload("code", (prompt,), sha("code")),),
        warmup_prompts=1,
        repeats=1,
        quick_prompts_per_workload=2,
        start_timeout_s=60.0,
        request_timeout_s=60.0,
        requires=Requirements(gpu=True, compute_capability="12.0"),
        expect=Expectation(min_speedup=1.5),
        estimate_minutes={"quick": 0.5},
        lossless_exact=True,
        digest=digest,
        judging={"noise_floor": "measured"},
    )


def header(version: str = "1.0", **other: Any) -> Header:
    return Header("synthetic", "d1", "xllamacpp", version, **other)


def session(number: int, arm: Arm = Arm.MTP, role: Role = Role.SCREEN, **other: Any) -> Session:
    return Session(session=number, arm=arm, block=number // 2, order=number % 2, role=role, **other)


def sample(of: Session, prompt: str = "code-1", **other: Any) -> Sample:
    known = {"workload": "code", "repeat": 0, "n": 64, "n_first": None, "ttft_s": None, "decode_s": 0.1}
    return Sample(session=of.session, arm=of.arm, prompt=prompt, **known | other)


def sample_set(*numbers: int, role: Role = Role.SCREEN, **facts: Any) -> SampleSet:
    sessions = tuple(session(number, list(Arm)[number % 2], role) for number in numbers)
    prompts = ("code-1", "prose-1")
    return SampleSet(
        header(**facts), sessions, tuple(sample(one, prompt) for one in sessions for prompt in prompts)
    )


def judgement(verdict: Verdict = Verdict.REGRESSED, **other: Any) -> Judgement:
    """Return one that uses every field, with numbers that rounding would betray."""
    effect = Effect(
        metric=Metric.ACCEPTANCE_LENGTH,
        workload="all",
        channel=Channel.EXACT,
        gates=True,
        reference=3.1000000000000005,
        candidate=1 / 3,
        unit="tokens/step",
        change_log=-0.1,
        change_percent=float("-inf"),
        ci_low=-1e-320,
        ci_high=float("inf"),
        p_value=5e-324,
        floor=0.02,
        mde=0.0,
        degrees_of_freedom=4.7,
        outliers=True,
        hodges_lehmann_percent=None,
        verdict=Verdict.REGRESSED,
        note="− é \u0000 \U0001f600",
    )
    summary = ArmSummary(
        workload="code",
        baseline_rate=101.1,
        mtp_rate=None,
        speedup=1.4,
        speedup_low=1.3,
        speedup_high=None,
        acceptance_rate=0.79,
        acceptance_length=3.1,
        step_time_s=0.01,
        baseline_step_time_s=0.008,
        ttft_baseline_s=None,
        ttft_mtp_s=0.2,
        accepted_per_position=(0.9, 2 / 3, 0.5),
        baseline_sessions=3,
        mtp_sessions=2**31,
    )
    share = Share(-0.1, -0.2, 0.05, None)
    values: dict[str, Any] = {
        "verdict": verdict,
        "signature": Signature.ACCEPTANCE_DROP,
        "confirmed": True,
        "headline": "The drafts are accepted less often.",
        "sessions": {"reference_mtp": 3, "candidate_mtp": 3},
        "effects": (effect,),
        "attribution": Attribution(share, Share(0.0, -0.0, 0.0, 1.5), share, -0.1),
        "guards": (
            Guard("same prompts", tripped=False, detail=""),
            Guard("gap", True, "2 %", Verdict.INVALID),
        ),
        "lossless": Lossless(
            2, True, 10, 9, 8, 7, {"prompt": "code-1", "at": 3, "tokens": [[1, 2], [1, 3]]}, Verdict.UNCHANGED
        ),
        "reference": header("0.9", sampling={"temperature": 0.0, "stop": None}, calibration={"floor": 0.01}),
        "candidate": header("1.0"),
        "reference_summary": (summary,),
        "candidate_summary": (),
        "undecided": ("step_time:all",),
        "policy_version": "1",
    }
    return Judgement(**values | other)


def planned(store: Store, of: Artifact | None = None, **other: Any) -> runs.Run:
    known: dict[str, Any] = {"check": check(), "host": host(), "now": NOW}
    with store.write() as db:
        return runs.create(
            db,
            artifact=of or artifact(),
            tier=Tier.QUICK,
            requested_by="a test",
            **known | other,
        )
