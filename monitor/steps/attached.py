"""Attached: what runs at an engine that its owner runs, looked at without touching it.

One look asks the servers of the attached checks, runs the commands of the source, lists the packages of its
Python and reads the GPU's driver. Together they are the fingerprint, which stands in for a file: the source
lists it as a release, provisioning compares it, and so does every session when it has ended, for an upgrade
does not wait until the measurement is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from monitor.bench import probe
from monitor.domain import ATTACHED_ENGINES, JUDGED_ARMS, Artifact, Check, Environment, Fingerprint
from monitor.engines.base import Dialect, Served
from monitor.engines.endpoint import EndpointEngine, address_of, dialect_of
from monitor.environments import attached as environments
from monitor.errors import ConfigurationError, HostError, SourceError
from monitor.gpu.identity import read_gpus
from monitor.releases.attached import agreed
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings

_PAGE_S = 10.0  # for one state page of a server


def look(settings: Settings, source: SourceSettings, checks: Mapping[str, Check]) -> Fingerprint:
    """Return what runs now at an attached source. Must not be called from a running event loop.

    Raises:
        SourceError: a server, command or package list could not be read, or they contradict each other.

    """
    mine = [checks[name] for name in settings.checks_of(source.project) if name in checks]
    servers = served(check for check in mine if check.engine in ATTACHED_ENGINES)
    python_version, packages = environments.installed(source.python) if source.python else ("", ())
    said = environments.said_by("version_command", source.version_command) if source.version_command else None
    image = environments.said_by("image_command", source.image_command) if source.image_command else None
    version, words = agreed(
        source.project,
        servers={address: one.version for address, one in servers.items() if one.version},
        command=said,
        package=next((p.version for p in packages if p.name == canonicalize_name(source.project)), None),
    )
    return Fingerprint(
        project=source.project,
        version=version,
        engine=words,
        served=tuple(sorted((address, one.model) for address, one in servers.items() if one.model)),
        packages=packages,
        python_version=python_version,
        driver=_driver(),
        image=" ".join(image.split()) if image else None,
    )


def environment(settings: Settings, artifact: Artifact, checks: Mapping[str, Check]) -> Environment:
    """Return the environment of an attached artifact, as long as it still is what runs.

    Raises:
        AttachedChangedError: something else runs there now.
        SourceError: it cannot be looked at.
        ConfigurationError: no attached source follows its project any more.

    """
    source = _source(settings, artifact)
    return environments.environment_of(artifact, look(settings, source, checks), source.python)


def confirm_unchanged(settings: Settings, artifact: Artifact, checks: Mapping[str, Check]) -> None:
    """Do nothing while what runs is what the artifact stands for; raises as `environment` does."""
    environments.confirm_unchanged(artifact, look(settings, _source(settings, artifact), checks))


def served_model(check: Check) -> tuple[Path, str]:
    """Return the name of a model that only its server knows, as a path, and a sha256 that stands for it.

    The sha256 is of the names the check's servers give it; nobody here sees the weights.

    Raises:
        SourceError: a server does not answer.

    """
    names = [one.model or "" for one in served([check]).values()]
    identity = json.dumps({"served": check.model.name, "names": names}, sort_keys=True)
    return Path(check.model.name), hashlib.sha256(identity.encode()).hexdigest()


def served(checks: Iterable[Check]) -> dict[str, Served]:
    """Return address → what the server there says of itself, for the checks whose servers run already.

    Raises:
        SourceError: one does not answer, or not as its protocol has it.

    """
    asked: dict[str, Dialect] = {}
    try:
        for check in checks:
            if check.engine == EndpointEngine.name:
                asked |= {address_of(check, arm): dialect_of(check) for arm in JUDGED_ARMS}
    except ConfigurationError as error:
        # One wrong check must not look like a fault of the program, and stops this source alone.
        raise SourceError(error.what, advice=error.advice, permanent=True) from error
    return asyncio.run(_asked(asked))


async def _asked(dialects: Mapping[str, Dialect]) -> dict[str, Served]:
    found = {}
    for address, dialect in dialects.items():
        documents = {path: await _document(address + path) for path in dialect.fact_paths}
        known = {path: document for path, document in documents.items() if document is not None}
        if not known:
            raise SourceError(
                f"The server at {address} does not answer.",
                kept="what was known of it; nothing is taken for gone",
                advice="start it, or correct the address in the check; it will be tried again",
            )
        found[address] = dialect.served(known)
    return found


async def _document(url: str) -> Any:
    page = await probe.get(url, deadline_s=_PAGE_S)
    try:
        return json.loads(page.text) if page.ok else None
    except (ValueError, RecursionError):
        return None


def _driver() -> str | None:
    try:
        gpus = read_gpus()
    except HostError as error:
        raise SourceError(error.what, kept="what was known of what runs", advice=error.advice) from error
    return str(gpus[0]["driver"]) if gpus and gpus[0].get("driver") else None


def _source(settings: Settings, artifact: Artifact) -> SourceSettings:
    source = settings.source_for(artifact)
    if source is None:
        raise ConfigurationError(
            f"No attached source follows {artifact.project} any more.",
            kept="its results",
            advice='add it to `sources` again: kind = "attached"',
        )
    return source
