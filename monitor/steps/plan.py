"""Plan: which artifact, against which reference, as which run. Each run is made once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from monitor import host as host_module
from monitor.checks import loader
from monitor.domain import Artifact, Check, RunState, Tier
from monitor.errors import HostError, UnknownNameError
from monitor.steps.discover import measurable
from monitor.steps.station import Station
from monitor.store.queries import checks, releases, runs
from monitor.store.queries.runs import Run
from monitor.validation import nearest

LAST_GOOD = "last-good"
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
        stored = releases.artifacts_of(db, project, version)
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


def plan(station: Station, request: RunRequest, check: Check, artifact: Artifact) -> Run:
    """Return the run for this request: the one that exists, else a new one.

    A finished run of a lower tier does not count for a full one.
    """
    with station.store.write() as db:
        checks.save(db, check, now=station.clock())
        existing = [
            run
            for run in runs.find(
                db,
                check_digest=check.digest,
                artifact_sha256=artifact.sha256,
                machine_id=station.host.machine_id,
            )
            if run.tier is request.tier and run.state not in (RunState.CANCELLED, RunState.SKIPPED)
        ]
        finished = (RunState.DONE, RunState.INVALID, RunState.FAILED)
        if existing and not (request.again and existing[0].state in finished):
            return existing[0]
        return runs.create(
            db,
            check=check,
            artifact=artifact,
            host=station.host,
            tier=request.tier,
            requested_by=request.requested_by,
            now=station.clock(),
        )


def reference_request(request: RunRequest, artifact: Artifact) -> RunRequest | None:
    """Return what has to be measured as the reference, or None for the last good run or none at all."""
    if request.against == LAST_GOOD:
        return None
    version, _, prefix = request.against.partition("@")
    project, _, plain = version.rpartition("==")
    spec = f"{project or artifact.project}=={plain}" + (f"@{prefix}" if prefix else "")
    return replace(request, release=spec, against=LAST_GOOD, confirm=False, again=False)


def last_good(station: Station, check: Check, artifact: Artifact) -> Run | None:
    """Return the last good run of the series, which is not of the artifact itself."""
    with station.store.read() as db:
        return runs.last_good(
            db,
            check_digest=check.digest,
            machine_id=station.host.machine_id,
            project=artifact.project,
            exclude_sha256=artifact.sha256,
        )
