"""`mtp-monitor demo`: the whole job on real releases, without a GPU or a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.domain import Judgement
    from monitor.views.models import ReleaseLine


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo", rich_help_panel="First", epilog=output.examples("mtp-monitor demo"))(demo)


def demo(
    *,
    state: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where everything is kept; a second run reuses it.")
    ] = Path("demo"),
    report: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Default: report.html there.", show_default=False
        ),
    ] = None,
) -> None:
    """Do the main job here: two real releases of llama.cpp on the CPU, and a planted regression.

    Takes a few minutes and about 1 GB of disk; a second run takes seconds. The exit code is 0 when it did its
    work, whatever the verdicts are.
    """
    from monitor import demo as demonstration  # noqa: PLC0415
    from monitor import pipeline  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415

    settings = demonstration.settings_for(state)
    with watching() as progress, pipeline.Station.open(settings, progress) as station:
        demonstration.demonstrate(station, _Terminal(), report or state / "report.html")


class _Terminal:
    """Shows the demo on stdout."""

    def __init__(self) -> None:
        self._part = 0

    def heading(self, text: str) -> None:
        self._part += 1
        output.out.print()
        output.out.print(f"{self._part}. {text}", style="bold")

    def say(self, text: str) -> None:
        output.out.print(output.harmless(text), soft_wrap=True)

    def releases(self, lines: list[ReleaseLine]) -> None:
        from monitor.views.terminal import releases_view  # noqa: PLC0415

        output.out.print(releases_view(lines))

    def judgement(self, judgement: Judgement, *, reference: str, candidate: str, planted: bool) -> None:
        from monitor.views.terminal import judgement_view  # noqa: PLC0415

        output.out.print(judgement_view(judgement, reference=reference, candidate=candidate, planted=planted))
