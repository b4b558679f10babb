"""`mtp-monitor checks`: the fixed benchmarks, and whether this machine can run them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.domain import Check, Host
    from monitor.settings import Settings

SCHEMA = "mtp-monitor/checks/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples("mtp-monitor checks", "mtp-monitor checks synthetic-qwen35-cpu")
    app.command("checks", rich_help_panel=output.LOOK, epilog=examples)(checks)


def checks(
    ctx: typer.Context,
    check_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Show this one in full.", show_default=False)
    ] = None,
    *,
    as_json: output.JsonFlag = False,
) -> None:
    """List the checks, and whether they are runnable on this machine.

    A check is a fixed benchmark. Minutes are estimates for one session of each arm, start-up included.
    """
    from monitor.checks import loader  # noqa: PLC0415
    from monitor.cli import machine  # noqa: PLC0415

    settings = output.settings(ctx)
    known = loader.load_checks(settings.check_dirs)
    host = machine.look(settings.state, settings.host.name, settings.host.gpu)
    if check_id is not None:
        known = {check_id: loader.pick(check_id, known)}
    facts = [facts_of(check, host, settings) for check in known.values()]
    if as_json:
        if check_id is not None:
            facts[0]["definition"] = asdict(known[check_id])
        output.emit(SCHEMA, {"checks": facts})
    elif check_id is not None:
        _show(known[check_id], facts[0])
    else:
        _list(facts)


def facts_of(check: Check, host: Host, settings: Settings) -> dict[str, Any]:
    """Return what `--json` says of `check`."""
    from monitor import host as machine  # noqa: PLC0415
    from monitor.checks import loader  # noqa: PLC0415

    free = machine.free_disk(settings.state)
    reasons = machine.satisfies(host, check.requires, free_disk_bytes=free)
    models = [spec.name for spec in check.models]
    return {
        "id": check.id,
        "title": check.title,
        "engine": check.engine,
        "projects": list(check.projects),
        "draft_length": check.draft_length,
        "concurrency": check.concurrency,
        "quantisation": check.quantisation,
        "models": models,
        "unpinned_models": loader.unpinned(check),
        "estimate_minutes": check.estimate_minutes,
        "runnable": not reasons,
        "reasons": reasons,
        "assigned_to": [
            source.project for source in settings.sources if check.id in settings.checks_of(source.project)
        ],
        "digest": check.digest,
    }


def _list(facts: list[dict[str, Any]]) -> None:
    """Print one table for what is runnable here and one for each reason why the others are not."""
    from rich.table import Table  # noqa: PLC0415

    groups: dict[str, list[dict[str, Any]]] = {}
    for check in sorted(facts, key=lambda check: not check["runnable"]):
        reasons = "; ".join(check["reasons"])
        groups.setdefault(f"✗ Not here: {reasons}" if reasons else "✓ Runnable here", []).append(check)
    widths = {
        "id": max(len(check["id"]) for check in facts),
        "engine": max(len(check["engine"]) for check in facts),
        "minutes": max(len(_range(check)) for check in facts),
    }
    for number, (heading, members) in enumerate(groups.items()):
        output.out.print(("\n" if number else "") + heading, style="bold", soft_wrap=True)
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 1))
        table.add_column(min_width=widths["id"], no_wrap=True)
        table.add_column(min_width=widths["engine"], no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(min_width=widths["minutes"], justify="right", no_wrap=True)
        table.add_column(overflow="fold")
        for check in members:
            projects = ", ".join(check["projects"])
            draft = f"draft {check['draft_length']}"
            table.add_row(check["id"], check["engine"], draft, _range(check), projects)
        output.out.print(table)
    output.tell("\nMinutes are those of one session of each arm, quick to full tier.", style="dim")


def _range(check: Mapping[str, Any]) -> str:
    estimate = check["estimate_minutes"]
    quick, full = output.minutes(estimate["quick"]), output.minutes(estimate["full"])
    return f"{quick}–{full} min" if quick != full else f"{quick} min"


def _show(check: Check, facts: Mapping[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    output.out.print(check.title, style="bold")
    output.out.print(" ".join(check.description.split()) + "\n")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(check, facts):
        table.add_row(name, text)
    output.out.print(table)


def _rows(check: Check, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    models = []
    for spec in check.models:
        if spec is not None:
            origin = f"{spec.repository}@{spec.revision}" if spec.repository else spec.kind
            free = ", not pinned: its weights may change" if spec.name in facts["unpinned_models"] else ""
            models.append(f"{spec.name} ({origin}{free})")
    workloads = ", ".join(f"{item.name} ({len(item.prompts)} prompts)" for item in check.workloads)
    expect = {"speedup": check.expect.min_speedup, "acceptance": check.expect.min_acceptance}
    limits = ", ".join(f"{name} at least {value:g}" for name, value in expect.items() if value is not None)
    estimate = ", ".join(f"{tier} {output.minutes(value)}" for tier, value in check.estimate_minutes.items())
    return [
        ("id", check.id),
        ("digest", check.digest),
        ("engine", check.engine),
        ("projects", ", ".join(check.projects)),
        ("models", "; ".join(models)),
        ("quantisation", check.quantisation),
        ("draft length", str(check.draft_length)),
        ("concurrency", f"{check.concurrency} stream{'s' if check.concurrency > 1 else ''}"),
        ("sampling", _settings(check.sampling)),
        ("both arms", _settings(check.serve)),
        ("mtp arm adds", _settings(check.serve_mtp)),
        ("workloads", workloads),
        ("quick tier", f"the first {check.quick_prompts_per_workload} prompts of each workload"),
        ("repeats", str(check.repeats)),
        ("warm-up", f"{check.warmup_prompts} prompts, thrown away"),
        ("token equality", "exact between the arms" if check.lossless_exact else "not expected to be exact"),
        ("expected", limits or "–"),
        ("judging", _settings(check.judging)),
        ("minutes", f"{estimate} (one session of each arm)"),
        ("assigned to", ", ".join(facts["assigned_to"]) or "–"),
        ("here", "✓ runnable" if facts["runnable"] else "✗ " + "; ".join(facts["reasons"])),
    ]


def _settings(values: Mapping[str, Any]) -> str:
    parts = []
    for key, value in values.items():
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        parts.append(f"{key} = {text}")
    return ", ".join(parts) or "–"
