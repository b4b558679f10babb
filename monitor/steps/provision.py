"""Provision: an environment for an artifact, and the weights its check serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitor.checks import models
from monitor.checks.lock import ModelLock
from monitor.domain import JUDGED_ARMS, SERVED, Arm, Artifact, Check, Environment, ModelSpec, is_attached
from monitor.engines import engine_for
from monitor.engines.base import PartialEngine
from monitor.errors import ArmMissingError, UnknownNameError
from monitor.steps import attached
from monitor.steps.station import Station
from monitor.store.queries import artifacts, environments


@dataclass(frozen=True, slots=True)
class Weights:
    """The model files of a check, hashed just now."""

    model: Path
    draft_model: Path | None
    sha256: str
    """Of the model; with a draft model, both joined by `+`. Of a model that is only served, of its names."""
    beside: Mapping[Arm, Path] = field(default_factory=dict)
    """Draft models of the arms measured beside."""

    def draft_for(self, arm: Arm) -> Path | None:
        """Return the draft model or head that an arm is served with."""
        return self.draft_model if arm in {Arm.MTP, Arm.SYNTHETIC} else self.beside.get(arm)


def provision(station: Station, artifact: Artifact) -> Environment:
    """Return the artifact's environment, built from its own source's index unless it is there.

    Of an attached artifact it is what the owner runs, as long as that is still what the artifact stands for.

    Raises:
        ProvisionError: when the release cannot be installed here.
        AttachedChangedError: when something else runs there now.
        SourceError: when the index cannot be reached and the file is not cached, or what is attached does
            not answer.
        ArtifactChangedError: when the index now serves other content under the file's name.
        DiskFullError: when there was no room.
        UnknownNameError: when no source follows the project.

    """
    source = station.settings.source_for(artifact)
    if source is None:
        raise UnknownNameError(
            f"No source follows {artifact.project} {artifact.version}.",
            advice="add one to `sources` in the configuration; an index is used for installing too",
        )
    station.progress.stage(f"environment for {artifact.project} {artifact.version}")
    if is_attached(artifact):
        environment = attached.environment(station.settings, artifact, station.checks)
    else:
        with station.store.read() as db:
            listed = artifacts.of_version(db, artifact.project, artifact.version)
        environment = station.environments.provision(
            artifact,
            source,
            beside=[other for other in listed if other.sha256 != artifact.sha256],
            on_step=station.progress.stage,
        )
    with station.store.write() as db:
        environments.save(db, environment)
    return environment


def require_arms(check: Check, environment: Environment) -> None:
    """Make sure that the release can serve every arm, before anything is measured of it.

    Raises:
        ArmMissingError: when it cannot, by its own design.

    """
    engine = engine_for(check.engine)
    if not isinstance(engine, PartialEngine):
        return
    for arm in JUDGED_ARMS:
        reason = engine.lacks(environment, arm)
        if reason is not None:
            raise ArmMissingError(
                reason,
                kept="the release and its environment",
                advice="nothing: it is measured when a later release can",
            )


def weights(station: Station, check: Check) -> Weights:
    """Return the verified model files of a check, writing or fetching what is missing.

    Of a model that is served already it is the name, and the sha256 is of what its servers call it.

    Raises:
        SourceError: when such a server does not answer.
        ModelError: when a file is missing, altered, not the one it was measured with, or may not be had.
        DiskFullError: when there was no room.

    """
    if check.model.kind == SERVED:
        name, sha256 = attached.served_model(check)
        return Weights(name, None, sha256)
    model = _verified(station, check.model)
    beside = {
        arm: _verified(station, own.model).path for arm, own in check.beside.items() if own.model is not None
    }
    if check.draft_model is None:
        return Weights(model.path, None, model.sha256, beside)
    draft = _verified(station, check.draft_model)
    return Weights(model.path, draft.path, f"{model.sha256}+{draft.sha256}", beside)


def _verified(station: Station, spec: ModelSpec) -> models.VerifiedModel:
    folder, lock = station.settings.models_dir, ModelLock(station.settings.state)
    if models.locate(spec, folder) is None:
        station.progress.stage(f"weights of {spec.name}")
        secret = station.settings.models.token
        models.fetch(
            spec,
            folder,
            secret.get_secret_value() if secret else None,
            endpoint=station.settings.models.endpoint,
            pin=lock.pin(spec),
        )
    verified = models.verify(spec, folder)
    lock.confirm(spec, verified)
    return verified
