"""Reads check definitions: one TOML file may stand for several checks through its matrix."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from monitor import resources, validation
from monitor.checks.definition import Definition, ModelTable, PromptLine
from monitor.checks.digest import digest_of
from monitor.checks.joining import joined
from monitor.domain import Arm, BesideArm, Check, Expectation, ModelSpec, Prompt, Requirements, Tier, Workload
from monitor.errors import ConfigurationError, UnknownNameError
from monitor.judge.policy import JudgingPolicy, confirm_reference

ADVICE = "docs/writing_a_check.md explains every key"
MATRIX_SUFFIX = {"draft_length": "n", "concurrency": "c"}
"""Letter before the value in the id of an expanded check; another key is written out."""

_GIB = 2**30
_ANSWERS_A_STREAM = 2
"""So many, at least, does a tier have for each stream above one: less and most of them are its end."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MATRIX_TABLES = ("serve", "serve_mtp", "sampling")
_NARROWED = ("expect", "estimate_minutes")
"""Tables that may hold one more for each part of an expanded id."""
_MATRIX_KEYS = ("draft_length", "concurrency", "repeats", "warmup_prompts", "quantisation")


def load_checks(extra_dirs: Iterable[Path] = ()) -> dict[str, Check]:
    """Return id → check for those that ship and those in `extra_dirs`, sorted by id.

    Raises:
        ConfigurationError: for a file that is no definition, a missing workload, or an id used twice.

    """
    folders = [resources.resource_dir("checks"), *extra_dirs]
    checks: dict[str, Check] = {}
    origin: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(
                f"The folder of checks {folder} does not exist.", advice="correct `check_dirs`"
            )
        for file in sorted(folder.glob("*.toml")):
            for check in read_file(file):
                if check.id in checks:
                    raise ConfigurationError(
                        f"{file}: the id {check.id!r} is taken by {origin[check.id]}.",
                        advice="give one of them another id",
                    )
                checks[check.id], origin[check.id] = check, file
    return dict(sorted(checks.items()))


def load_check(check_id: str, extra_dirs: Iterable[Path] = ()) -> Check:
    """Return the check called `check_id`; see `load_checks`.

    Raises:
        UnknownNameError: when there is none.

    """
    return pick(check_id, load_checks(extra_dirs))


def pick(check_id: str, checks: Mapping[str, Check]) -> Check:
    """Return `checks[check_id]`, or raise `UnknownNameError` with the nearest id."""
    if check_id not in checks:
        raise UnknownNameError(
            f"There is no check {check_id!r}.",
            advice=f"{validation.nearest(check_id, checks)} (`mtp-monitor checks` lists them)",
        )
    return checks[check_id]


def select_prompts(check: Check, tier: Tier) -> tuple[Prompt, ...]:
    """Return the prompts of a tier in the order they are sent: workload by workload.

    The quick tier is the first `quick_prompts_per_workload` of each workload, so it lies within the full.
    """
    count = check.quick_prompts_per_workload if tier is Tier.QUICK else None
    return tuple(prompt for workload in check.workloads for prompt in workload.prompts[:count])


def unpinned(check: Check) -> list[str]:
    """Return the names of the check's models whose weights may change without its digest changing."""
    return [spec.name for spec in check.models if not is_pinned(spec)]


def is_pinned(spec: ModelSpec) -> bool:
    """Say whether `spec` names its weights beyond doubt: by recipe, commit, or every file's sha256."""
    if spec.kind == "synthetic":
        return True
    by_commit = spec.kind == "huggingface" and _COMMIT.fullmatch(spec.revision or "") is not None
    return by_commit or (bool(spec.files) and all(file in spec.sha256 for file in spec.files))


def read_file(file: Path) -> list[Check]:
    """Return the checks that one TOML file stands for.

    Raises:
        ConfigurationError: naming the file, the key, the value and what is allowed.

    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}.", advice="correct the file") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}.", advice=ADVICE) from error
    workloads: dict[str, Workload] = {}
    checks = []
    for expanded in _expand(content, file):
        definition = _validate(expanded, file)
        for name in definition.workloads:
            if name not in workloads:
                workloads[name] = read_workload(file.parent / name)
        checks.append(_check(definition, tuple(workloads[name] for name in definition.workloads), file))
    return checks


def read_workload(file: Path) -> Workload:
    """Return the workload in a JSONL file: one prompt a line, all of the same workload.

    Raises:
        ConfigurationError: naming the file and the line.

    """
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(
            f"{file}: the workload cannot be read: {reason}.",
            advice="workloads are named relative to the folder of the check's TOML file",
        ) from error
    prompts: list[Prompt] = []
    for number, text in enumerate(lines, start=1):
        place = f"{file}, line {number}"
        prompt = _prompt(joined(text, file, place), place)
        if prompts and prompt.workload != prompts[0].workload:
            raise ConfigurationError(
                f"{file}, line {number}: workload {prompt.workload!r} in a file of {prompts[0].workload!r}.",
                advice="keep one file for each workload",
            )
        if any(prompt.id == other.id for other in prompts):
            raise ConfigurationError(
                f"{file}, line {number}: the prompt id {prompt.id!r} stands there twice.", advice=ADVICE
            )
        prompts.append(prompt)
    if not prompts:
        raise ConfigurationError(f"{file}: the workload has no prompts.", advice=ADVICE)
    return Workload(
        name=prompts[0].workload, prompts=tuple(prompts), sha256=hashlib.sha256(content).hexdigest()
    )


def _prompt(text: str, place: str) -> Prompt:
    try:
        line = PromptLine.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{place}: not valid JSON: {error}.", advice=ADVICE) from error
    except ValidationError as error:
        raise _wrong(error, place, PromptLine) from None
    return Prompt(
        id=line.id,
        workload=line.workload,
        max_tokens=line.max_tokens,
        text=line.text,
        messages=tuple({str(key): value for key, value in message.items()} for message in line.messages),
        tools=tuple(line.tools),
        source=line.source,
        licence=line.licence,
        answer=line.answer,
    )


# ---------------------------------------------------------------------------------------------
# The matrix


def _expand(content: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """Return one definition for each combination of the matrix, with its id, expectations and estimates."""
    base = copy.deepcopy(content)
    axes = base.pop("matrix", {})
    _check_axes(axes, file)
    expanded, used = [], set()
    for values in itertools.product(*axes.values()):
        one = copy.deepcopy(base)
        suffixes = [_suffix(key, value) for key, value in zip(axes, values, strict=True)]
        for key, value in zip(axes, values, strict=True):
            _set(one, key, value)
        if isinstance(one.get("id"), str):
            one["id"] = ".".join([one["id"], *suffixes])
        used |= _narrow(one, suffixes)
        expanded.append(one)
    inner = [
        (name, key) for name in _NARROWED for key, value in _table(base, name).items() if _is_table(value)
    ]
    if unused := sorted(set(inner) - used):
        name = unused[0][0]
        raise ConfigurationError(
            f"{file}: `{'.'.join(unused[0])}` fits no combination of the matrix.",
            advice=f"name it after the end of an expanded id, such as `{name}.n4`",
        )
    return expanded


def _check_axes(axes: Any, file: Path) -> None:
    if not isinstance(axes, dict):
        raise ConfigurationError(f"{file}: `matrix` should be a table.", advice=ADVICE)
    for key, values in axes.items():
        table, _, inner = key.partition(".")
        if key not in _MATRIX_KEYS and not (table in _MATRIX_TABLES and inner):
            allowed = ", ".join((*_MATRIX_KEYS, *(f'"{name}.<key>"' for name in _MATRIX_TABLES)))
            raise ConfigurationError(
                f"{file}: `matrix.{key}` cannot vary; allowed: {allowed}.", advice=ADVICE
            )
        scalars = isinstance(values, list) and all(isinstance(value, str | int | float) for value in values)
        if not values or not scalars or len({str(value) for value in values}) < len(values):
            raise ConfigurationError(
                f"{file}: `matrix.{key}` should be a list of different numbers or words.", advice=ADVICE
            )


def _suffix(key: str, value: object) -> str:
    word = MATRIX_SUFFIX.get(key, key.rpartition(".")[2].replace("_", "-") + "-")
    return word + re.sub(r"[^a-z0-9.]+", "-", str(value).lower()).strip("-")


def _set(definition: dict[str, Any], key: str, value: object) -> None:
    table, _, inner = key.partition(".")
    if not inner:
        definition[key] = value
    elif isinstance(definition.setdefault(table, {}), dict):
        definition[table][inner] = value


def _table(definition: dict[str, Any], name: str) -> dict[str, Any]:
    table = definition.get(name, {})
    return table if isinstance(table, dict) else {}


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _narrow(definition: dict[str, Any], suffixes: Sequence[str]) -> set[tuple[str, str]]:
    """Merge `[expect.n4]` into `[expect]` of the combination it fits; return what fits, by table and name."""
    used = set()
    for name in _NARROWED:
        table = _table(definition, name)
        inner = {key: table.pop(key) for key in list(table) if _is_table(table[key])}
        for suffix in suffixes:
            table.update(inner.get(suffix, {}))
        used |= {(name, suffix) for suffix in set(suffixes) & inner.keys()}
    return used


# ---------------------------------------------------------------------------------------------
# From the file's shape to the domain's


def _validate(content: dict[str, Any], file: Path) -> Definition:
    try:
        return Definition.model_validate(content)
    except ValidationError as error:
        raise _wrong(error, str(file), Definition) from None


def _wrong(error: ValidationError, place: str, model: type[Definition | PromptLine]) -> ConfigurationError:
    sentences = dict.fromkeys(f"{place}: {sentence}." for _, sentence in validation.explain(error, model))
    return ConfigurationError("\n".join(sentences), advice=ADVICE)


def _check(definition: Definition, workloads: tuple[Workload, ...], file: Path) -> Check:
    try:
        JudgingPolicy().with_overrides(definition.judging)
        confirm_reference(definition.judging)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: in `judging`: {error.what}", advice=error.advice) from error
    names = [workload.name for workload in workloads]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"{file}: two of its workloads have the same name.", advice=ADVICE)
    ids = [prompt.id for workload in workloads for prompt in workload.prompts]
    if len(set(ids)) < len(ids):
        raise ConfigurationError(f"{file}: two prompts of its workloads have the same id.", advice=ADVICE)
    requires = definition.requires
    check = Check(
        id=definition.id,
        title=definition.title,
        description=definition.description.strip(),
        engine=definition.engine,
        projects=tuple(definition.projects),
        model=_spec(definition.model),
        draft_model=_spec(definition.draft_model) if definition.draft_model else None,
        quantisation=definition.quantisation,
        draft_length=definition.draft_length,
        concurrency=definition.concurrency,
        sampling=dict(definition.sampling),
        serve=dict(definition.serve),
        serve_mtp=dict(definition.serve_mtp),
        workloads=workloads,
        warmup_prompts=definition.warmup_prompts,
        repeats=definition.repeats,
        quick_prompts_per_workload=definition.quick_prompts_per_workload,
        start_timeout_s=definition.start_timeout_s,
        request_timeout_s=definition.request_timeout_s,
        requires=Requirements(
            gpu=requires.gpu,
            gpu_memory_bytes=round(requires.gpu_memory_gib * _GIB),
            memory_bytes=round(requires.memory_gib * _GIB),
            disk_bytes=round(requires.disk_gib * _GIB),
            compute_capability=requires.compute_capability,
        ),
        expect=Expectation(
            min_speedup=definition.expect.min_speedup, min_acceptance=definition.expect.min_acceptance
        ),
        estimate_minutes={
            "quick": definition.estimate_minutes.quick,
            "full": definition.estimate_minutes.full,
        },
        lossless_exact=definition.lossless_exact,
        digest="",
        step_bytes=round(definition.step_gb * 1e9) if definition.step_gb is not None else None,
        judging=dict(definition.judging),
        beside={
            Arm(name): BesideArm(
                draft_length=arm.draft_length or definition.draft_length,
                serve=dict(arm.serve),
                model=_spec(arm.model) if arm.model else None,
            )
            for name, arm in sorted(definition.arms.items())
        },
    )
    _refuse_idle_streams(check, file)
    return replace(check, digest=digest_of(check))


def _refuse_idle_streams(check: Check, file: Path) -> None:
    """Raise ConfigurationError when a tier has so few prompts that its streams are seldom busy together."""
    for tier in Tier:
        answers = len(select_prompts(check, tier)) * check.repeats
        if check.concurrency > 1 and answers < _ANSWERS_A_STREAM * check.concurrency:
            raise ConfigurationError(
                f"{file}: the {tier} tier of {check.id} has {answers} answers for {check.concurrency} "
                f"streams; with fewer than {_ANSWERS_A_STREAM * check.concurrency} they are seldom all busy, "
                "and its rates would be those of fewer streams.",
                advice="raise `quick_prompts_per_workload` or `repeats`, add prompts, or lower `concurrency`",
            )


def _spec(table: ModelTable) -> ModelSpec:
    return ModelSpec(
        name=table.name,
        kind=table.kind,
        recipe=dict(table.recipe),
        repository=table.repository,
        revision=table.revision,
        files=tuple(table.files),
        sha256=dict(table.sha256),
    )
