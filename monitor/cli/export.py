"""`mtp-monitor export`: what a run measured, as sample files that anyone can judge again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import output

SCHEMA = "mtp-monitor/export/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples("mtp-monitor export 3", "mtp-monitor export 3 -o somewhere")
    app.command("export", rich_help_panel=output.SHARE, epilog=examples)(export)


def export(
    ctx: typer.Context,
    run: Annotated[int, typer.Argument(metavar="RUN", help="Number of the run.")],
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Where to. Default: run-RUN.", show_default=False
        ),
    ] = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Write a run's samples as JSON lines: reference.jsonl, candidate.jsonl, and two more if confirmed.

    A release that was measured on after its verdict has those sessions apart from it, in onward.jsonl.

    docs/samples.md explains the format. `mtp-monitor judge` reads it and reaches the stored verdict.
    """
    from monitor import pipeline, sample_file  # noqa: PLC0415
    from monitor.steps.publish import sample_sets  # noqa: PLC0415

    with pipeline.Station.open(output.settings(ctx)) as station:
        sets = sample_sets(station, run)
    target = folder or Path(f"run-{run}")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from monitor.errors import MonitorError  # noqa: PLC0415

        raise MonitorError(
            f"The folder {target} cannot be made: {error.strerror or error}.",
            kept="the run in the database",
            advice="name another with -o",
        ) from error
    files = []
    for name, samples in sets.items():
        path = target / f"{name}.jsonl"
        sample_file.write(path, samples)
        files.append(path)
    if as_json:
        output.emit(SCHEMA, {"run": run, "files": files})
        return
    for path in files:
        output.out.print(str(path), soft_wrap=True)
    if {"reference", "candidate"} <= sets.keys():
        confirm = (
            "--confirm confirm-reference.jsonl confirm-candidate.jsonl" if "confirm-reference" in sets else ""
        )
        output.tell(
            f"Judge them: cd {target} && mtp-monitor judge reference.jsonl candidate.jsonl {confirm}".rstrip()
        )
