"""What a report is made of: values that whoever writes one fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain import Arm, Artifact, Check, Environment, Host, Judgement, SampleSet, Tier
from monitor.views.cost import Prices


@dataclass(frozen=True, slots=True)
class RunView:
    """One run with everything the report tells of it; None where there is nothing to tell."""

    run_id: int
    title: str
    project: str
    version: str
    artifact: Artifact | None
    environment: Environment | None
    reference_version: str | None
    reference_artifact: Artifact | None
    reference_environment: Environment | None
    check: Check
    tier: Tier
    host: Host
    state: str
    reason: str
    judgement: Judgement | None
    reference_samples: SampleSet | None
    candidate_samples: SampleSet | None
    confirm_reference: SampleSet | None
    confirm_candidate: SampleSet | None
    planted: bool
    commands: tuple[tuple[str, str], ...]
    """Pairs of a title and an exact command line."""
    log_tail: str
    prices: Prices | None = None
    """What the owner pays, where that was configured."""
    left_out: Mapping[Arm, str] = field(default_factory=dict)
    """Arms beside the judged ones that did not run, and why."""
    onward_samples: SampleSet | None = None
    """Of the candidate, after its verdict: judged with later releases only."""
    measured_on: int | None = None
    """To how many blocks; None where it was not measured on."""


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """One release and what was decided about it."""

    project: str
    version: str
    state: str
    reason: str | None
    detail: str
    published_at: datetime | None
    artifact_sha256: str | None


@dataclass(frozen=True, slots=True)
class ReportView:
    """A whole report."""

    title: str
    generated_at: datetime
    monitor_version: str
    host: Host
    releases: tuple[ReleaseLine, ...]
    runs: tuple[RunView, ...]
    notes: tuple[str, ...]
