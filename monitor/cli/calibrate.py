"""`mtp-monitor calibrate`: one release against itself, to learn a check's own noise on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.judge.calibration import Calibration
    from monitor.pipeline import Station

SCHEMA = "mtp-monitor/calibration/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor calibrate synthetic-qwen35-cpu",
        "mtp-monitor calibrate CHECK --release xllamacpp==2026.10.11549 --measurements 6 --json",
    )
    app.command("calibrate", rich_help_panel=output.MEASURE, epilog=examples)(calibrate)


def calibrate(
    ctx: typer.Context,
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="Id of the check; `mtp-monitor checks` lists them.")
    ],
    *,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT==VERSION", help="What to measure. Default: the newest run's.", show_default=False
        ),
    ] = None,
    measurements: Annotated[
        int, typer.Option(metavar="N", min=2, max=20, help="So many in all, earlier ones counted.")
    ] = 4,
    as_json: output.JsonFlag = False,
) -> None:
    """Measure a release against itself and keep how much the check scatters here.

    Later verdicts on this check and host pool their sessions' noise with it. Measured again on other days it
    also tells how much days differ.
    """
    from monitor import orders, pipeline  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415

    with watching() as progress, pipeline.Station.open(output.settings(ctx), progress) as station:
        spec = release or _newest(station, check)
        found = orders.calibrate(station, check, spec, measurements=measurements)
    if found is None:
        output.tell("A measurement failed or could not be trusted: `mtp-monitor report` shows it.")
        raise typer.Exit(output.Code.UNDECIDED)
    if as_json:
        output.emit(SCHEMA, found.document())
    else:
        _show(found)


def _newest(station: Station, check: str) -> str:
    from monitor.errors import UnknownNameError  # noqa: PLC0415
    from monitor.store.queries import runs  # noqa: PLC0415

    with station.store.read() as db:
        done = [run for run in runs.recent(db, 200) if run.check_id == check and run.state == "done"]
    if not done:
        raise UnknownNameError(
            f"Nothing was measured on {check} yet.", advice="name a release with --release"
        )
    return f"{done[0].project}=={done[0].version}@{done[0].artifact_sha256}"


def _show(found: Calibration) -> None:
    from rich.table import Table  # noqa: PLC0415

    from monitor.views.words import METRICS  # noqa: PLC0415

    table = Table(title=f"Noise from {found.measurements} measurements, {found.sessions} sessions")
    for name in ("Metric", "Within a session", "Between sessions", "Between measurements", "Detectable"):
        table.add_column(name, justify="left" if name == "Metric" else "right")
    for metric, levels in found.noise.items():
        figures = (levels.within_sd, levels.session_sd, levels.day_sd, levels.detectable)
        table.add_row(METRICS[metric], *(f"{100 * value:.2f} %" for value in figures))
    output.out.print(table)
    repeat: dict[bool, Any] = {True: "repeat exactly", False: "do NOT repeat"}
    output.out.print(f"Draft counts {repeat[found.counts_repeat]}; tokens {repeat[found.tokens_repeat]}.")
    output.out.print(
        f"Judged against each other: {found.alarms} false alarms in {found.judged}; "
        f"the true rate is below {100 * found.alarm_rate_below:.0f} % (95 %)."
    )
    if found.alternate:
        output.out.print(
            "Measurements differ so much that a stored reference is not to be trusted for times."
        )
