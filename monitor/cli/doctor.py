"""`mtp-monitor doctor`: what this machine and its configuration allow, and what is missing."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import doctor_sources, doctor_tools, gpu_needs, output
from monitor.cli.findings import MARKS, Finding, State
from monitor.errors import MonitorError, UnknownNameError

if TYPE_CHECKING:
    from monitor.domain import Check, Host
    from monitor.settings import Settings

SCHEMA = "mtp-monitor/doctor/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor doctor",
        "mtp-monitor doctor --offline --json",
        "mtp-monitor doctor --for llama.cpp==b11549 --command 'llama-server -m model.gguf --mlock'",
    )
    app.command("doctor", rich_help_panel=output.SET_UP, epilog=examples)(doctor)


def doctor(
    ctx: typer.Context,
    *,
    offline: bool = typer.Option(False, "--offline", help="Ask no source."),  # noqa: FBT003  # typer's form
    command: Annotated[
        str | None,
        typer.Option(
            metavar="'LINE'", help="Look at this command line of a server instead.", show_default=False
        ),
    ] = None,
    for_version: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="PROJECT==VERSION", help="Which version it is for.", show_default=False
        ),
    ] = None,
    from_version: Annotated[
        str | None,
        typer.Option("--from", metavar="PROJECT==VERSION", help="Which one runs it now.", show_default=False),
    ] = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Say what this machine can measure and what is missing, or what a version makes of a command line.

    Looks at machine, configuration, state, tools, indexes, checks and models. Nothing is changed. Ends with
    1 when something stops the monitor; a warning does not.

    With --command nothing of that: the line of llama-server or `vllm serve` is read, and never run. Ends with
    5 when the version would not start with it, and with 4 when it would silently do something else.
    """
    if command is not None and for_version is not None:
        from monitor.cli import doctor_command  # noqa: PLC0415  # engines, which `--help` has no use for

        doctor_command.look_at(ctx, command, for_version, from_version, as_json=as_json)
        return
    if command is not None or for_version is not None or from_version is not None:
        raise UnknownNameError(
            "--command and --for belong together, and --from to them.",
            advice="mtp-monitor doctor --command 'llama-server …' --for llama.cpp==b11549",
        )
    findings = []
    for finding in examine(ctx, offline=offline):
        findings.append(finding)
        if not as_json:
            _print(finding, first=len(findings) == 1 or findings[-2].topic != finding.topic)
    stopped = [finding for finding in findings if finding.state is State.STOPS]
    warnings = sum(finding.state is State.WARNING for finding in findings)
    if as_json:
        output.emit(SCHEMA, {"ok": not stopped, "warnings": warnings, "findings": findings})
    elif stopped:
        names = ", ".join(dict.fromkeys(finding.name for finding in stopped))
        output.out.print(f"\nThe monitor cannot work here yet: {names}.", style="bold red", soft_wrap=True)
    else:
        with_warnings = f", with {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
        output.out.print(f"\nThe monitor can work here{with_warnings}.", style="bold")
    if stopped:
        raise typer.Exit(output.Code.FAILED)


def examine(ctx: typer.Context, *, offline: bool) -> Iterator[Finding]:
    """Yield what is found, as it is found; nothing that is missing ends the examination."""
    try:
        settings = output.settings(ctx)
    except MonitorError as error:
        yield from _machine(_host(Path.cwd(), None), Path.cwd())
        yield Finding("configuration", "file", State.STOPS, error.what, error.advice)
        return
    host = _host(settings.state, settings.host.name, settings.host.gpu)
    yield from _machine(host, settings.state)
    yield from _configuration(ctx, settings)
    yield from _state(settings)
    yield from doctor_tools.examine(settings)
    known = None if isinstance(host, MonitorError) else host
    if not offline:
        for source in settings.sources:
            yield doctor_sources.examine(settings, source, known)
    yield from _destinations(settings)
    yield from _checks(settings, known)


# ---------------------------------------------------------------------------------------------
# The machine


def _host(state: Path, name: str | None, gpu: str | None = None) -> Host | MonitorError:
    from monitor.cli import machine  # noqa: PLC0415

    try:
        return machine.look(state, name, gpu)
    except MonitorError as error:
        return error


def _machine(host: Host | MonitorError, state: Path) -> Iterator[Finding]:
    from monitor import host as hosts  # noqa: PLC0415

    topic = "machine"
    if isinstance(host, MonitorError):
        yield Finding(topic, "gpu", State.STOPS, host.what, host.advice)
        return
    yield Finding(
        topic, "host", State.FINE, f"{host.name}, class {host.hardware_class}, kernel {host.kernel}"
    )
    yield Finding(topic, "cpu", State.FINE, f"{host.cpu}, {host.cores} cores")
    yield Finding(topic, "memory", State.FINE, output.gib(host.memory_bytes))
    if host.gpu is None:
        yield Finding(topic, "gpu", State.NOTE, "none; checks for the CPU are runnable")
    else:
        yield from gpu_needs.present(host.gpu)
    yield Finding(topic, "disk", State.FINE, f"{output.gib(hosts.free_disk(state))} free at {state}")
    quiet, sentence = hosts.is_quiet()
    yield Finding(
        topic,
        "load",
        State.FINE if quiet else State.WARNING,
        sentence,
        "" if quiet else "end what else is running before measuring",
    )


# ---------------------------------------------------------------------------------------------
# Configuration, state, tools


def _configuration(ctx: typer.Context, settings: Settings) -> Iterator[Finding]:
    from monitor.settings import ENV_CONFIG, config_path  # noqa: PLC0415
    from monitor.settings_tables import ENV_PREFIX  # noqa: PLC0415

    topic = "configuration"
    file = config_path(output.options(ctx).config)
    if file is None:
        text = "none: the defaults for this machine are in effect"
        yield Finding(topic, "file", State.NOTE, text, "mtp-monitor init writes one to edit")
    else:
        yield Finding(topic, "file", State.FINE, str(file.absolute()))
    variables = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name != ENV_CONFIG)
    if variables:
        yield Finding(topic, "environment", State.NOTE, f"overridden by {', '.join(variables)}")
    for source in settings.sources:
        checks = settings.checks_of(source.project)
        state = State.FINE if checks else State.WARNING
        text = f"{source.channel} → {', '.join(checks) or 'no check'}"
        advice = "" if checks else "name one under [[assignments]], or write one: docs/writing_a_check.md"
        yield Finding(topic, source.project, state, text, advice)


def _destinations(settings: Settings) -> Iterator[Finding]:
    from monitor.alerts.deliver import check  # noqa: PLC0415

    for destination in settings.destinations:
        try:
            check(destination, allow_private_hosts=settings.allow_private_hosts)
        except MonitorError as error:
            yield Finding("destinations", destination.name, State.WARNING, error.what, error.advice)
        else:
            yield Finding(
                "destinations", destination.name, State.FINE, f"{destination.kind}, not sent to now"
            )


def _state(settings: Settings) -> Iterator[Finding]:
    there = settings.state
    while not there.exists() and there != there.parent:
        there = there.parent
    text = str(settings.state) if there == settings.state else f"{settings.state} (made when first needed)"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        yield Finding("state", "folder", State.FINE, text)
    except OSError as error:
        advice = "give it to the monitor's user, or name another folder with `state`"
        yield Finding("state", "folder", State.STOPS, f"{settings.state}: {error.strerror}", advice)
    yield _database(settings)


def _database(settings: Settings) -> Finding:
    if settings.store_url is not None and not settings.store_url.startswith("sqlite"):
        return Finding("state", "database", State.NOTE, "another than the SQLite file; not looked at here")
    file = Path(settings.database_url.partition("///")[2])
    if not file.exists():
        return Finding("state", "database", State.NOTE, f"{file} (made when first needed)")
    try:
        # Read-only, so that looking neither migrates nor locks it.
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        busy = "locked" in str(error)
        advice = (
            "see whether another monitor is at work" if busy else "restore a backup, or move the file away"
        )
        return Finding(
            "state", "database", State.WARNING if busy else State.STOPS, f"{file}: {error}", advice
        )
    return Finding("state", "database", State.FINE, f"{file}, {output.gib(file.stat().st_size)}")


# ---------------------------------------------------------------------------------------------
# Checks, models


def _checks(settings: Settings, host: Host | None) -> Iterator[Finding]:
    from monitor import host as hosts  # noqa: PLC0415
    from monitor.checks import loader  # noqa: PLC0415

    try:
        known = loader.load_checks(settings.check_dirs)
    except MonitorError as error:
        yield Finding("checks", "definitions", State.STOPS, error.what, error.advice)
        return
    assigned = [check for source in settings.sources for check in settings.checks_of(source.project)]
    for check_id in dict.fromkeys(check for check in assigned if check not in known):
        advice = "correct [[assignments]]; `mtp-monitor checks` lists the ids"
        yield Finding("checks", check_id, State.STOPS, "assigned, and there is no such check", advice)
    if host is None:
        return
    free = hosts.free_disk(settings.state)
    reasons = {
        check.id: tuple(hosts.satisfies(host, check.requires, free_disk_bytes=free))
        for check in known.values()
    }
    runnable = [check_id for check_id in known if not reasons[check_id]]
    for check_id in (check_id for check_id in runnable if check_id in assigned):
        yield Finding("checks", check_id, State.FINE, "runnable here")
    for name in _short([check_id for check_id in runnable if check_id not in assigned]):
        yield Finding("checks", name, State.NOTE, "runnable here, assigned to no project")
    yield from _not_runnable(reasons, assigned)
    wanted = [check for check in known.values() if check.id in assigned and not reasons[check.id]]
    if not wanted:
        advice = "assign one that is runnable here; `mtp-monitor checks` lists them"
        yield Finding("checks", "assigned", State.STOPS, "none of them is runnable here", advice)
    yield from _models(settings, wanted)
    yield from gpu_needs.needed(settings, host, known.values())


def _not_runnable(reasons: Mapping[str, tuple[str, ...]], assigned: Sequence[str]) -> Iterator[Finding]:
    grouped: dict[tuple[str, ...], list[str]] = {}
    for check_id in (check_id for check_id in reasons if reasons[check_id]):
        grouped.setdefault(reasons[check_id], []).append(check_id)
    for why, ids in grouped.items():
        text = f"not runnable here: {'; '.join(why)}"
        advice = "measure it on another host, or take it out of [[assignments]]"
        for check_id in (check_id for check_id in ids if check_id in assigned):
            yield Finding("checks", check_id, State.WARNING, text, advice)
        for name in _short([check_id for check_id in ids if check_id not in assigned]):
            yield Finding("checks", name, State.NOTE, text)


_CELL = re.compile(r"(.+\.)([a-z]+)(\d+)")
"""An id of a matrix, as `x.n2`; the point of `qwen-3.6` is none."""


def _short(ids: list[str]) -> list[str]:
    """Return ids with those of one matrix as one: x.{n2,n3}."""
    cells: dict[str, list[tuple[str, int]]] = {}
    for check_id in ids:
        found = _CELL.fullmatch(check_id)
        own = cells.setdefault(found[1] if found else check_id, [])
        if found:
            own.append((found[2], int(found[3])))
    short = []
    for stem, own in cells.items():
        ends = [f"{axis}{value}" for axis, value in sorted(own)]
        short.append(stem + (f"{{{','.join(ends)}}}" if len(ends) > 1 else "".join(ends)))
    return short


def _models(settings: Settings, checks: list[Check]) -> Iterator[Finding]:
    from monitor.checks import models  # noqa: PLC0415

    for status in models.list_models(checks, settings.models_dir):
        spec = status.spec
        if status.path is not None:
            text = f"{output.gib(status.bytes or 0)} at {status.path}"
            yield Finding("models", spec.name, State.FINE, text)
        elif spec.kind == "synthetic":
            yield Finding("models", spec.name, State.NOTE, "written from its seed when first needed")
        elif spec.kind == "path":
            text = f"not there: {', '.join(spec.files)}"
            advice = f"put the files where `files` of {status.checks[0]} names them"
            yield Finding("models", spec.name, State.WARNING, text, advice)
        else:
            text = f"not here yet: {spec.repository}@{spec.revision}"
            yield Finding("models", spec.name, State.WARNING, text, f"mtp-monitor models fetch {spec.name}")


def _print(finding: Finding, *, first: bool) -> None:
    from rich.text import Text  # noqa: PLC0415

    if first:
        output.out.print(
            ("\n" if finding.topic != "machine" else "") + finding.topic[0].upper() + finding.topic[1:],
            style="bold",
        )
    mark, style = MARKS[finding.state]
    line = Text.assemble(
        (f"{mark} ", style), (f"{finding.name:<12}  ", "cyan"), output.harmless(finding.text)
    )
    output.out.print(line, soft_wrap=True)
    if finding.advice:
        output.out.print(f"  → {output.harmless(finding.advice)}", style="yellow", soft_wrap=True)
