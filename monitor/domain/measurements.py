"""Measurements: what one sample file holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from monitor.domain.checks import JUDGED_ARMS, Arm


class Role(StrEnum):
    """Why a session was run."""

    SCREEN = "screen"
    CONFIRM = "confirm"
    DRIFT = "drift"
    """In turns with the epoch's first good run, to tell slow drift from a machine that changed."""
    ONWARD = "onward"
    """Of a release that was found good, after its verdict: what comes next is compared with these as well."""


@dataclass(frozen=True, slots=True)
class Header:
    """What every sample of a file has in common."""

    check: str
    check_digest: str
    project: str
    version: str
    artifact_sha256: str | None = None
    host: str | None = None
    hardware_class: str | None = None
    draft_length: int | None = None
    concurrency: int | None = 1
    sampling: dict[str, Any] | None = None
    judging: dict[str, Any] | None = None
    """The check's overrides of the judging policy."""
    calibration: dict[str, Any] | None = None
    model_sha256: str | None = None
    roofline_tokens_per_s: float | None = None
    """The most the host's memory allows the baseline at one stream; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A place where an answer leaves the baseline's: what the baseline model can be asked for its margin."""

    session: int
    """The baseline session whose answer is followed up to here."""
    workload: str
    prompt: str
    repeat: int
    common: tuple[int, ...]
    """Token ids of the common beginning."""
    expected: int
    """The token with which that session went on."""
    found: int
    """The token with which another went on."""


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much the baseline model prefers one of two tokens, forced along the common beginning."""

    session: int
    """The baseline session whose answer is followed, as in `Divergence`."""
    workload: str
    prompt: str
    repeat: int
    position: int
    """How many tokens are common."""
    expected: int
    found: int
    nats: float
    """Log probability of the expected token − log probability of the found one."""
    at_least: bool = False
    """One of the two was too unlikely to be told: the margin is `nats` or further from 0."""


@dataclass(frozen=True, slots=True)
class Session:
    """One start of one engine server for one arm: the unit of replication."""

    session: int
    arm: Arm
    block: int
    order: int
    """Place among the sessions of its block, from 0, in the order they were run."""
    role: Role = Role.SCREEN
    started_at: datetime | None = None
    startup_s: float | None = None
    gpu_memory_bytes: int | None = None
    """Most GPU memory in use, less what was in use before the engine started."""
    energy_j: float | None = None
    """Energy the GPU used for the answers of this session, without warm-up."""
    effective: dict[str, Any] | None = None
    """What the server said it really runs (flags, backends, speculation), as flat facts."""
    gpu: dict[str, Any] | None = None
    """What the GPU did meanwhile: see `docs/samples.md`."""
    margins: tuple[Margin, ...] | None = None
    """What the baseline model thinks of places where texts parted; None where it was not asked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt answered in one session, with its times, counts and token ids."""

    session: int
    arm: Arm
    workload: str
    prompt: str
    repeat: int
    n: int
    n_first: int | None
    ttft_s: float | None
    decode_s: float | None
    """From the first chunk that carries tokens to the chunk with the finish reason."""
    prompt_tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    steps: int | None = None
    """n − n_first − accepted: decode steps after the first chunk, drafted or not."""
    accepted_per_position: tuple[int, ...] | None = None
    stop: str | None = None
    server_decode_tps: float | None = None
    token_ids: tuple[int, ...] | None = None
    tokens_sha256: str | None = None
    correct: bool | None = None
    """Whether the answer ends with what the prompt says is right; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One sample file: all sessions and samples of one check on one artifact on one host."""

    header: Header
    sessions: tuple[Session, ...]
    samples: tuple[Sample, ...]

    @property
    def judged(self) -> SampleSet:
        """The same without the arms that are only measured beside the judged ones."""
        return SampleSet(
            self.header,
            tuple(session for session in self.sessions if session.arm in JUDGED_ARMS),
            tuple(sample for sample in self.samples if sample.arm in JUDGED_ARMS),
        )
