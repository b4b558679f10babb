"""The engine that starts `engine_server.py` in the place of llama.cpp, and a check for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor import keeper, proc
from monitor.bench.session import measure_session
from monitor.domain import (
    Arm,
    Artifact,
    Check,
    Environment,
    Expectation,
    ModelSpec,
    Prompt,
    Requirements,
    Role,
    Sample,
    Session,
    Workload,
)
from monitor.engines import engine_for
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.llama_http import LLAMA

PROMPTS = tuple(Prompt(id=f"p{i}", workload="code", max_tokens=8, text=f"prompt {i}") for i in range(2))


class StandinEngine:
    name = "standin"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def launch(self, setup: Setup, /) -> Launch:
        server = Path(__file__).with_name("engine_server.py")
        return Launch((sys.executable, "-u", str(server), self.fault, str(setup.port)))

    def address(self, setup: Setup, /) -> str:
        return f"http://127.0.0.1:{setup.port}"

    def dialect(self, _check: Check, /) -> Dialect:
        return LLAMA

    def facts(self, _setup: Setup, /) -> dict[str, Any]:
        return {}


def standin_check(**changes: Any) -> Check:
    known: dict[str, Any] = {
        "id": "standin",
        "title": "A stand-in",
        "description": "",
        "engine": "standin",
        "projects": ("xllamacpp",),
        "model": ModelSpec("none", "path", files=("none",)),
        "draft_model": None,
        "quantisation": "F32",
        "draft_length": 3,
        "concurrency": 1,
        "sampling": {"temperature": 0, "ignore_eos": True},
        "serve": {"context": 64, "threads": 1},
        "serve_mtp": {},
        "workloads": (Workload("code", PROMPTS, "0" * 64),),
        "warmup_prompts": 1,
        "repeats": 1,
        "quick_prompts_per_workload": 2,
        "start_timeout_s": 60.0,
        "request_timeout_s": 60.0,
        "requires": Requirements(),
        "expect": Expectation(),
        "estimate_minutes": {"quick": 0.1, "full": 0.1},
        "lossless_exact": True,
        "digest": "0" * 64,
    }
    return Check(**(known | changes))


def environment_of(python: Path, version: str = "2026.1.1") -> Environment:
    """Say that `python` belongs to an environment; nothing is installed."""
    artifact = Artifact("xllamacpp", version, "x.whl", "0" * 64, "https://files.example/x.whl")
    return Environment(
        f"xllamacpp-{version}", artifact, python.parent.parent, python, "3.11", (), datetime.now(UTC)
    )


def one_session(
    check: Check, environment: Environment, model: Path, folder: Path, **other: Any
) -> tuple[Session, tuple[Sample, ...]]:
    """Measure a session with all prompts of a check: the first of its run, unless `other` says otherwise."""
    given: dict[str, Any] = {
        "draft_model": None,
        "arm": Arm.MTP,
        "number": 0,
        "block": 0,
        "order": 0,
        "role": Role.SCREEN,
        "prompts": [prompt for workload in check.workloads for prompt in workload.prompts],
        "log": folder / "engine.log",
        "scratch": folder / "scratch",
    }
    engine = other.pop("engine", None) or engine_for(check.engine)
    return measure_session(check=check, engine=engine, environment=environment, model=model, **given | other)


def measure(folder: Path, fault: str, **changes: Any) -> tuple[Session, tuple[Sample, ...]]:
    own = ("arm", "on_sample", "watch", "caches", "engine", "inquiry", "prompts")
    given = {name: changes.pop(name) for name in own if name in changes}
    return one_session(
        standin_check(**changes),
        environment_of(Path(sys.executable)),
        folder / "model.gguf",
        folder,
        **{"engine": StandinEngine(fault), "number": 4, "block": 2, "order": 1, "role": Role.CONFIRM}
        | {"log": folder / "logs" / "engine.log"}
        | given,
    )


def tagged_by(pid: int) -> list[int]:
    """Return the living processes that the monitor `pid` has started."""
    return [stray for stray, tag in proc._tags(f"{keeper.TAG}=").items() if tag.split(":")[1] == str(pid)]


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something that must happen; the limit only ends a test that has failed."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found
