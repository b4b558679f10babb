"""The newest llama-cpp-python through its own loop: discovered, compiled once, measured and judged.

Compiling takes a quarter of an hour on two cores; the result is kept in the user's cache folder, where the
test of the server that comes out of the same build finds it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import Arm, Role, RunState, Sample, SampleSet, Signature
from monitor.pipeline import RunRequest, Station
from monitor.settings import Settings
from monitor.store import Subject
from monitor.store.queries import incidents, judgements, runs, sessions
from standins.engine import tagged_by

PROJECT, VERSION = "llama-cpp-python", "0.3.36"
OWN_LOOP, SERVER = "synthetic-qwen35-tiny-python", "synthetic-qwen35-tiny"
WHEEL = "2026.10.11549"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtp-monitor" / "builds"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    settings = Settings.model_validate(
        {
            "state": tmp_path_factory.mktemp("python-loop") / "state",
            "build": {"cache_dir": CACHE, "cuda": False},
            "sources": [
                {"project": PROJECT, "versions": f"=={VERSION}", "settle_minutes": 0},
                {"project": "xllamacpp", "versions": f"=={WHEEL}", "settle_minutes": 0},
            ],
            "assignments": [
                {"project": PROJECT, "checks": [OWN_LOOP]},
                {"project": "xllamacpp", "checks": [SERVER]},
            ],
        }
    )
    with Station.open(settings) as opened:
        for name in (OWN_LOOP, SERVER):
            # What is looked at are counts, which a busy machine leaves as they are.
            judging = {**opened.checks[name].judging, "server_rate_tolerance": 10.0}
            opened.checks[name] = replace(opened.checks[name], judging=judging)
        for poll in pipeline.discover(opened):
            assert poll.error is None, poll.error
        yield opened
    assert tagged_by(os.getpid()) == []


def measured(station: Station, check: str, release: str) -> tuple[int, SampleSet]:
    outcome = pipeline.run(station, RunRequest(check=check, release=release, confirm=False))
    # On a busy machine times can make so short a run invalid; what it counted is there all the same.
    assert outcome.run.state in {RunState.DONE, RunState.INVALID}, outcome.run.reason
    with station.store.read() as db:
        stored = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.SCREEN)
    assert stored is not None
    return outcome.run.id, stored


@pytest.fixture(scope="module")
def own_loop(station: Station) -> tuple[int, SampleSet]:
    return measured(station, OWN_LOOP, f"{PROJECT}=={VERSION}")


def of(stored: SampleSet, arm: Arm) -> list[Sample]:
    return [sample for sample in stored.samples if sample.arm is arm]


def facts(stored: SampleSet, arm: Arm) -> list[dict[str, Any]]:
    return [session.effective or {} for session in stored.sessions if session.arm is arm]


def test_plain_generation_and_the_example_server_say_the_same_and_only_one_drafts(
    own_loop: tuple[int, SampleSet],
) -> None:
    _, stored = own_loop
    plain, drafted = of(stored, Arm.BASELINE), of(stored, Arm.MTP)
    assert {s.prompt: s.token_ids for s in plain} == {s.prompt: s.token_ids for s in drafted}
    assert {(s.n, s.n_first, s.stop) for s in plain + drafted} == {(48, 1, "length")}
    assert {s.drafted for s in plain} == {0}
    assert all((s.drafted or 0) > (s.accepted or 0) > 0 for s in drafted)
    assert all(s.steps == s.n - s.n_first - (s.accepted or 0) for s in drafted)
    assert {fact["path"] for fact in facts(stored, Arm.BASELINE)} == {"Llama.generate"}
    assert {fact["path"] for fact in facts(stored, Arm.MTP)} == {"examples/server"}
    assert {fact["library"] for fact in facts(stored, Arm.MTP)} == {VERSION}


def test_counts_repeat_to_the_token_from_session_to_session_and_are_those_of_its_counters(
    own_loop: tuple[int, SampleSet],
) -> None:
    _, stored = own_loop
    by_prompt: dict[str, set[tuple[Any, ...]]] = {}
    for sample in of(stored, Arm.MTP):
        by_prompt.setdefault(sample.prompt, set()).add((sample.drafted, sample.accepted, sample.steps))
    assert {len(counts) for counts in by_prompt.values()} == {1}
    for session in (s for s in stored.sessions if s.arm is Arm.MTP):
        own = [sample for sample in stored.samples if sample.session == session.session]
        assert (session.effective or {})["counter.drafted"] == sum(s.drafted or 0 for s in own)
        assert (session.effective or {})["counter.accepted"] == sum(s.accepted or 0 for s in own)


def test_its_speculation_is_on_and_its_text_is_that_of_llama_cpps_own_server(
    station: Station, own_loop: tuple[int, SampleSet]
) -> None:
    run_id, stored = own_loop
    with station.store.read() as db:
        judged = judgements.get(db, run_id)
    assert judged is not None
    assert judged.signature not in {Signature.SPECULATION_OFF, Signature.DRAFTER_DEAD}
    _, served = measured(station, SERVER, f"xllamacpp=={WHEEL}")
    assert {s.prompt: s.token_ids for s in of(stored, Arm.MTP)} == {
        s.prompt: s.token_ids for s in of(served, Arm.MTP)
    }


def test_a_source_whose_example_has_no_mtp_is_skipped_with_that_reason(
    station: Station, own_loop: tuple[int, SampleSet]
) -> None:
    with station.store.read() as db:
        run = runs.get(db, own_loop[0])
    assert run is not None
    (environment,) = [e for e in station.environments.all() if e.artifact.project == PROJECT]
    example = environment.path / "share" / "llama-cpp-python" / "server.py"
    as_installed = example.read_text(encoding="utf-8")
    try:
        example.write_text(as_installed.replace('"draft-mtp"', '"draft-later"'), encoding="utf-8")
        outcome = pipeline.run(
            station, RunRequest(check=OWN_LOOP, release=f"{PROJECT}=={VERSION}", again=True)
        )
    finally:
        example.write_text(as_installed, encoding="utf-8")
    assert outcome.run.state is RunState.SKIPPED
    assert "no MTP in this release" in outcome.run.reason
    with station.store.read() as db:
        assert incidents.in_state(db) == []
