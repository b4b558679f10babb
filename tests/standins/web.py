"""A station with a past, for tests of pages and API: releases, runs of every kind, incidents, deliveries.

with station(tmp_path) as (found, past):
    client = TestClient(create_app(found, actions=Recorder()), base_url="http://127.0.0.1")

The numbers of `past` name what a test asks for. Samples are made up and judged by the judge, so pages meet
what they will meet; text from outside is hostile wherever there is a place for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlmodel import Session as Db

import factories
from factories import Machine
from factory_values import HOSTILE, NOW, artifact, check, environment, host, sha
from monitor.domain import (
    Artifact,
    Check,
    Judgement,
    Release,
    ReleaseState,
    Role,
    RunState,
    SkipReason,
    Tier,
)
from monitor.environments.collection import Environments
from monitor.judge.verdict import judge
from monitor.net import Http
from monitor.settings import (
    Assignment,
    DestinationSettings,
    HostSettings,
    Settings,
    SourceSettings,
    UvSettings,
    WebSettings,
)
from monitor.steps.station import Station
from monitor.store import Store, Subject
from monitor.store.queries import (
    checks,
    environments,
    epochs,
    hosts,
    judgements,
    listings,
    queue,
    releases,
    runs,
    sessions,
)
from standins.web_past import Past, beat, days_ago, search, tell, write_logs

TOKEN = "a token that only its owner knows"
SECRET_ADDRESS = "https://hooks.example/canary-5d1f"
CHECK = check()
OTHER = replace(CHECK, id="synthetic-qwen35-tiny", title="A tiny model, for a first look", digest=sha("tiny"))
_QUIET = 0.004
_SPEEDS = {
    "0.2.33": Machine(session_noise=_QUIET, draft_cost=0.92),
    "0.2.34": Machine(session_noise=_QUIET, draft_cost=0.915),
    "0.2.35": Machine(session_noise=_QUIET, draft_cost=0.70),
    "0.2.36": Machine(session_noise=_QUIET, draft_cost=0.705),
    "0.2.37": Machine(session_noise=0.12, draft_cost=0.71),
    "0.2.39": Machine(session_noise=_QUIET, draft_cost=0.70),
    "0.2.40": Machine(session_noise=_QUIET, draft_cost=0.695),
    "0.2.41": Machine(session_noise=_QUIET, draft_cost=0.695, acceptance=0.5),
}
"""Version → how its made-up server behaves; 0.2.38 does not start."""


@contextmanager
def station(folder: Path, **web: Any) -> Iterator[tuple[Station, Past]]:
    """Yield a filled station; `web` overrides settings of the pages (`token=None` makes them read-only)."""
    with empty_station(folder, **web) as found:
        yield found, fill(found)


@contextmanager
def empty_station(folder: Path, **web: Any) -> Iterator[Station]:
    """Yield a station in which nothing has happened yet."""
    given: dict[str, Any] = {"token": SecretStr(TOKEN)} | web
    settings = Settings(
        state=folder / "state",
        sources=(
            SourceSettings(project="xllamacpp"),
            SourceSettings(project="xllamacpp", channel="nightly"),
            SourceSettings(project="vllm"),
        ),
        assignments=(
            Assignment(project="xllamacpp", checks=(CHECK.id, OTHER.id)),
            Assignment(project="vllm", checks=(OTHER.id,)),
        ),
        host=HostSettings(window="22:00-06:00", gpu_minutes_per_day=240),
        destinations=(
            DestinationSettings(name="team", kind="slack", url=SecretStr(SECRET_ADDRESS)),
            DestinationSettings(name="pager", kind="webhook", url=SecretStr(SECRET_ADDRESS)),
        ),
        web=WebSettings(**given),
    )
    settings.state.mkdir(parents=True)
    with Store.open(settings.database_url) as store:
        http = Http()
        found = Station(
            settings=settings,
            store=store,
            host=host(),
            http=http,
            environments=Environments.at(settings.environments_dir, uv=UvSettings(), http=http),
            checks={CHECK.id: CHECK, OTHER.id: OTHER},
            clock=lambda: NOW,
        )
        with store.write() as db:
            hosts.save(db, found.host, now=NOW)
            for one in (CHECK, OTHER):
                checks.save(db, one, now=NOW)
        try:
            yield found
        finally:
            http.close()


def fill(found: Station) -> Past:
    """Let things happen in the station."""
    past = Past()
    with found.store.write() as db:
        _list_releases(db)
        epoch = epochs.begin(
            db,
            machine_id=found.host.machine_id,
            project="xllamacpp",
            check_digest=CHECK.digest,
            conditions={"kernel": "6.12.7"},
            reason="",
            who="monitor",
            now=days_ago(60),
        ).id
        good: tuple[int, str] | None = None
        for number, version in enumerate(_SPEEDS):
            if version == "0.2.39":
                epoch = epochs.begin(
                    db,
                    machine_id=found.host.machine_id,
                    project="xllamacpp",
                    check_digest=CHECK.digest,
                    conditions={"kernel": "6.12.8"},
                    reason="the kernel changed from 6.12.7 to 6.12.8",
                    who="monitor",
                    now=days_ago(21),
                ).id
                past.runs["0.2.38"] = _failed(db, found, "0.2.38", epoch, "does not start")
                good = None
            run_id, judged = _measured(
                db,
                found,
                version,
                epoch=epoch,
                good=good,
                when=days_ago(50 - 6 * (number + (version > "0.2.38"))),
            )
            past.runs[version] = run_id
            if judged.verdict in runs.GOOD:
                good = (run_id, version)
        past.regressed = past.runs["0.2.41"]
        _queue(db, found, past, epoch)
        tell(db, past, epoch)
        search(db, past)
        beat(db)
    write_logs(found, past)
    return past


# ---------------------------------------------------------------------------------------------
# Releases


def _list_releases(db: Db) -> None:
    ages = {f"0.2.{minor}": 70.0 - 6 * number for number, minor in enumerate(range(30, 42))}
    ages |= {"0.2.42": 1.2, "0.2.43": 0.5, "0.2.44": 0.02}
    listed = [
        Release("xllamacpp", version, "stable", (artifact(version),), days_ago(max(age, 0.02)))
        for version, age in ages.items()
    ]
    vllm = [
        Release("vllm", version, "stable", (artifact(version, "vllm"),), days_ago(5))
        for version in ("0.24.0", "0.25.0")
    ]
    listings.record(db, [*listed, *vllm], source="https://index.example/simple/", now=days_ago(0))
    states: dict[str, tuple[ReleaseState, SkipReason | None, str]] = {
        "0.2.30": (ReleaseState.SKIPPED, SkipReason.TOO_OLD, "MTP came with 0.2.32"),
        "0.2.31": (ReleaseState.SKIPPED, SkipReason.YANKED, HOSTILE),
        "0.2.32": (ReleaseState.SKIPPED, SkipReason.COALESCED, "0.2.33 came within the same day"),
        "0.2.44": (ReleaseState.SETTLING, None, "its last file is 29 minutes old"),
    }
    for version in ages:
        state, reason, detail = states.get(version, (ReleaseState.PLANNED, None, ""))
        releases.decide(db, "xllamacpp", version, "stable", state, reason, detail)
    releases.decide(db, "vllm", "0.24.0", "stable", ReleaseState.AGED)
    releases.decide(db, "vllm", "0.25.0", "stable", ReleaseState.PLANNED)


# ---------------------------------------------------------------------------------------------
# Runs


def _planned(db: Db, found: Station, of: Artifact, check: Check, when: Any, **other: Any) -> int:
    return runs.create(
        db,
        check=check,
        artifact=of,
        host=found.host,
        tier=Tier.QUICK,
        requested_by=other.pop("requested_by", "schedule"),
        now=when,
        **other,
    ).id


def _begun(db: Db, run_id: int, of: Artifact, when: Any) -> None:
    runs.set_state(db, run_id, RunState.PROVISIONING, stage="install", now=when)
    built = environment(of.version)
    if of.project == "xllamacpp":
        environments.save(db, built)
        runs.set_environment(db, run_id, built.key)
    runs.begin_attempt(
        db,
        run_id,
        boot_id="boot",
        environment_key=built.key if of.project == "xllamacpp" else None,
        now=when,
    )


def _measured(
    db: Db, found: Station, version: str, *, epoch: int, good: tuple[int, str] | None, when: Any
) -> tuple[int, Judgement]:
    of, machine, ended = artifact(version), _SPEEDS[version], when + timedelta(minutes=24)
    run_id = _planned(db, found, of, CHECK, when, epoch_id=epoch)
    _begun(db, run_id, of, when)
    if good is not None:
        runs.set_reference(db, run_id, good[0])
    runs.set_state(db, run_id, RunState.MEASURING, stage="block 1", now=when + timedelta(minutes=2))
    candidate = factories.samples(version, machine, blocks=4, began=when)
    sessions.save(db, run_id, Subject.CANDIDATE, candidate)
    runs.set_state(db, run_id, RunState.JUDGING, now=when + timedelta(minutes=20))
    before = sessions.load(db, good[0], Subject.CANDIDATE, Role.SCREEN) if good is not None else None
    judged = judge(before, candidate)
    if judged.verdict == "regressed" and good is not None:
        runs.set_state(db, run_id, RunState.CONFIRMING, now=when + timedelta(minutes=21))
        fresh = (
            _confirming(good[1], _SPEEDS[good[1]], when),
            _confirming(version, machine, when + timedelta(seconds=10)),
        )
        for subject, samples in zip((Subject.REFERENCE, Subject.CANDIDATE), fresh, strict=True):
            sessions.save(db, run_id, subject, samples)
        judged = judge(before, candidate, confirm=fresh)
    judgements.save(db, run_id, judged, now=ended)
    runs.set_state(db, run_id, RunState.DONE, now=ended)
    runs.end_attempt(db, run_id, 1, outcome=RunState.DONE, now=ended)
    return run_id, judged


def _confirming(version: str, machine: Machine, when: Any) -> Any:
    fresh = factories.samples(
        version, machine, blocks=2, role=Role.CONFIRM, began=when + timedelta(minutes=22)
    )
    # Numbers of sessions are unique over both roles.
    moved = {one.session: 100 + one.session for one in fresh.sessions}
    return replace(
        fresh,
        sessions=tuple(replace(one, session=moved[one.session]) for one in fresh.sessions),
        samples=tuple(replace(one, session=moved[one.session]) for one in fresh.samples),
    )


def _failed(db: Db, found: Station, version: str, epoch: int, reason: str) -> int:
    when = days_ago(20)
    run_id = _planned(db, found, artifact(version), CHECK, when, epoch_id=epoch)
    _begun(db, run_id, artifact(version), when)
    runs.set_state(
        db, run_id, RunState.FAILED, stage="start", reason=reason, permanent=True, now=days_ago(19.99)
    )
    runs.end_attempt(db, run_id, 1, outcome=RunState.FAILED, now=days_ago(19.99))
    return run_id


def _queue(db: Db, found: Station, past: Past, epoch: int) -> None:
    began = NOW - timedelta(minutes=18)
    past.working = _planned(db, found, artifact("0.2.42"), CHECK, began, epoch_id=epoch, due_at=began)
    _begun(db, past.working, artifact("0.2.42"), began)
    runs.set_state(
        db, past.working, RunState.MEASURING, stage="block 3 of at most 5", now=NOW - timedelta(minutes=6)
    )
    past.waiting = _planned(
        db, found, artifact("0.2.43"), CHECK, NOW - timedelta(hours=2), epoch_id=epoch, due_at=NOW
    )
    queue.put_off(
        db, past.waiting, why="outside the host's hours (22:00-06:00)", due_at=NOW + timedelta(hours=3)
    )
    of = artifact("0.25.0", "vllm")
    past.hostile = _planned(db, found, of, OTHER, days_ago(3), requested_by=HOSTILE)
    _begun(db, past.hostile, of, days_ago(3))
    runs.set_state(
        db, past.hostile, RunState.FAILED, stage="start", reason=HOSTILE, permanent=False, now=days_ago(2.9)
    )


class Recorder:
    """Actions that only note what was asked for; with `refuse` set every one raises it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refuse: Exception | None = None

    def _note(self, *what: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.asked.append(what)

    def acknowledge(self, incident_id: int, who: str, why: str) -> None:
        self._note("acknowledge", incident_id, who, why)

    def snooze(self, incident_id: int, who: str, why: str, until: Any) -> None:
        self._note("snooze", incident_id, who, why, until)

    def resolve(self, incident_id: int, who: str, why: str) -> None:
        self._note("resolve", incident_id, who, why)

    def accept(self, incident_id: int, who: str, why: str) -> None:
        self._note("accept", incident_id, who, why)

    def false_alarm(self, incident_id: int, who: str, why: str) -> None:
        self._note("false_alarm", incident_id, who, why)

    def reopen(self, incident_id: int, who: str, why: str) -> None:
        self._note("reopen", incident_id, who, why)

    def replay(self, delivery_id: int) -> None:
        self._note("replay", delivery_id)
