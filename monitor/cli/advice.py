"""`mtp-monitor advice`: which release to run here, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.views.advice import Advised

SCHEMA = "mtp-monitor/advice/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples("mtp-monitor advice", "mtp-monitor advice synthetic-qwen35-cpu --json")
    app.command("advice", rich_help_panel=output.LOOK, epilog=examples)(advice)


def advice(
    ctx: typer.Context,
    check: Annotated[
        str | None,
        typer.Argument(metavar="CHECK", help="Only by this check. Default: by all.", show_default=False),
    ] = None,
    *,
    as_json: output.JsonFlag = False,
) -> None:
    """Say which release to run here: the last good one, the fastest, and whether MTP pays.

    Exit code 4: of what was asked for, no release can be advised.
    """
    from monitor.checks import loader  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps.advise import advise_all  # noqa: PLC0415
    from monitor.views.advice import said  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        with station.store.read() as db:
            found = [said(one) for one in advise_all(station, db, check)]
        if check is not None and not found:
            loader.pick(check, station.checks)
        host = station.host.name
    if as_json:
        output.emit(SCHEMA, {"host": host, "advice": found})
    else:
        for one in found:
            _show(one)
        if not found:
            output.tell("Nothing was measured under today's conditions yet: `mtp-monitor run` does.")
    if not any(one.to_run for one in found):
        raise typer.Exit(output.Code.UNDECIDED)


def _show(one: Advised) -> None:
    from monitor.views.advice import exclusion  # noqa: PLC0415

    output.paragraph(one.summary, indent="", style="bold")
    output.paragraph(f"by {one.check}, channel {one.channel}", indent="  ", style="dim")
    for reason in one.reasons:
        output.paragraph(reason, indent="  ")
    for name, release in (("last good", one.last_good), ("fastest", one.fastest)):
        if release is not None:
            output.paragraph(f"{name:<10} {release.version}", indent="  ")
    for release in one.excluded:
        output.paragraph(f"not        {release.version}: {exclusion(release)}", indent="  ")
        if release.detail:
            output.paragraph(release.detail, indent=" " * 13, style="dim")
