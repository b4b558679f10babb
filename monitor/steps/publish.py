"""Publish: what was found, as one self-contained report file."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Sequence
from pathlib import Path

from monitor.checks import loader
from monitor.domain import Arm, Artifact, Role, RunState, SampleSet
from monitor.errors import UnknownNameError
from monitor.planted.names import is_planted
from monitor.steps.costs import prices_of
from monitor.steps.discover import listing
from monitor.steps.measure import Slot, log_of
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import (
    arms,
    artifacts,
    checks,
    environments,
    hosts,
    judgements,
    runs,
    sessions,
)
from monitor.store.queries.releases import ReleaseRow
from monitor.store.queries.runs import Run
from monitor.views import report
from monitor.views.models import ReleaseLine, ReportView, RunView

_LOG_TAIL_BYTES = 4096


def publish(
    station: Station, run_ids: Sequence[int], path: Path, *, title: str, notes: Sequence[str] = ()
) -> Path:
    """Write the report of some runs, in the order given, and return where it is.

    Raises:
        UnknownNameError: for a run that does not exist.

    """
    views = tuple(run_view(station, run_id) for run_id in run_ids)
    projects = {view.project for view in views}
    lines = tuple(release_line(row) for row in listing(station) if row.release.project in projects)
    view = ReportView(
        title=title,
        generated_at=station.clock(),
        monitor_version=importlib.metadata.version("mtp-monitor"),
        host=station.host,
        releases=lines,
        runs=views,
        notes=tuple(notes),
    )
    return report.write(view, path)


def release_line(row: ReleaseRow) -> ReleaseLine:
    """Return a stored release as lists show it."""
    release = row.release
    return ReleaseLine(
        project=release.project,
        version=release.version,
        state=row.state,
        reason=row.reason,
        detail=row.detail,
        published_at=release.published_at,
        artifact_sha256=release.artifacts[0].sha256 if len(release.artifacts) == 1 else None,
    )


def run_view(station: Station, run_id: int) -> RunView:
    """Return everything a report shows of one run.

    Raises:
        UnknownNameError: when there is no such run.

    """
    with station.store.read() as db:
        run = runs.get(db, run_id)
        if run is None:
            raise UnknownNameError(
                f"There is no run {run_id}.", advice="`mtp-monitor report -o FILE` shows the newest one"
            )
        reference = runs.get(db, run.reference_run_id) if run.reference_run_id else None
        files: list[Artifact | None] = [
            artifacts.with_content(db, one.artifact_sha256) if one else None for one in (run, reference)
        ]
        built = [
            environments.get(db, one.environment_key) if one and one.environment_key else None
            for one in (run, reference)
        ]
        # As they were when it was measured: the configuration may have moved on since.
        check = checks.get(db, run.check_digest) or loader.pick(run.check_id, station.checks)
        host = hosts.get(db, run.host) or station.host
        confirm = sessions.load(db, run.id, Subject.REFERENCE, Role.CONFIRM)
        return RunView(
            run_id=run.id,
            title=check.title,
            project=run.project,
            version=run.version,
            artifact=files[0],
            environment=built[0],
            reference_version=reference.version if reference else None,
            reference_artifact=files[1],
            reference_environment=built[1],
            check=check,
            tier=run.tier,
            host=host,
            state=run.state,
            reason=run.reason,
            judgement=judgements.get(db, run.id),
            reference_samples=sessions.compared_with(db, run.id, run.reference_run_id),
            candidate_samples=sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN),
            onward_samples=sessions.load(db, run.id, Subject.CANDIDATE, Role.ONWARD),
            measured_on=sessions.measured_on(db, run.id),
            confirm_reference=confirm,
            confirm_candidate=sessions.load(db, run.id, Subject.CANDIDATE, Role.CONFIRM),
            planted=is_planted(run.version),
            commands=_commands(run, reference, confirmed=confirm is not None),
            log_tail=_log_tail(station, run) if run.state is RunState.FAILED else "",
            prices=prices_of(station.settings.host),
            left_out=arms.left_out(db, run.id),
        )


def _commands(run: Run, reference: Run | None, *, confirmed: bool) -> tuple[tuple[str, str], ...]:
    """Return the commands that repeat the run and judge it again, with what each is for."""
    spec = f"{run.project}=={run.version}@{run.artifact_sha256[:12]}"
    again = ["mtp-monitor", "run", run.check_id, "--release", spec, "--again"]
    if reference is not None:
        again += ["--against", f"{reference.version}@{reference.artifact_sha256[:12]}"]
    export = ["mtp-monitor", "export", str(run.id)]
    folder = f"run-{run.id}"
    judge = ["mtp-monitor", "judge", f"{folder}/reference.jsonl", f"{folder}/candidate.jsonl"]
    if confirmed:
        judge += ["--confirm", f"{folder}/confirm-reference.jsonl", f"{folder}/confirm-candidate.jsonl"]
    commands = [("Measure it again", shlex.join(again)), ("Export what was measured", shlex.join(export))]
    if reference is not None:
        commands.append(("Judge the export, without database or engine", shlex.join(judge)))
    return tuple(commands)


def _log_tail(station: Station, run: Run) -> str:
    """Return the end of the newest engine log of a run, whatever bytes it holds."""
    any_slot = Slot(0, Arm.BASELINE, 0, 0, Role.SCREEN, Subject.CANDIDATE)
    folder = log_of(station, run.id, any_slot).parent
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    if not logs:
        return ""
    return logs[-1].read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", errors="replace")


def newest_run(station: Station) -> int | None:
    """Return the number of the run that was planned last, or None."""
    with station.store.read() as db:
        recent = [run for run in runs.recent(db) if run.against != runs.SWEEP]
    return recent[0].id if recent else None


def sample_sets(station: Station, run_id: int) -> dict[str, SampleSet]:
    """Return name of the exported file → what it holds; only what was measured.

    Raises:
        UnknownNameError: when there is no such run, or nothing was measured in it.

    """
    view = run_view(station, run_id)
    found = {
        "reference": view.reference_samples,
        "candidate": view.candidate_samples,
        "confirm-reference": view.confirm_reference,
        "confirm-candidate": view.confirm_candidate,
        "onward": view.onward_samples,
    }
    with station.store.read() as db:
        # What a slow drift was confirmed by: the epoch's first good release beside this one.
        found["drift-first"] = sessions.load(db, run_id, Subject.FIRST, Role.DRIFT)
        found["drift-candidate"] = sessions.load(db, run_id, Subject.CANDIDATE, Role.DRIFT)
    sets = {name: samples for name, samples in found.items() if samples is not None}
    if not sets:
        raise UnknownNameError(
            f"Run {run_id} is {view.state}: no session of it is complete.", advice=view.reason
        )
    return sets
