"""Earlier: what a release is held against, as it was measured before or can be measured again."""

from __future__ import annotations

from monitor.domain import Role, SampleSet
from monitor.errors import ArtifactChangedError, ProvisionError
from monitor.steps import plan as planning
from monitor.steps.confirm import Unconfirmable
from monitor.steps.measure import Bench, Build
from monitor.steps.provision import provision
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import sessions
from monitor.store.queries.runs import Run


def old_build(bench: Bench, reference: Run, subject: Subject = Subject.REFERENCE) -> Build:
    """Return an old release's build, installed again where its environment is gone.

    Raises:
        Unconfirmable: when the old release cannot be had any more; the new one is not to blame for that.

    """
    spec = f"{reference.project}=={reference.version}@{reference.artifact_sha256}"
    try:
        old = provision(bench.station, planning.resolve(bench.station, spec))
    except (ProvisionError, ArtifactChangedError) as error:
        raise Unconfirmable(f"the old release {reference.version} cannot be installed again") from error
    return Build(subject, old, bench.header(old))


def compared_with(bench: Bench, reference: Run | None) -> SampleSet | None:
    """Return the reference's sessions: those in turns with the candidate, else what it measured before."""
    return bench.stored(Subject.REFERENCE, Role.SCREEN) or samples_of(bench.station, reference)


def samples_of(station: Station, reference: Run | None) -> SampleSet | None:
    """Return what the reference measured when it was a candidate itself, and after its verdict."""
    if reference is None:
        return None
    with station.store.read() as db:
        return sessions.load(db, reference.id, Subject.CANDIDATE, *sessions.AS_REFERENCE)
