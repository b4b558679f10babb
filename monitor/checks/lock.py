"""The lock file of the models: which commit and files each model was measured with first.

A check may name a branch of a hub, or files of the owner. What was there at the first run is written down;
other files later are an error until a person accepts them: a series over two sets of weights says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.checks.digest import model_identity
from monitor.checks.models import Pin, VerifiedModel, folder_of
from monitor.domain import ModelSpec
from monitor.errors import DiskFullError, ModelError

SCHEMA = "mtp-monitor/models-lock/1"
FILE = "models.lock.json"
_SHOWN = 4


class ModelLock:
    """The lock file in a state folder."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE

    def confirm(self, spec: ModelSpec, found: VerifiedModel) -> None:
        """Write down what a model is when it is measured first, and see that it is that ever after.

        Raises:
            ModelError: when it is not, naming what changed and how to accept it.
            DiskFullError, ModelError: when the file cannot be written or read.

        """
        locked = self._read()
        known = locked.get(model_identity(spec))
        if known is None:
            self._write(locked | {model_identity(spec): _entry(spec, found, generation=1)})
        elif changed := _changed(known, found):
            raise ModelError(
                f"The model {spec.name} is not the one it was measured with: {changed}.",
                kept="everything measured so far",
                advice=f"{_way_back(spec)}, or begin a new epoch with these: "
                f"mtp-monitor models accept {spec.name}",
            )

    def pin(self, spec: ModelSpec) -> Pin | None:
        """Return what a model was measured with first, or accepted as since; None before."""
        known = self._read().get(model_identity(spec))
        return Pin(known.get("commit"), dict(known["files"])) if known is not None else None

    def accept(self, spec: ModelSpec, found: VerifiedModel) -> str:
        """Take the files that are there as the model's from now on; return what changed, "" for nothing."""
        locked = self._read()
        known = locked.get(model_identity(spec))
        changed = _changed(known, found) if known is not None else ""
        if known is None or changed:
            generation = int(known["generation"]) + 1 if known is not None else 1
            self._write(locked | {model_identity(spec): _entry(spec, found, generation=generation)})
        return changed

    def generation(self, spec: ModelSpec) -> int:
        """Return how many sets of files a model has had, from 1; results of two of them do not compare."""
        known = self._read().get(model_identity(spec))
        return int(known["generation"]) if known is not None else 1

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            models: dict[str, Any] = content["models"]
            for entry in models.values():
                int(entry["generation"]), dict(entry["files"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The lock file of the models {self._file} cannot be understood: {error!r}.",
                kept="the file, as it is",
                advice="restore it from a backup; without it nobody knows which weights were measured",
            ) from error
        return models

    def _write(self, models: Mapping[str, Any]) -> None:
        part = self._file.with_name(f".{FILE}.{os.getpid()}")
        document = {"schema": SCHEMA, "models": dict(sorted(models.items()))}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            part.replace(self._file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DiskFullError(
                f"The lock file of the models {self._file} cannot be written: {error.strerror or error}.",
                kept="the old one",
                advice="free some space, and see whether the state folder may be written to",
            ) from error


def _way_back(spec: ModelSpec) -> str:
    if spec.kind != "huggingface":
        return "put the old files back"
    folder = folder_of(spec, Path()).name
    return f"remove the folder {folder} of the models, and the old files are fetched again"


def _entry(spec: ModelSpec, found: VerifiedModel, *, generation: int) -> dict[str, Any]:
    return {
        "name": spec.name,
        "repository": spec.repository,
        "wanted_revision": spec.revision,
        "commit": found.revision,
        "generation": generation,
        "files": dict(sorted(found.files.items())),
    }


def _changed(known: Mapping[str, Any], found: VerifiedModel) -> str:
    """Say in words what is different; "" when the files are the same, whatever the commit is called."""
    old, new = dict(known["files"]), found.files
    kinds = {
        "is another file": [name for name in old if name in new and old[name] != new[name]],
        "is gone": [name for name in old if name not in new],
        "is new": [name for name in new if name not in old],
    }
    parts = [
        f"{', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''} {what}"
        for what, names in kinds.items()
        if names
    ]
    if parts and known.get("commit") != found.revision:
        parts.append(f"commit {str(known.get('commit'))[:12]} → {str(found.revision)[:12]}")
    return "; ".join(parts)
