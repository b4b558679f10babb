"""Makes sample sets with known truth: rates, counts and noise are chosen, nothing is measured."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.domain import Arm, Header, Role, Sample, SampleSet, Session

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Truth:
    """What a made-up release is like; rates in tokens/s, noise as the deviation of a session's log rate."""

    version: str = "1.0"
    baseline_rate: float = 50.0
    step_time_s: float = 0.025
    accepted_share: float = 0.75
    """Of the drafted tokens; the same on every prompt, to the token."""
    draft_length: int = 3
    ttft_s: float = 0.1
    ttft_mtp_s: float = 0.1
    noise: float = 0.0
    tokens: int = 128
    prompts: int = 4
    workloads: tuple[str, ...] = ("code", "prose")
    drafts: bool = True
    text: str = "a"
    """Another text gives other tokens."""
    mtp_text: str | None = None
    header: dict[str, Any] = field(default_factory=dict)


def measure(
    truth: Truth,
    *,
    blocks: int = 4,
    start: datetime = START,
    seed: int = 1,
    role: Role = Role.SCREEN,
    per_block: int = 1,
) -> SampleSet:
    """Return `blocks` blocks of `per_block` sessions per arm, a minute apart."""
    chance = random.Random(seed)  # noqa: S311
    sessions, samples = [], []
    for block in range(blocks):
        for order in range(2 * per_block):
            arm = (Arm.BASELINE, Arm.MTP)[order % 2]
            number = len(sessions)
            sessions.append(
                Session(
                    session=number,
                    arm=arm,
                    block=block,
                    order=order,
                    role=role,
                    started_at=start + timedelta(minutes=number),
                    startup_s=1.0,
                )
            )
            factor = 2.718281828 ** chance.gauss(0, truth.noise) if truth.noise else 1.0
            samples += [
                _sample(truth, arm, number, (workload, f"{workload}-{i}"), factor)
                for workload in truth.workloads
                for i in range(truth.prompts)
            ]
    header = Header(
        check="made-up",
        check_digest="d" * 64,
        project="engine",
        version=truth.version,
        artifact_sha256=hashlib.sha256(truth.version.encode()).hexdigest(),
        host="host",
        hardware_class="cpu",
        draft_length=truth.draft_length,
        sampling={"temperature": 0},
        model_sha256="e" * 64,
    )
    return SampleSet(replace(header, **truth.header), tuple(sessions), tuple(samples))


def _sample(truth: Truth, arm: Arm, session: int, place: tuple[str, str], factor: float) -> Sample:
    workload, prompt = place
    after = truth.tokens - 1
    drafted = accepted = 0
    if arm is Arm.MTP and truth.drafts:
        # after = steps + accepted and drafted = steps · length fix all three counts by the share.
        steps = round(after / (1 + truth.draft_length * truth.accepted_share))
        drafted, accepted = steps * truth.draft_length, after - steps
    steps = after - accepted
    seconds = steps * truth.step_time_s if arm is Arm.MTP else after / truth.baseline_rate
    seconds *= factor
    text = truth.mtp_text if arm is Arm.MTP and truth.mtp_text is not None else truth.text
    return Sample(
        session=session,
        arm=arm,
        workload=workload,
        prompt=prompt,
        repeat=0,
        n=truth.tokens,
        n_first=1,
        ttft_s=(truth.ttft_mtp_s if arm is Arm.MTP else truth.ttft_s) * factor,
        decode_s=seconds,
        prompt_tokens=20,
        drafted=drafted if arm is Arm.MTP and truth.drafts else None,
        accepted=accepted if arm is Arm.MTP and truth.drafts else None,
        steps=steps,
        stop="length",
        server_decode_tps=after / seconds,
        tokens_sha256=hashlib.sha256(f"{text}{prompt}".encode()).hexdigest(),
    )


def altered(samples: SampleSet, arm: Arm, **changes: Any) -> SampleSet:
    """Return a copy whose samples of one arm are changed: values, or functions of the sample."""

    def one(sample: Sample) -> Sample:
        if sample.arm is not arm:
            return sample
        values = {name: value(sample) if callable(value) else value for name, value in changes.items()}
        return replace(sample, **values)

    return SampleSet(samples.header, samples.sessions, tuple(one(sample) for sample in samples.samples))
