"""`mtp-monitor report`: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import output


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples("mtp-monitor report -o report.html", "mtp-monitor report 3 -o run-3.html")
    app.command("report", rich_help_panel=output.SHARE, epilog=examples)(report)


def report(
    ctx: typer.Context,
    run: Annotated[
        int | None,
        typer.Argument(metavar="RUN", help="Number of the run. Default: the newest.", show_default=False),
    ] = None,
    *,
    path: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The HTML file to write.")],
) -> None:
    """Write the report of a run: one HTML file that asks for nothing from outside."""
    from monitor import pipeline  # noqa: PLC0415
    from monitor.errors import UnknownNameError  # noqa: PLC0415
    from monitor.steps.publish import newest_run  # noqa: PLC0415

    with pipeline.Station.open(output.settings(ctx)) as station:
        number = run if run is not None else newest_run(station)
        if number is None:
            raise UnknownNameError(
                "No run is stored yet.", advice="`mtp-monitor demo` or `mtp-monitor run` makes one"
            )
        written = pipeline.publish(station, [number], path, title="MTP monitor report")
    output.out.print(str(written), soft_wrap=True)
