"""Handmade values for tests: a host, a check, artifacts and environments."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.domain import (
    Artifact,
    Check,
    Environment,
    Expectation,
    Host,
    ModelSpec,
    Package,
    Prompt,
    Requirements,
    Workload,
)

NOW = datetime(2026, 11, 24, 4, 5, tzinfo=UTC)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00\x1b[31m\u202e{{ 7*7 }}"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def host() -> Host:
    return Host(
        name="bench-01",
        machine_id="3f9c2a7d1e5b4860",
        hardware_class="cpu-AMD EPYC 9B14-2",
        boot_id="6d0f4c1e-6b3d-4f0e-9b57-0f6c2f4f9b11",
        cpu="AMD EPYC 9B14",
        cores=2,
        memory_bytes=16 * 2**30,
        kernel="6.12.8",
    )


def check(workloads: Sequence[str] = ("chat", "code", "prose"), prompts: int = 2) -> Check:
    return Check(
        id="synthetic-qwen35-cpu",
        title="Synthetic Qwen3.5-shaped model on the CPU",
        description="A small F32 model whose next-token head is right about three times out of four.",
        engine="xllamacpp",
        projects=("xllamacpp",),
        model=ModelSpec(
            "synthetic-qwen35",
            "synthetic",
            {"n_embd": 768, "n_layer": 8, "n_ff": 1536, "noise": 7.0, "seed": 7},
        ),
        draft_model=None,
        quantisation="F32",
        draft_length=3,
        concurrency=1,
        sampling={"temperature": 0, "top_k": 1, "seed": 1},
        serve={"context": 2048, "threads": 2},
        serve_mtp={},
        workloads=tuple(
            Workload(
                name,
                tuple(
                    Prompt(f"{name}-{i}", name, 128, text=f"Say {name} {i}") for i in range(1, prompts + 1)
                ),
                sha(name),
            )
            for name in workloads
        ),
        warmup_prompts=2,
        repeats=1,
        quick_prompts_per_workload=2,
        start_timeout_s=120,
        request_timeout_s=120,
        requires=Requirements(memory_bytes=2 * 2**30),
        expect=Expectation(min_acceptance=0.6),
        estimate_minutes={"quick": 0.3, "full": 0.5},
        lossless_exact=True,
        digest=sha("synthetic-qwen35-cpu"),
        judging={"noise_floor": "measured", "server_rate_tolerance": 0.1, "lossless_exact": True},
    )


def artifact(version: str, project: str = "xllamacpp") -> Artifact:
    filename = f"{project}-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    return Artifact(
        project=project,
        version=version,
        filename=filename,
        sha256=sha(filename),
        url=f"https://files.example/{filename}",
        size=27_400_000,
        requires_python=">=3.10",
        uploaded_at=NOW - timedelta(days=9),
    )


def environment(version: str, packages: Sequence[tuple[str, str]] = (("numpy", "2.3.5"),)) -> Environment:
    own = artifact(version)
    key = f"xllamacpp-{version}-{own.sha256[:12]}-py3.11"
    listed = [("xllamacpp", version), *packages]
    return Environment(
        key=key,
        artifact=own,
        path=Path("/var/lib/mtp-monitor/environments") / key,
        python=Path("/var/lib/mtp-monitor/environments") / key / "bin/python",
        python_version="3.11.9",
        packages=tuple(Package(name, number, sha(name + number)) for name, number in listed),
        built_at=NOW - timedelta(hours=1),
    )
