"""Plan: which artifact, against which reference, as which run. Each run is made once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from monitor import host as host_module
from monitor.checks import loader
from monitor.domain import (
    ATTACHED_CHANNEL,
    ATTACHED_ENGINES,
    Artifact,
    Check,
    Epoch,
    RunState,
    Tier,
    is_attached,
    measures,
)
from monitor.errors import HostError, UnknownNameError
from monitor.steps import epochs
from monitor.steps.discover import measurable
from monitor.steps.station import Station
from monitor.store.queries import artifacts, queue, releases, runs
from monitor.store.queries.runs import Run
from monitor.validation import nearest

LAST_GOOD = runs.LAST_GOOD
ITSELF = "itself"
"""What an A/A run is compared with: an earlier run of the same artifact."""
DAEMON = "daemon"
"""Who asks for the runs of new releases."""
BISECTION = "bisection"
"""Who asks for a release between a good and a bad one. Such a run is measured only as far as its answer."""
ASKED = 10
"""Priority of what a person asked for: it goes before what the daemon found by itself."""
_SPEC = re.compile(r"(?P<project>[A-Za-z0-9._-]+)==(?P<version>[^@\s]+)(?:@(?P<sha256>[0-9a-fA-F]{4,64}))?")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What somebody (or the daemon) wants measured."""

    check: str
    release: str
    """PROJECT==VERSION[@sha256-prefix]"""
    against: str = LAST_GOOD
    confirm: bool = True
    tier: Tier = Tier.QUICK
    again: bool = False
    """Measure anew although the result is there."""
    requested_by: str = "command line"
    channel: str = "stable"
    priority: int = 0
    """In the queue: higher ones first."""


def runnable_check(station: Station, check_id: str, project: str | None = None) -> Check:
    """Return the check, when this host can run it on the project.

    Raises:
        UnknownNameError: for an unknown check, or one that does not fit the project.
        HostError: when this machine cannot run it, with the reasons.

    """
    check = loader.pick(check_id, station.checks)
    if project is not None and project not in check.projects:
        raise UnknownNameError(
            f"The check {check.id} measures {', '.join(check.projects)}, not {project}.",
            advice="`mtp-monitor checks` shows which check is for which project",
        )
    free = host_module.free_disk(station.settings.state)
    if reasons := host_module.satisfies(station.host, check.requires, free_disk_bytes=free):
        raise HostError(
            f"The check {check.id} cannot run here: {'; '.join(reasons)}.",
            advice="`mtp-monitor doctor` lists the checks that can",
        )
    return check


def split_spec(spec: str) -> tuple[str, str, str | None]:
    """Return project, version and sha256 prefix of PROJECT==VERSION[@sha256-prefix].

    Raises:
        UnknownNameError: when it is written otherwise.

    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise UnknownNameError(
            f"{spec!r} names no release.",
            advice="write PROJECT==VERSION, such as xllamacpp==2026.10.11549, optionally @ and its sha256",
        )
    sha256 = match["sha256"]
    return match["project"], match["version"], sha256.lower() if sha256 else None


def resolve(station: Station, spec: str) -> Artifact:
    """Return the one artifact a release specification means.

    Among several files of a version it is the one this machine would install.

    Raises:
        UnknownNameError: when no stored release fits, or several files do.

    """
    project, version, prefix = split_spec(spec)
    with station.store.read() as db:
        stored = artifacts.of_version(db, project, version)
        known = [row.release.version for row in releases.all_of(db, project)]
    if not stored:
        raise UnknownNameError(
            f"No release {project}=={version} is known.",
            advice=f"{nearest(version, known)} (`mtp-monitor releases --refresh` asks the index again)"
            if known
            else f"nothing of {project} is known: `mtp-monitor releases --refresh` asks those in `sources`",
        )
    if prefix is not None:
        fitting = [artifact for artifact in stored if artifact.sha256.startswith(prefix)]
        if len(fitting) != 1:
            raise UnknownNameError(
                f"{len(fitting)} files of {project}=={version} have a sha256 that begins with {prefix}.",
                advice="give more digits; the files are: "
                + ", ".join(f"{artifact.filename} ({artifact.sha256[:12]})" for artifact in stored),
            )
        return fitting[0]
    chosen = [d.artifact for d in measurable(station, project) if d.release.version == version and d.artifact]
    if chosen:
        return chosen[0]
    # A person may ask for what the policy would skip: too young, yanked, too old.
    if len({artifact.sha256 for artifact in stored}) == 1:
        return stored[0]
    raise UnknownNameError(
        f"{project}=={version} has {len(stored)} files, and none of them is chosen for this machine.",
        advice="name one by its hash: "
        + ", ".join(f"{spec}@{artifact.sha256[:12]} ({artifact.filename})" for artifact in stored[:6]),
    )


def plan(
    station: Station,
    request: RunRequest,
    check: Check,
    artifact: Artifact,
    *,
    queued: bool = False,
) -> Run:
    """Return the run for this request: the one that exists in the epoch that goes on, else a new one.

    A finished run of a lower tier does not count for a full one. With `queued` the run stands in the queue,
    unless it has ended.

    Raises:
        UnknownNameError: when the check measures what the owner runs and the release is to be installed, or
            the other way round: the numbers of one would be told of the other.

    """
    if not measures(check, artifact):
        what = "what runs there, in attached servers" if is_attached(artifact) else "an install"
        raise UnknownNameError(
            f"The check {check.id} (engine {check.engine}) cannot measure {artifact.project} "
            f"{artifact.version}: that is {what}.",
            advice=f"engines {' and '.join(ATTACHED_ENGINES)} are for attached sources, others for installs",
        )
    epoch = epochs.current(station, check, artifact.project)
    now = station.clock()
    with station.store.write() as db:
        existing = [
            run
            for run in runs.find(
                db,
                check_digest=check.digest,
                artifact_sha256=artifact.sha256,
                machine_id=station.host.machine_id,
            )
            if run.tier is request.tier
            and run.state not in (RunState.CANCELLED, RunState.SKIPPED)
            and run.requested_by != BISECTION
            and _belongs(run, epoch)
        ]
        if existing and not (request.again and existing[0].state in _FINISHED):
            found = existing[0]
            if found.epoch_id != epoch.id:
                runs.set_epoch(db, found.id, epoch.id)
            if queued and found.state not in _FINISHED:
                queue.enqueue(db, found.id, due_at=now, priority=request.priority)
            return runs.get(db, found.id) or found
        return runs.create(
            db,
            check=check,
            artifact=artifact,
            host=station.host,
            tier=request.tier,
            requested_by=request.requested_by,
            channel=ATTACHED_CHANNEL if is_attached(artifact) else request.channel,
            epoch_id=epoch.id,
            against=request.against,
            confirm=request.confirm,
            priority=request.priority,
            due_at=now if queued else None,
            now=now,
        )


_FINISHED = (RunState.DONE, RunState.INVALID, RunState.FAILED)


def _belongs(run: Run, epoch: Epoch) -> bool:
    """Say whether a run is one of the epoch, or one that was not begun before the epoch was."""
    return run.epoch_id == epoch.id or (run.state is RunState.PLANNED and run.attempts == 0)


def take_up(station: Station, check: Check, run: Run) -> Run:
    """Return a run of the queue as it is begun now: in the epoch that goes on.

    One that was begun in an earlier epoch begins anew in this one: its sessions were of another boot.
    """
    epoch = epochs.current(station, check, run.project)
    if run.epoch_id == epoch.id:
        return run
    with station.store.write() as db:
        runs.set_epoch(db, run.id, epoch.id)
        return runs.get(db, run.id) or run


def request_of(run: Run) -> RunRequest:
    """Return the request that a run in the queue was planned for."""
    return RunRequest(
        check=run.check_id,
        release=f"{run.project}=={run.version}@{run.artifact_sha256}",
        against=run.against,
        confirm=run.confirm,
        tier=run.tier,
        requested_by=run.requested_by,
        channel=run.channel,
    )


def reference_request(request: RunRequest, artifact: Artifact) -> RunRequest | None:
    """Return what has to be measured as the reference, or None for the last good run or none at all."""
    if request.against in (LAST_GOOD, ITSELF):
        return None
    version, _, prefix = request.against.partition("@")
    project, _, plain = version.rpartition("==")
    spec = f"{project or artifact.project}=={plain}" + (f"@{prefix}" if prefix else "")
    return replace(request, release=spec, against=LAST_GOOD, confirm=False, again=False)


def earlier_of_itself(station: Station, run: Run) -> Run | None:
    """Return the first measurement of a run's own artifact in its epoch, for an A/A run; None before it."""
    with station.store.read() as db:
        alike = [
            other for other in runs.repeated(db, run) if other.requested_by != BISECTION and other.id < run.id
        ]
    return alike[0] if alike else None


def again_in_new_epoch(old: Run) -> RunRequest:
    """Return the request to measure the reference of an earlier epoch in the one that goes on."""
    return RunRequest(
        check=old.check_id,
        release=f"{old.project}=={old.version}@{old.artifact_sha256}",
        confirm=False,
        tier=old.tier,
        requested_by="new epoch",
        channel=old.channel,
    )
