"""A whole service on a made-up machine: its clock, index, installs and engines obey the test.

world = World(tmp_path); world.release("2026.1.1"); world.release("2026.2.1", Build(accepted_share=0.4))
with world.station() as station:
    pipeline.cycle(station)

Everything between those edges is the real thing: the store, the policy, the queue, the judge, incidents and
the outbox.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from monitor import pipeline
from monitor.domain import (
    Arm,
    Artifact,
    Check,
    Environment,
    Host,
    Package,
    Prompt,
    Release,
    Sample,
    Session,
    Workload,
)
from monitor.errors import DiskFullError, EngineHangError, EngineStartError, ProvisionError, SourceError
from monitor.net import Http
from monitor.settings import Assignment, Settings, SourceSettings
from monitor.steps.provision import Weights
from monitor.steps.station import Station
from monitor.store import Store
from monitor.store.queries import calibrations, hosts
from standins.engine import standin_check

PROJECT = "xllamacpp"
CHECK = "made-up"
BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
_SESSION_S = 30.0
_DRAFTS = 3


@dataclass(frozen=True)
class Build:
    """How a made-up release behaves."""

    accepted_share: float = 0.75
    baseline_rate: float = 50.0
    step_time_s: float = 0.025
    drafts: bool = True
    mtp_text: str = "a"
    fault: str = ""
    """`install`, `start` or `hang`: what it fails at."""


def check(**changes: Any) -> Check:
    prompts = tuple(Prompt(f"code-{n}", "code", 128, text=f"prompt {n}") for n in range(4))
    known: dict[str, Any] = {
        "id": CHECK,
        "digest": "c" * 64,
        "workloads": (Workload("code", prompts, "0" * 64),),
        "quick_prompts_per_workload": 4,
        "judging": {"blocks_min": 2, "blocks_max": 4, "blocks_reference": 6, "confirm_blocks_max": 2},
    }
    return standin_check(**known | changes)


def cycle(station: Station, world: World) -> None:
    """Let a round pass, and an hour."""
    pipeline.cycle(station)
    world.wait(hours=1)


def calibrated(station: Station, world: World, *, alternate: bool = True) -> None:
    """Let the check's calibration say whether old and new take turns, as they do where days differ."""
    with station.store.write() as db:
        calibrations.save(
            db,
            machine_id=world.host().machine_id,
            check_digest=world.checks[0].digest,
            document={"alternate": alternate, "noise": {}},
            now=world.clock(),
        )


@dataclass
class World:
    """What the monitor finds outside itself."""

    folder: Path
    project: str = PROJECT
    noise: float = 0.003
    """Deviation of a session's log times."""
    now: datetime = BEGIN
    machine_slower: float = 1.0
    """What every time is multiplied by, whatever the release."""
    driver: str = "580.1"
    gpu: dict[str, Any] = field(default_factory=dict)
    """More facts of the GPU than its name, driver and memory."""
    offline: bool = False
    retry_after_s: float | None = None
    disk_full: bool = False
    builds: dict[str, Build] = field(default_factory=dict)
    sessions: list[tuple[str, Arm]] = field(default_factory=list)
    """Every session that was measured, in order."""
    polls: list[datetime] = field(default_factory=list)
    on_session: Callable[[str], None] | None = None
    checks: tuple[Check, ...] = field(default_factory=lambda: (check(),))
    settings: dict[str, Any] = field(default_factory=dict)
    engine: object = field(default_factory=object)
    """What is asked whether a release has every arm; this one is not."""
    _files: dict[str, Artifact] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311

    def clock(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def wait(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)

    # -----------------------------------------------------------------------------------------
    # The index

    def release(self, version: str, build: Build | None = None, *, tag: str = "") -> Artifact:
        """Publish a release, or with a build tag one more file of it."""
        filename = f"{self.project}-{version}-{f'{tag}-' if tag else ''}py3-none-any.whl"
        sha256 = hashlib.sha256(filename.encode()).hexdigest()
        self.builds[sha256] = build or Build()
        self._files[filename] = Artifact(
            self.project, version, filename, sha256, f"https://files.example/{filename}", uploaded_at=self.now
        )
        return self._files[filename]

    def yank(self, artifact: Artifact) -> None:
        del self._files[artifact.filename]

    def poll(self) -> tuple[Release, ...]:
        self.polls.append(self.now)
        if self.retry_after_s is not None:
            raise SourceError("the index answered 429.", retry_after_s=self.retry_after_s)
        if self.offline:
            raise SourceError("the index cannot be reached.")
        versions = sorted({file.version for file in self._files.values()}, key=_numbers)
        return tuple(
            Release(
                self.project,
                version,
                "stable",
                tuple(file for file in self._files.values() if file.version == version),
            )
            for version in versions
        )

    # -----------------------------------------------------------------------------------------
    # Installing and measuring

    def provision(self, artifact: Artifact) -> Environment:
        if self.disk_full:
            raise DiskFullError("No room left on the disk.")
        if self.builds.get(artifact.sha256, Build()).fault == "install":
            raise ProvisionError("It needs a package that is not to be had.")
        return Environment(
            key=f"{artifact.version}-{artifact.sha256[:12]}",
            artifact=artifact,
            path=self.folder,
            python=self.folder / "python",
            python_version="3.11",
            packages=(Package(artifact.project, artifact.version, artifact.sha256),),
            built_at=self.now,
        )

    def measure(self, **asked: Any) -> tuple[Session, tuple[Sample, ...]]:
        """Stand in for `monitor.bench.session.measure_session`."""
        artifact, arm = asked["environment"].artifact, asked["arm"]
        build = self.builds.get(artifact.sha256, Build())
        if self.on_session is not None:
            self.on_session(artifact.version)
        if build.fault == "start":
            raise EngineStartError("It ended before it answered.")
        if build.fault == "hang":
            raise EngineHangError("It did not answer.")
        started_at = self.now
        self.now += timedelta(seconds=_SESSION_S)
        self.sessions.append((artifact.version, arm))
        factor = self.machine_slower * 2.718281828 ** self._chance.gauss(0, self.noise)
        samples = tuple(_sample(build, arm, asked["number"], prompt, factor) for prompt in asked["prompts"])
        for sample in samples:
            asked["on_sample"](sample)
        session = Session(
            session=asked["number"],
            arm=arm,
            block=asked["block"],
            order=asked["order"],
            role=asked["role"],
            started_at=started_at,
            startup_s=1.0,
        )
        return session, samples

    # -----------------------------------------------------------------------------------------
    # The monitor

    def host(self) -> Host:
        return Host(
            name="made-up",
            machine_id="m1",
            hardware_class="a GPU",
            boot_id="boot-1",
            cpu="a CPU",
            cores=8,
            memory_bytes=2**36,
            gpu={"name": "a GPU", "driver": self.driver, "memory_bytes": 2**36, **self.gpu},
            kernel="6.12",
        )

    @contextmanager
    def station(self, **changes: Any) -> Iterator[Station]:
        """Open the monitor; what it keeps lies in the folder, so it can be opened again."""
        known: dict[str, Any] = {
            "state": self.folder / "state",
            "sources": (SourceSettings(project=self.project, settle_minutes=0),),
            "assignments": (Assignment(project=self.project, checks=tuple(item.id for item in self.checks)),),
        }
        settings = Settings(**known | self.settings | changes)
        settings.state.mkdir(parents=True, exist_ok=True)
        with (
            Store.open(settings.database_url) as store,
            Http(clock=self.seconds) as http,
            mock.patch("monitor.steps.measure.measure_session", self.measure),
            mock.patch("monitor.steps.measure.engine_for"),
            mock.patch("monitor.steps.provision.engine_for", return_value=self.engine),
            mock.patch("monitor.pipeline.weights", return_value=Weights(self.folder, None, "e" * 64)),
            mock.patch("monitor.bisect.weights", return_value=Weights(self.folder, None, "e" * 64)),
            mock.patch("monitor.proc.sweep_strays"),
        ):
            station = _Station(
                settings=settings,
                store=store,
                host=self.host(),
                http=http,
                environments=_Environments(self),  # type: ignore[arg-type]  # what is asked of it is there
                checks={item.id: item for item in self.checks},
                clock=self.clock,
            )
            station.world = self
            station.look_at_host()
            yield station


class _Station(Station):
    world: World

    def source_of(self, settings: SourceSettings) -> Any:
        if settings.kind == "package-index" and not settings.index_url:
            return _Source(self.world, settings.channel, settings.project)
        # A stand-in on loopback is asked as the real thing would be.
        return super().source_of(settings)

    def look_at_host(self) -> None:
        self.host = self.world.host()
        with self.store.write() as db:
            hosts.save(db, self.host, now=self.clock())


@dataclass
class _Source:
    world: World
    channel: str
    project: str
    address: str = "https://index.example/simple/"
    since: None = None

    def poll(self) -> tuple[Release, ...]:
        return self.world.poll()


@dataclass
class _Environments:
    world: World

    def provision(self, artifact: Artifact, _source: object, **_: object) -> Environment:
        return self.world.provision(artifact)

    def find(self, _artifact: Artifact) -> None:
        return None

    def all(self) -> list[Environment]:
        return []

    def sweep(self) -> None:
        """Nothing is ever half-built here."""


def _sample(build: Build, arm: Arm, session: int, prompt: Prompt, factor: float) -> Sample:
    after = prompt.max_tokens - 1
    drafting = arm is Arm.MTP and build.drafts
    steps = round(after / (1 + _DRAFTS * build.accepted_share)) if drafting else after
    accepted = after - steps
    seconds = factor * (steps * build.step_time_s if arm is Arm.MTP else after / build.baseline_rate)
    text = build.mtp_text if arm is Arm.MTP else "a"
    return Sample(
        session=session,
        arm=arm,
        workload=prompt.workload,
        prompt=prompt.id,
        repeat=0,
        n=prompt.max_tokens,
        n_first=1,
        ttft_s=0.1 * factor,
        decode_s=seconds,
        prompt_tokens=20,
        drafted=steps * _DRAFTS if drafting else None,
        accepted=accepted if drafting else None,
        steps=steps,
        stop="length",
        server_decode_tps=after / seconds,
        tokens_sha256=hashlib.sha256(f"{text}{prompt.id}".encode()).hexdigest(),
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
