"""Where a check's weights lie, how they come there, and whether they are still the ones that came.

Each fetched model has a folder of its own under the models folder, named after the model and the hash of
what decides its weights, with a `manifest.json` that records every file's sha256. A folder without a
manifest is unfinished. Weights of kind `path` are the owner's: they are looked at, never written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor import disk
from monitor.checks.digest import model_identity
from monitor.checks.hub import Hub, HubFile, NotOnHubError, Progress
from monitor.domain import SERVED, Check, ModelSpec
from monitor.errors import DiskFullError, ModelError

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "mtp-monitor/model/1"
_BLOCK = 4 * 2**20  # bytes hashed at a time


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """Weights on disk whose content was just hashed."""

    path: Path
    """What an engine is given: the file, or the folder of a model with several."""
    sha256: str
    """Of the file; of several files, over the lines `<sha256>  <name>` sorted by name."""
    files: dict[str, str]
    bytes: int
    revision: str | None = None
    """The commit a hub's weights were fetched at, also where the check names a branch."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What a model was measured with first: what is fetched from then on, wherever its branch has gone."""

    commit: str | None
    files: Mapping[str, str] = field(default_factory=dict)
    """Name → sha256."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model of the checks, as `models list` shows it."""

    spec: ModelSpec
    checks: tuple[str, ...]
    path: Path | None
    bytes: int | None
    sha256: str | None
    revision: str | None


def models_of(checks: Iterable[Check]) -> dict[str, tuple[ModelSpec, tuple[str, ...]]]:
    """Return identity → (model, ids of the checks that serve it) for the models that have files here."""
    found: dict[str, tuple[ModelSpec, tuple[str, ...]]] = {}
    for check in checks:
        for spec in check.models:
            if spec is not None and spec.kind != SERVED:
                known = found.get(model_identity(spec), (spec, ()))
                found[model_identity(spec)] = (known[0], (*known[1], check.id))
    return found


def list_models(checks: Iterable[Check], models_dir: Path) -> list[ModelStatus]:
    """Return the state of every model of `checks`, without hashing anything."""
    statuses = []
    for spec, ids in models_of(checks).values():
        path = locate(spec, models_dir)
        manifest = _manifest(spec, models_dir) if path else None
        size = None
        if manifest is not None:
            size = sum(int(entry["bytes"]) for entry in manifest["files"].values())
        elif path is not None:
            size = sum(file.stat().st_size for file in _own_files(spec, models_dir))
        statuses.append(
            ModelStatus(
                spec=spec,
                checks=ids,
                path=path,
                bytes=size,
                sha256=_joined(_hashes(manifest)) if manifest else None,
                revision=manifest.get("revision") if manifest else None,
            )
        )
    return statuses


def locate(spec: ModelSpec, models_dir: Path) -> Path | None:
    """Return what an engine is given to serve `spec`, or None when it is not (completely) there.

    Looks at names and sizes only; `verify` reads the content.
    """
    if spec.kind == "path":
        files = _own_files(spec, models_dir)
        if not all(file.exists() for file in files):
            return None
        return files[0] if len(files) == 1 else files[0].parent
    manifest = _manifest(spec, models_dir)
    if manifest is None:
        return None
    folder = folder_of(spec, models_dir)
    for name, entry in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            return None
    return _served(folder, manifest)


def folder_of(spec: ModelSpec, models_dir: Path) -> Path:
    """Return the folder that a fetched model has for itself."""
    return models_dir / f"{spec.name}-{model_identity(spec)[:12]}"


def fetch(
    spec: ModelSpec,
    models_dir: Path,
    token: str | None = None,
    *,
    endpoint: str | None = None,
    pin: Pin | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Bring the weights of `spec` here, unless they are, and return what an engine is given.

    A branch is asked for its commit, unless `pin` says which it was. With `again` what is here is replaced.
    An interrupted download goes on where it stopped. `progress` is told (file, bytes done, bytes in all).
    `token` goes to the hub and nowhere else.

    Raises:
        ModelError: when the weights do not exist, are not what the check or `pin` says, or may not be had.
        DiskFullError: when there is no room; what was complete stays for the next try.

    """
    if not again and (there := locate(spec, models_dir)) is not None:
        return there
    if spec.kind == "path":
        missing = [str(file) for file in _own_files(spec, models_dir) if not file.exists()]
        raise ModelError(
            f"The model {spec.name} is yours to provide, and {', '.join(missing)} does not exist.",
            advice="put the file there, or correct `files` in the check's [model]",
        )
    folder = folder_of(spec, models_dir)
    part = folder.with_name(folder.name + ".part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        if spec.kind == "synthetic":
            manifest = _write_synthetic(spec, part)
        else:
            manifest = _download(spec, part, Hub(token=token, endpoint=endpoint), pin or Pin(None), progress)
        _complete(part, folder, manifest)
    except OSError as error:
        if disk.says_full(error):
            raise DiskFullError(
                f"No room left on the disk for the model {spec.name} in {models_dir}.",
                kept="the files that were complete",
                advice="free some space and fetch again; the download goes on where it stopped",
            ) from error
        raise ModelError(
            f"The model {spec.name} cannot be written to {models_dir}: {error.strerror}.",
            advice="name a models folder that may be written to",
        ) from error
    return _served(folder, manifest)


def verify(spec: ModelSpec, models_dir: Path) -> VerifiedModel:
    """Hash the weights of `spec` again and compare them with the manifest and with what the check pins.

    Raises:
        ModelError: when a file is missing or altered, saying what to do.

    """
    if spec.kind == "path":
        return _verify_own(spec, models_dir)
    manifest = _manifest(spec, models_dir)
    folder = folder_of(spec, models_dir)
    if manifest is None:
        raise ModelError(
            f"The model {spec.name} is not in {models_dir}.",
            advice=f"fetch it: mtp-monitor models fetch {spec.name}",
        )
    for name, entry in manifest["files"].items():
        file = folder / name
        wanted = spec.sha256.get(name, str(entry["sha256"]))
        if not file.is_file():
            _refuse(spec, folder, f"its file {name} is missing")
        if (found := file_sha256(file)) != wanted:
            _refuse(spec, folder, f"its file {name} was altered (sha256 {found[:12]}…, not {wanted[:12]}…)")
    files = _hashes(manifest)
    return VerifiedModel(
        path=_served(folder, manifest),
        sha256=_joined(files),
        files=files,
        bytes=sum(int(entry["bytes"]) for entry in manifest["files"].values()),
        revision=manifest.get("revision"),
    )


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------
# Bringing


def _write_synthetic(spec: ModelSpec, part: Path) -> dict[str, Any]:
    # Only the generator needs numpy and the GGUF writer; listing models should not wait for them.
    from monitor.checks import synthetic, synthetic_checkpoint, synthetic_recipe  # noqa: PLC0415

    recipe = synthetic_recipe.SyntheticRecipe.from_dict(spec.recipe)
    if recipe.form is synthetic_recipe.Form.GGUF:
        written = [synthetic.write_model(recipe, part / f"{spec.name}.gguf")]
    else:
        written = synthetic_checkpoint.write_checkpoint(recipe, part)
    files = {file.path.name: {"sha256": file.sha256, "bytes": file.bytes} for file in written}
    return _new_manifest(spec, files, revision=None)


def _download(spec: ModelSpec, part: Path, hub: Hub, pin: Pin, progress: Progress | None) -> dict[str, Any]:
    repository = spec.repository or ""
    commit = pin.commit or hub.commit(repository, spec.revision or "")
    wanted = _wanted(spec, _listed(spec, hub, pin, commit))
    # The listing has the hashes of large files: another one is refused before its gigabytes are fetched.
    for file in wanted:
        _refuse_another(spec, pin, commit, file.path, file.sha256)
    missing = sum(file.size for file in wanted if not (part / file.path).is_file())
    free = shutil.disk_usage(part).free
    if missing > free:
        raise DiskFullError(
            f"The model {spec.name} needs {missing / 2**30:.1f} GiB, and {part.parent} has "
            f"{free / 2**30:.1f} GiB.",
            advice="free some space, or name another folder with `models.directory`",
        )
    files = {}
    for file in wanted:
        target = part / file.path
        sha256 = hub.download(repository, commit, file, target, progress)
        try:
            _refuse_another(spec, pin, commit, file.path, sha256)
        except ModelError:
            target.unlink()
            raise
        files[file.path] = {"sha256": sha256, "bytes": file.size}
    return _new_manifest(spec, files, revision=commit)


def _listed(spec: ModelSpec, hub: Hub, pin: Pin, commit: str) -> list[HubFile]:
    try:
        return hub.files(spec.repository or "", commit)
    except NotOnHubError as error:
        if pin.commit is None:
            raise
        raise ModelError(
            f"The commit that {spec.name} was fetched at first is gone: {error.what}",
            kept="everything measured so far, and the lock file that names the commit and its files",
            advice=f"put the files back from a copy, or take what {spec.revision} holds now: "
            f"mtp-monitor models fetch --newest {spec.name}",
        ) from error


def _refuse_another(spec: ModelSpec, pin: Pin, commit: str, name: str, sha256: str | None) -> None:
    by_check, by_lock = spec.sha256.get(name), pin.files.get(name)
    wanted = by_check or by_lock
    if sha256 is None or wanted is None or sha256 == wanted:
        return
    says = "the check pins" if by_check else "the one it had at first"
    advice = "a commit keeps its files: ask the repository's owner, or put the file back from a copy"
    if by_check:
        advice = "pin the commit that has the wanted file, or correct the sha256 in the check"
    raise ModelError(
        f"{spec.repository}@{commit[:12]} holds another {name} than {says} "
        f"(sha256 {sha256[:12]}…, not {wanted[:12]}…).",
        kept="the other files of the model",
        advice=advice,
    )


def _wanted(spec: ModelSpec, listed: list[HubFile]) -> list[HubFile]:
    if not spec.files:
        return [file for file in listed if not Path(file.path).name.startswith(".")]
    by_path = {file.path: file for file in listed}
    if missing := [name for name in spec.files if name not in by_path]:
        raise ModelError(
            f"{spec.repository}@{spec.revision} has no {', '.join(missing)}.",
            advice=f"correct `files` in the check; it has: {', '.join(sorted(by_path)[:20]) or 'nothing'}",
        )
    return [by_path[name] for name in spec.files]


def _new_manifest(spec: ModelSpec, files: dict[str, Any], *, revision: str | None) -> dict[str, Any]:
    return {
        "schema": MANIFEST_SCHEMA,
        "name": spec.name,
        "kind": spec.kind,
        "identity": model_identity(spec),
        "repository": spec.repository,
        "revision": revision,
        "files": files,
    }


def _complete(part: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Give the finished folder its name; an unfinished or altered one of that name is replaced."""
    for leftover in part.rglob("*.download"):
        leftover.unlink()
    target = part / MANIFEST
    with target.open("w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=2, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


# ---------------------------------------------------------------------------------------------
# What is there


def _manifest(spec: ModelSpec, models_dir: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder_of(spec, models_dir) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(content, dict) and content.get("identity") == model_identity(spec)
    return content if usable and isinstance(content.get("files"), dict) and content["files"] else None


def _served(folder: Path, manifest: dict[str, Any]) -> Path:
    names = list(manifest["files"])
    return folder / names[0] if len(names) == 1 else folder


def _own_files(spec: ModelSpec, models_dir: Path) -> list[Path]:
    return [models_dir / Path(file).expanduser() for file in spec.files]


def _verify_own(spec: ModelSpec, models_dir: Path) -> VerifiedModel:
    path = locate(spec, models_dir)
    if path is None:
        fetch(spec, models_dir)  # says which file is missing, and what to do
    files, size = {}, 0
    for name, place in zip(spec.files, _own_files(spec, models_dir), strict=True):
        members = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in members:
            if not file.is_file():
                continue
            key = str(Path(name) / file.relative_to(place)) if place.is_dir() else name
            files[key] = file_sha256(file)
            size += file.stat().st_size
            if (wanted := spec.sha256.get(key, files[key])) != files[key]:
                raise ModelError(
                    f"{file} is not the file that the check pins for {spec.name} "
                    f"(sha256 {files[key][:12]}…, not {wanted[:12]}…).",
                    advice="put the pinned file there, or correct its sha256 in the check",
                )
    return VerifiedModel(path=path or models_dir, sha256=_joined(files), files=files, bytes=size)


def _hashes(manifest: dict[str, Any]) -> dict[str, str]:
    return {name: str(entry["sha256"]) for name, entry in manifest["files"].items()}


def _joined(files: dict[str, str]) -> str:
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _refuse(spec: ModelSpec, folder: Path, what: str) -> None:
    raise ModelError(
        f"The model {spec.name} in {folder} is not whole: {what}.",
        kept="earlier results; none of them used the file as it is now, if it was verified before",
        advice=f"remove the folder and fetch it again: mtp-monitor models fetch {spec.name}",
    )
