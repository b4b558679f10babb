"""Handmade sample sets and runs of every verdict, for tests of views.

Sample sets follow a simple machine: a step takes a while, yields one token and what is accepted of the
draft. Verdicts over them come from the judge, so views meet what they will meet.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from factory_values import HOSTILE, NOW, artifact, check, environment, host, sha
from monitor.domain import (
    Arm,
    Check,
    Header,
    Prompt,
    Role,
    Sample,
    SampleSet,
    Session,
    Tier,
)
from monitor.judge.verdict import judge
from monitor.views.report import ReleaseLine, ReportView, RunView


@dataclass(frozen=True)
class Machine:
    """What decides a made-up measurement; times in seconds, noise as a standard deviation of logs."""

    acceptance: float = 0.79
    base_step_s: float = 1 / 126
    draft_cost: float = 0.85
    """How much longer a step with drafts is, as a part of a step without."""
    session_noise: float = 0.03
    drafts: int = 3
    seed: int = 1
    token_seed: int = 7


def samples(
    version: str,
    machine: Machine | None = None,
    *,
    of: Check | None = None,
    blocks: int = 3,
    role: Role = Role.SCREEN,
    began: datetime = NOW,
    positions: bool = True,
) -> SampleSet:
    """Return sessions of both arms in turn, 20 s each, with one sample a prompt of 128 tokens."""
    machine, of = machine or Machine(), of or check()
    chance = random.Random(f"{version}-{role}-{machine.seed}")  # noqa: S311
    sessions, measured = [], []
    for number in range(2 * blocks):
        arm = (Arm.BASELINE, Arm.MTP)[number % 2]
        drift = chance.gauss(0, machine.session_noise)
        sessions.append(
            Session(
                session=number,
                arm=arm,
                block=number // 2,
                order=number % 2,
                role=role,
                started_at=began + timedelta(seconds=20 * number),
                startup_s=1.1 + 0.1 * chance.random(),
                effective={
                    "build_info": f"b11549-{version}",
                    "n_ctx": 2048,
                    "threads": 2,
                    "speculation": "mtp" if arm is Arm.MTP and machine.drafts else "none",
                },
            )
        )
        measured += [
            _sample(machine, sessions[-1], prompt, drift=drift, chance=chance, positions=positions)
            for workload in of.workloads
            for prompt in workload.prompts
        ]
    header = Header(
        check=of.id,
        check_digest=of.digest,
        project="xllamacpp",
        version=version,
        artifact_sha256=artifact(version).sha256,
        host=host().machine_id,
        hardware_class=host().hardware_class,
        draft_length=of.draft_length,
        sampling=of.sampling,
        judging=of.judging,
        model_sha256=sha("model"),
    )
    return SampleSet(header, tuple(sessions), tuple(measured))


def _sample(
    machine: Machine,
    session: Session,
    prompt: Prompt,
    *,
    drift: float,
    chance: random.Random,
    positions: bool,
) -> Sample:
    arm = session.arm
    fixed = random.Random(f"{prompt.id}-{machine.acceptance}-{machine.drafts}")  # noqa: S311
    text = random.Random(f"{prompt.id}-{machine.token_seed}")  # noqa: S311
    n, drafted, steps, left = 128, 0, 0, 127
    by_position = [0] * machine.drafts
    while left > 0:
        steps, left = steps + 1, left - 1
        if arm is Arm.BASELINE:
            continue
        offered = min(machine.drafts, left)
        drafted += offered
        for place in range(offered):
            if fixed.random() > machine.acceptance:
                break
            by_position[place] += 1
            left -= 1
    mtp = arm is Arm.MTP and machine.drafts > 0
    step_s = machine.base_step_s * (1 + machine.draft_cost if mtp else 1)
    decode_s = steps * step_s * (1 + drift + chance.gauss(0, machine.session_noise / 3))
    return Sample(
        session=session.session,
        arm=arm,
        workload=prompt.workload,
        prompt=prompt.id,
        repeat=0,
        n=n,
        n_first=1,
        ttft_s=0.0124 * (1 + abs(drift)),
        decode_s=decode_s,
        prompt_tokens=len(prompt.text or "") + 8,
        drafted=drafted if arm is Arm.MTP else None,
        accepted=sum(by_position) if arm is Arm.MTP else None,
        steps=steps,
        accepted_per_position=tuple(by_position) if arm is Arm.MTP and positions and machine.drafts else None,
        stop="length",
        server_decode_tps=127 / decode_s * 1.004,
        token_ids=tuple(text.randrange(260) for _ in range(n)),
    )


# ---------------------------------------------------------------------------------------------
# Runs, one of each kind

OLD, NEW = "0.2.40", "0.2.41"
PLANTED = f"{NEW}+planted.worse.head"
_COMMANDS = (
    (
        "Run this check again",
        f"mtp-monitor run synthetic-qwen35-cpu --release xllamacpp=={NEW} --against {OLD}",
    ),
    ("Judge the measurements again", "mtp-monitor judge reference.jsonl candidate.jsonl --json"),
)


def run(
    version: str,
    candidate: SampleSet | None,
    reference: SampleSet | None = None,
    *,
    confirm: tuple[SampleSet, SampleSet] | None = None,
    of: Check | None = None,
    run_id: int = 1,
) -> RunView:
    judged = judge(reference, candidate, confirm=confirm) if candidate else None
    return RunView(
        run_id=run_id,
        title=f"xllamacpp {version}",
        project="xllamacpp",
        version=version,
        artifact=artifact(version),
        environment=environment(version, (("numpy", "2.3.5"), ("typing-extensions", "4.15.0"))),
        reference_version=OLD if reference else None,
        reference_artifact=artifact(OLD) if reference else None,
        reference_environment=environment(OLD, (("numpy", "2.3.4"), ("packaging", "25.0")))
        if reference
        else None,
        check=of or check(),
        tier=Tier.QUICK,
        host=host(),
        state="done" if judged else "failed",
        reason="",
        judgement=judged,
        reference_samples=reference,
        candidate_samples=candidate,
        confirm_reference=confirm[0] if confirm else None,
        confirm_candidate=confirm[1] if confirm else None,
        planted="+planted" in version,
        commands=_COMMANDS,
        log_tail="",
    )


@cache
def planted(run_id: int = 2) -> RunView:
    """Return a run with a worse head: less is accepted, steps are as long as before; confirmed."""
    worse, later = Machine(acceptance=0.5), NOW + timedelta(minutes=5)
    confirm = (
        samples(OLD, blocks=2, role=Role.CONFIRM, began=later),
        samples(PLANTED, worse, blocks=2, role=Role.CONFIRM, began=later + timedelta(seconds=10)),
    )
    return run(PLANTED, samples(PLANTED, worse), samples(OLD, blocks=4), confirm=confirm, run_id=run_id)


@cache
def unchanged(run_id: int = 1) -> RunView:
    quiet = Machine(session_noise=0.002)
    return run(NEW, samples(NEW, quiet, blocks=4), samples(OLD, quiet, blocks=6), run_id=run_id)


@cache
def inconclusive(run_id: int = 3) -> RunView:
    """Return a run with equal counts and times too noisy to decide; only two sessions an arm."""
    noisy, before = Machine(session_noise=0.12), NOW - timedelta(minutes=10)
    return run(NEW, samples(NEW, noisy, blocks=2), samples(OLD, noisy, blocks=2, began=before), run_id=run_id)


@cache
def first(run_id: int = 4) -> RunView:
    return run(OLD, samples(OLD), run_id=run_id)


@cache
def watched(run_id: int = 10) -> RunView:
    """Return a run on a GPU that was watched: one session under a power cap, one disturbed."""
    before = run(NEW, samples(NEW, blocks=4), samples(OLD, blocks=6), run_id=run_id)
    return replace(
        before,
        reference_samples=_on_gpu(before.reference_samples),
        candidate_samples=_on_gpu(before.candidate_samples, capped=0, disturbed=3),
    )


def _on_gpu(of: SampleSet | None, *, capped: int = -1, disturbed: int = -1) -> SampleSet | None:
    if of is None:
        return None
    sessions = tuple(
        replace(
            one,
            energy_j=4000.0 - 150 * one.session,
            gpu_memory_bytes=61 * 2**30,
            gpu={
                "readings": 40,
                "sm_clock_mhz": [2300, 2550, 2617],
                "memory_clock_mhz": [13365, 13365, 13365],
                "temperature_c": [48, 66, 71],
                "power_w": [210.5, 452.0, 598.9],
                "utilisation_percent": [0, 99, 100],
                "p_states": [1],
                "trace": [
                    [0.5 * n, 2617 - 8 * n, 13365, 48 + n // 2, 300.0 + 6 * n + 20 * (one.session % 2)]
                    for n in range(40)
                ],
                **({"flags": {"power cap": 0.4}} if one.session == capped else {}),
                **(
                    {"contaminated": 2, "contaminated_by": ["hardware slowdown"]}
                    if one.session == disturbed
                    else {}
                ),
            },
        )
        for one in of.sessions
    )
    return replace(of, header=replace(of.header, roofline_tokens_per_s=190.0), sessions=sessions)


@cache
def one_session(run_id: int = 9) -> RunView:
    """Return a run of one workload with one session an arm: nothing can be said about noise."""
    one = check(workloads=("code",), prompts=1)
    return run(NEW, samples(NEW, of=one, blocks=1), samples(OLD, of=one, blocks=1), of=one, run_id=run_id)


@cache
def speculation_off(run_id: int = 5) -> RunView:
    return run(NEW, samples(NEW, Machine(drafts=0)), samples(OLD), run_id=run_id)


@cache
def invalid(run_id: int = 6) -> RunView:
    """Return a run whose prompts were read as other tokens, so nothing can be compared."""
    other = samples(NEW)
    moved = tuple(replace(sample, prompt_tokens=99) for sample in other.samples)
    return run(NEW, replace(other, samples=moved), samples(OLD), run_id=run_id)


@cache
def failed(run_id: int = 7) -> RunView:
    return replace(
        run(NEW, None, run_id=run_id),
        reason="does not start",
        reference_version=OLD,
        log_tail="load_model: loading model\n\x1b[31merror\x1b[0m: unknown model architecture 'qwen35'\n"
        "main: exiting due to model loading error\n",
    )


@cache
def hostile(run_id: int = 8) -> RunView:
    """Return a run in which every text from outside tries to break out of the page."""
    one = check(workloads=(HOSTILE,), prompts=1)
    candidate, reference = samples(NEW, of=one, blocks=2), samples(OLD, of=one, blocks=2)
    strange = tuple(replace(s, effective={HOSTILE: HOSTILE}) for s in candidate.sessions)
    base = run(NEW, replace(candidate, sessions=strange), reference, of=one, run_id=run_id)
    assert base.judgement
    return replace(
        base,
        title=HOSTILE,
        project=HOSTILE,
        version=HOSTILE,
        reference_version=HOSTILE,
        reason=HOSTILE,
        log_tail=HOSTILE,
        artifact=replace(artifact(NEW), filename=HOSTILE, sha256=HOSTILE, url=f"javascript:{HOSTILE}"),
        check=replace(one, title=HOSTILE, id=HOSTILE),
        host=replace(host(), name=HOSTILE, cpu=HOSTILE),
        judgement=replace(base.judgement, headline=HOSTILE),
        commands=((HOSTILE, HOSTILE),),
    )


def every_kind() -> tuple[RunView, ...]:
    kinds = (unchanged, planted, inconclusive, first, speculation_off, invalid, failed, hostile, one_session)
    return tuple(kind(number) for number, kind in enumerate(kinds, start=1))


def release_lines() -> tuple[ReleaseLine, ...]:
    def line(
        version: str, state: str, reason: str | None = None, detail: str = "", age: int = 0
    ) -> ReleaseLine:
        published = NOW - timedelta(days=age) if age else None
        return ReleaseLine("xllamacpp", version, state, reason, detail, published, artifact(version).sha256)

    return (
        line("0.2.12", "skipped", "too old", "MTP came with 0.2.30", 140),
        line("0.2.38", "skipped", "yanked", "broken wheel", 31),
        line("0.2.39", "skipped", "coalesced", "a newer release was measured instead", 20),
        line(OLD, "planned", None, "", 16),
        line(NEW, "planned", None, "", 9),
        line("0.2.42", "settling", None, "its last file is 12 minutes old"),
    )


def report(*runs: RunView) -> ReportView:
    return ReportView(
        title="xllamacpp: MTP speculation on this machine",
        generated_at=NOW,
        monitor_version="0.1.0",
        host=host(),
        releases=release_lines(),
        runs=runs or every_kind(),
        notes=("The package index did not answer; releases are as of 23 November 2026.",),
    )
