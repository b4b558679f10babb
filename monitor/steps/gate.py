"""Gate: whether a release is safe to upgrade to on this host, from what is stored. Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from sqlmodel import Session as Db

from monitor.checks import loader
from monitor.domain import Artifact, Check, IncidentState, RunState, Verdict, measures
from monitor.errors import HostError, UnknownNameError
from monitor.steps import epochs as stretches
from monitor.steps import plan
from monitor.steps.states import MONITOR
from monitor.steps.station import Station
from monitor.store.queries import artifacts, epochs, incidents, judgements, releases, runs
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED
from monitor.validation import nearest


class Safety(StrEnum):
    """What a gate says, of one check or of a release."""

    SAFE = "safe"
    UNDECIDED = "undecided"
    """Not measured, without anything to compare it with, inconclusive or invalid."""
    REGRESSED = "regressed"
    BROKEN = "broken"
    """It does not install, start or answer."""


_WORST_FIRST = (Safety.BROKEN, Safety.REGRESSED, Safety.UNDECIDED, Safety.SAFE)
_OF_VERDICT = {
    Verdict.UNCHANGED: Safety.SAFE,
    Verdict.IMPROVED: Safety.SAFE,
    Verdict.REGRESSED: Safety.REGRESSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """What one check says of a release."""

    check: str
    check_title: str
    safety: Safety
    reason: str
    """In one sentence."""
    run: int | None
    """The newest run of the release; null when there is none."""
    state: RunState | None
    verdict: Verdict | None
    against: str | None
    """Version of the reference it was compared with."""
    measured_at: datetime | None
    to_measure: bool
    """No result holds now: measuring it would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Whether a release is safe to upgrade to on this host."""

    schema: Literal["mtp-monitor/gate/1"] = "mtp-monitor/gate/1"
    project: str
    version: str
    host: str
    safety: Safety
    """The worst of its checks."""
    code: int
    """Exit code of `mtp-monitor gate`: 0 safe, 3 regressed, 4 undecided, 5 broken."""
    reason: str
    checks: list[GateLine]
    left_out: list[str]
    """Assigned checks that this host cannot run, with why."""


CODES = {Safety.SAFE: 0, Safety.REGRESSED: 3, Safety.UNDECIDED: 4, Safety.BROKEN: 5}


def gate(station: Station, release: str, check_ids: Sequence[str] = ()) -> Gate:
    """Return what is known of a release (PROJECT==VERSION[@sha256-prefix]) on some checks.

    By default on those that are assigned to its project and that this host can run. The worst of them counts.

    Raises:
        UnknownNameError: for a release or check that is not known, or that do not fit together.
        HostError: when a named check cannot be run here.

    """
    project, version, prefix = plan.split_spec(release)
    with station.store.read() as db:
        files = _files(station, db, project, version, prefix)
    checks, left_out = _checks(station, project, check_ids)
    with station.store.read() as db:
        lines = [_line(station, db, check, files) for check in checks]
    worst = min((line.safety for line in lines), key=_WORST_FIRST.index, default=Safety.UNDECIDED)
    told = [line for line in lines if line.safety is worst]
    more = f" ({len(told)} of {len(lines)} checks)" if len(lines) > 1 else ""
    reason = f"{told[0].reason}{more}" if told else "This host can run none of the checks assigned to it."
    return Gate(
        project=project,
        version=version,
        host=station.host.name,
        safety=worst,
        code=CODES[worst],
        reason=reason,
        checks=lines,
        left_out=left_out,
    )


def _files(station: Station, db: Db, project: str, version: str, prefix: str | None) -> list[Artifact]:
    files = [
        file
        for file in artifacts.of_version(db, project, version)
        if prefix is None or file.sha256.startswith(prefix)
    ]
    if not files:
        known = [row.release.version for row in releases.all_of(db, project)]
        followed = any(source.project == project for source in station.settings.sources)
        raise UnknownNameError(
            f"No release {project}=={version}{f'@{prefix}' if prefix else ''} is known.",
            advice=f"{nearest(version, known)} (`mtp-monitor releases --refresh` asks its source again)"
            if known
            else "`mtp-monitor releases --refresh` asks its source"
            if followed
            else "add a source of it to the configuration",
        )
    return files


def _checks(station: Station, project: str, check_ids: Sequence[str]) -> tuple[list[Check], list[str]]:
    if check_ids:
        return [plan.runnable_check(station, check_id, project) for check_id in check_ids], []
    assigned = station.settings.checks_of(project)
    if not assigned:
        raise UnknownNameError(
            f"No check is assigned to {project}.", advice="name one with --check, or add `[[assignments]]`"
        )
    checks, left_out = [], []
    for check_id in assigned:
        try:
            checks.append(plan.runnable_check(station, check_id, project))
        except HostError as error:
            left_out.append(error.what)
    return checks, left_out


def _line(station: Station, db: Db, check: Check, files: Sequence[Artifact]) -> GateLine:
    run = _newest(station, db, check, files)
    judgement = judgements.get(db, run.id) if run is not None else None
    safety, reason, to_measure = _answer(station, db, check, run)
    reference = judgement.reference if judgement is not None else None
    return GateLine(
        check=check.id,
        check_title=loader.pick(check.id, station.checks).title,
        safety=safety,
        reason=reason,
        run=run.id if run is not None else None,
        state=run.state if run is not None else None,
        verdict=judgement.verdict if judgement is not None else None,
        against=reference.version if reference is not None else None,
        measured_at=run.finished_at if run is not None else None,
        to_measure=to_measure,
    )


def _newest(station: Station, db: Db, check: Check, files: Sequence[Artifact]) -> Run | None:
    """Return the newest run of any of the files that is part of the series: an ended one before others."""
    found = [
        run
        for sha256 in {file.sha256 for file in files if measures(check, file)}
        for run in runs.find(
            db, check_digest=check.digest, artifact_sha256=sha256, machine_id=station.host.machine_id
        )
        if run.against == runs.LAST_GOOD and run.state not in {RunState.CANCELLED, RunState.SKIPPED}
    ]
    return max(found, key=lambda run: (run.state in ENDED, run.id), default=None)


def _answer(station: Station, db: Db, check: Check, run: Run | None) -> tuple[Safety, str, bool]:
    """Return what a run says, in words, and whether measuring (again) would help."""
    if run is None:
        return Safety.UNDECIDED, f"It was not measured here on {check.id}.", True
    if run.state not in ENDED:
        return Safety.UNDECIDED, f"Run {run.id} of it is {run.state}.", True
    if (forgiven := _forgiven(station, db, check, run)) is not None:
        return Safety.SAFE, forgiven, False
    if not _holds(station, db, check, run):
        return Safety.UNDECIDED, "It was measured before this machine changed (driver, kernel).", True
    return _result(db, run)


def _result(db: Db, run: Run) -> tuple[Safety, str, bool]:
    if run.state is RunState.FAILED and run.stage == MONITOR:
        return Safety.UNDECIDED, f"It could not be measured: {run.reason}", True
    judgement = judgements.get(db, run.id)
    if run.state is RunState.FAILED or judgement is None:
        return Safety.BROKEN if run.state is RunState.FAILED else Safety.UNDECIDED, run.reason, False
    safety = _OF_VERDICT.get(judgement.verdict, Safety.UNDECIDED)
    if safety is Safety.SAFE and judgement.reference is None:
        safety = Safety.UNDECIDED  # a sound first measurement has nothing to be as good as
    return safety, judgement.headline, False


def _holds(station: Station, db: Db, check: Check, run: Run) -> bool:
    """Say whether the run is of the epoch that goes on, and the machine still what it was when that began."""
    epoch = epochs.current(
        db, machine_id=station.host.machine_id, project=run.project, check_digest=check.digest
    )
    return (
        epoch is not None
        and run.epoch_id == epoch.id
        and epoch.conditions == stretches.conditions_here(station, check)
    )


def _forgiven(station: Station, db: Db, check: Check, run: Run) -> str | None:
    """Return who decided that a loss of this run is none, and how; None when nobody did."""
    epoch = epochs.current(
        db, machine_id=station.host.machine_id, project=run.project, check_digest=check.digest
    )
    accepted = runs.get(db, epoch.reference_run_id) if epoch and epoch.reference_run_id else None
    if epoch is not None and accepted is not None and accepted.artifact_sha256 == run.artifact_sha256:
        why = epoch.reason.removeprefix(stretches.ACCEPTED)
        return f"{epoch.who} accepted it as the reference: {why}"
    for incident in incidents.of_run(db, run.id):
        if incident.state is IncidentState.FALSE_ALARM and run.id in {
            incident.first_bad_run_id,
            incident.latest_bad_run_id,
            incident.worst_run_id,
        }:
            step = incidents.log(db, incident.id)[-1]
            return f"{step.who} called its loss a false alarm: {step.why}"
    return None
