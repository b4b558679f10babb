"""`mtp-monitor init`: writes the first configuration of a machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import output
from monitor.errors import ConfigurationError, UnknownNameError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor init",
        "mtp-monitor init --project vllm --project llama-cpp-python --backfill 2",
        "mtp-monitor init --index-url vllm=https://index.example/simple/",
        "mtp-monitor --config /etc/mtp-monitor.toml init --state /var/lib/mtp-monitor",
    )
    app.command("init", rich_help_panel=output.SET_UP, epilog=examples)(init)


def init(
    ctx: typer.Context,
    project: Annotated[
        list[str] | None,
        typer.Option(
            "--project",
            metavar="NAME",
            help="Project to follow; may be repeated. Default: those this machine can measure.",
            show_default=False,
        ),
    ] = None,
    index_url: Annotated[
        list[str] | None,
        typer.Option(
            "--index-url",
            metavar="NAME=URL",
            help="Index to use for a project; may be repeated. Default: the one that uv and pip use here.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        str,
        typer.Option("--state", metavar="FOLDER", help="Where everything is kept, from the file's folder."),
    ] = "state",
    backfill: Annotated[
        int | None,
        typer.Option(
            "--backfill",
            metavar="N",
            min=0,
            max=20,
            help="Releases before the newest to measure at the first start. Default: 1 with a GPU, else 0.",
            show_default=False,
        ),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration for this machine.

    It goes to --config, else $MTP_MONITOR_CONFIG, else ./mtp-monitor.toml. A file that is there is kept.
    """
    from monitor import settings as configuration  # noqa: PLC0415
    from monitor import settings_reference  # noqa: PLC0415
    from monitor.cli import machine  # noqa: PLC0415

    file = configuration.config_path(output.options(ctx).config) or configuration.DEFAULT_FILE
    host = machine.look(file.absolute().parent / state)
    measurable = configuration.GPU_PROJECTS if host.gpu else configuration.CPU_PROJECTS
    followed = list(dict.fromkeys(project or measurable))
    indexes = _indexes(index_url or (), followed)
    _refuse_unknown(followed)
    if file.exists() and not force:
        raise ConfigurationError(
            f"{file} is already there.",
            kept="the file as it is",
            advice="edit it, name another with --config, or replace it with --force",
        )
    text = settings_reference.render_initial(
        host,
        projects=followed,
        index_urls=indexes,
        state=state,
        backfill=backfill if backfill is not None else int(host.gpu is not None),
    )
    _write(file, text)
    loaded = configuration.load(file)
    follows = ", ".join(source.project for source in loaded.sources)
    checks = dict.fromkeys(check for source in loaded.sources for check in loaded.checks_of(source.project))
    output.out.print(f"Wrote {file}", soft_wrap=True)
    output.out.print(f"  follows   {follows}", soft_wrap=True)
    output.out.print(
        f"  checks    {', '.join(checks) or 'none yet: see docs/writing_a_check.md'}", soft_wrap=True
    )
    output.out.print(f"  keeps     everything in {loaded.state}", soft_wrap=True)
    given = f" --config {file}" if output.options(ctx).config else ""
    output.out.print("\nNext:")
    for command, what in (
        ("doctor", "says what is missing"),
        ("releases --refresh", "reads the indexes and says what would be measured"),
        ("serve", "keeps watch and shows the pages"),
        ("demo", "shows the whole job"),
    ):
        output.out.print(f"  mtp-monitor{given} {command:<20}  {what}", soft_wrap=True)


def _indexes(given: Sequence[str], followed: Sequence[str]) -> dict[str, str]:
    indexes = {}
    for entry in given:
        name, equals, url = entry.partition("=")
        if not (name and equals and "://" in url):
            raise typer.BadParameter(f"{entry!r} should be NAME=URL", param_hint="--index-url")
        if name not in followed:
            raise typer.BadParameter(
                f"{name!r} is not followed; add --project {name}", param_hint="--index-url"
            )
        indexes[name] = url
    return indexes


def _refuse_unknown(names: Sequence[str]) -> None:
    from monitor.releases.projects import PROJECTS  # noqa: PLC0415
    from monitor.validation import nearest  # noqa: PLC0415

    for name in names:
        if name not in PROJECTS:
            raise UnknownNameError(f"There is no project {name!r}.", advice=nearest(name, PROJECTS))


def _write(file: Path, text: str) -> None:
    """Write `text`, whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}.",
            advice="name a file in a folder that exists and may be written to, with --config",
        ) from error
