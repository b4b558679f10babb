"""Writes what people read about the configuration: the reference page, and the first file of a machine."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor import validation
from monitor.domain import Host
from monitor.settings import (
    CPU_PROJECTS,
    DEFAULT_CHECKS,
    DEFAULT_FILE,
    DEFAULT_SOURCES,
    ENV_CONFIG,
    GPU_PROJECTS,
    Settings,
)
from monitor.settings_tables import ENV_PREFIX

_INTRODUCTION = f"""\
# Configuration

<!-- Generated from the descriptions in monitor/settings.py and monitor/settings_tables.py:
     python -m monitor.settings_reference > docs/configuration.md -->

One TOML file: `--config FILE`, else the file named by `{ENV_CONFIG}`, else `./{DEFAULT_FILE}`, else the
defaults below. `mtp-monitor init` writes a commented one for the machine it runs on. Relative paths in the
file count from the file's folder.

**Environment.** Every value can be overridden by a variable: `{ENV_PREFIX}` and the key in capitals, with
`__` between the parts (`{ENV_PREFIX}WEB__PORT=8000`). Lists and tables are given as one line of JSON
(`{ENV_PREFIX}SOURCES='[{{"project": "vllm"}}]'`) and replace the whole list; paths count from the working
directory. An empty variable counts as not set.

**Secrets** never stand in the TOML file. Give them by the variable named below, or name a file that only its
owner may read (`chmod 600`) with the `…_file` key.

An unknown key or a value that is not allowed is an error that names the file or variable, the key, the value
and what is allowed.
"""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", SecretStr: "secret"}


def reference_markdown() -> str:
    """Return the text of `docs/configuration.md`."""
    lines = [_INTRODUCTION, "## The top of the file", ""]
    lines += _table(Settings, "")
    for name, field in Settings.model_fields.items():
        table = validation.inner_model(field.annotation)
        if table is None:
            continue
        repeated = get_origin(field.annotation) is tuple
        heading = f"[[{name}]]" if repeated else f"[{name}]"
        lines += ["", f"## `{heading}`", "", inspect.cleandoc(table.__doc__ or ""), ""]
        lines += _table(table, "" if repeated else f"{name.upper()}__")
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel], env: str) -> list[str]:
    lines = ["| key | holds | default | what it does |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if model is Settings and validation.inner_model(field.annotation) is not None:
            continue
        what = field.description or ""
        if validation.is_secret(field.annotation) and env:
            what += f" Variable: `{ENV_PREFIX}{env}{name.upper()}`."
        lines.append(f"| `{name}` | {_type(field)} | {_default(field)} | {what} |")
    return lines


def _type(field: FieldInfo) -> str:
    return " or ".join(dict.fromkeys(_words(field.annotation)))


def _words(annotation: Any) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _words(arguments[0])
    elif origin is Literal:
        yield from (f"`{value}`" for value in arguments)
    elif isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield from (f"`{value}`" for value in annotation)
    elif origin is tuple:
        yield f"list of {' or '.join(_words(arguments[0]))}"
    elif origin in {Union, UnionType}:
        for argument in arguments:
            if argument is not NoneType:
                yield from _words(argument)
    else:
        yield _WORDS.get(annotation, "path")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default in {None, ()}:
        return "–"
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # Every JSON string is a TOML basic string, DEL excepted.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


# ---------------------------------------------------------------------------------------------
# The first file


def render_initial(
    host: Host,
    *,
    projects: Sequence[str] | None = None,
    checks: Mapping[str, Sequence[str]] | None = None,
    index_urls: Mapping[str, str] | None = None,
    state: str = "state",
    backfill: int = 0,
) -> str:
    """Return the commented TOML that `init` writes for `host`; `settings.load` accepts it.

    `projects` are the ones to follow (default: what this machine can measure), `checks` maps a project to
    check ids (default: those that ship for it), `index_urls` a project to its index. `backfill` releases
    before the newest are measured at the first start.
    """
    gpu = host.gpu
    followed = projects if projects is not None else GPU_PROJECTS if gpu else CPU_PROJECTS
    chosen = {
        project: _runnable((checks or DEFAULT_CHECKS).get(project, ()), has_gpu=gpu is not None)
        for project in followed
    }
    machine = f"{gpu['name']} with {gpu['memory_bytes'] / 2**30:.0f} GiB" if gpu else "no GPU"
    size = f"{host.cores} cores, {host.memory_bytes / 2**30:.0f} GiB of memory"
    lines = [
        f"# mtp-monitor on {_one_line(host.name)}: {_one_line(machine)}, {_one_line(host.cpu)}, {size}.",
        "# Every key with its default: docs/configuration.md. Lines that begin with # are examples.",
        "",
        "# Database, environments, weights and logs. A relative path counts from this file's folder.",
        f"state = {_toml(state)}",
        "",
        "# Host names that messages may go to although their address is private.",
        '# allow_private_hosts = ["alerts.example"]',
    ]
    for project in followed:
        lines += _source_lines(
            project,
            index_url=(index_urls or {}).get(project),
            backfill=backfill,
            with_examples=project == followed[0],
        )
    lines += [
        "",
        "# Which checks the releases of a project are put through (`mtp-monitor checks` lists them).",
    ]
    for project, ids in chosen.items():
        if ids:
            lines += ["[[assignments]]", f"project = {_toml(project)}", f"checks = {_toml(ids)}", ""]
        else:
            lines += [f"# No check ships for {_one_line(project)}: write one (docs/writing_a_check.md).", ""]
    return "\n".join(lines + _host_lines(has_gpu=gpu is not None) + _service_lines())


def _runnable(ids: Sequence[str], *, has_gpu: bool) -> tuple[str, ...]:
    """Leave out the checks of real models on a machine without a GPU, if a made-up one is there."""
    made_up = tuple(name for name in ids if name.startswith("synthetic-"))
    return tuple(ids) if has_gpu or not made_up else made_up


def _source_lines(project: str, *, index_url: str | None, backfill: int, with_examples: bool) -> list[str]:
    known = {} if index_url else DEFAULT_SOURCES.get(project, {})
    lines = ["", "[[sources]]", f"project = {_toml(project)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in known.items()]
    on_github = known.get("kind") == "github"
    if on_github:
        lines.append('# repository = "OWNER/FORK"   # default: the project\'s own')
    else:
        lines.append(
            f"index_url = {_toml(index_url)}"
            if index_url
            else '# index_url = "https://index.example/simple/"'
        )
    lines.append(
        f"backfill = {backfill}                # releases before the newest, measured at the first start"
    )
    wanted = "llama-*-bin-ubuntu-vulkan-x64.tar.gz" if on_github else "*x86_64.whl"
    if with_examples or on_github:
        lines += [
            '# channel = "stable"        # or "nightly"',
            "# settle_minutes = 30       # after the last wanted file",
            "# minimum_age_hours = 0     # let others try a release first",
            f"# wanted = [{_toml(wanted)}]  # file name patterns",
        ]
    if with_examples:
        lines.append('# versions = ">=0.20"       # older ones are skipped')
    return lines


def _host_lines(*, has_gpu: bool) -> list[str]:
    budgets = ["gpu_minutes_per_release = 60", "gpu_minutes_per_day = 240"]
    return [
        "[host]",
        '# window = "22:00-06:00"     # local hours in which measuring may start; default: always',
        '# before = ["systemctl", "--user", "stop", "my-server"]   # no shell; run before measuring',
        '# after = ["systemctl", "--user", "start", "my-server"]   # run after it, also after a crash',
        *(budgets if has_gpu else [f"# {line}" for line in budgets]),
        "",
    ]


def _service_lines() -> list[str]:
    return [
        "[schedule]",
        "poll_minutes = 15",
        "",
        "[web]",
        'host = "127.0.0.1"',
        "port = 8640",
        '# token_file = "web_token"    # mode 600; or MTP_MONITOR_WEB__TOKEN',
        "",
        "# [github]",
        '# token_file = "github_token"  # mode 600, no permissions; or MTP_MONITOR_GITHUB__TOKEN',
        "",
        "# [models]",
        '# directory = "/data/models"  # default: models in the state folder',
        '# token_file = "hub_token"    # mode 600, for gated weights; or MTP_MONITOR_MODELS__TOKEN',
        "",
        "# [[destinations]]",
        '# name = "team"',
        '# kind = "slack"              # or "webhook"',
        '# url_file = "slack_url"      # mode 600; or MTP_MONITOR_DESTINATION_TEAM_URL',
        "",
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":  # python -m monitor.settings_reference > docs/configuration.md
    sys.stdout.write(reference_markdown())
