"""`mtp-monitor demo`: the whole job on real releases, without a GPU or a configuration."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.demo import Demonstration
    from monitor.domain import Judgement
    from monitor.pipeline import Station
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
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Serve the pages at the end until Ctrl-C. Default: only where there is a terminal.",
            show_default=False,
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

    audience, file = _Terminal(), report or state / "report.html"
    with demonstration.LoopbackReceiver() as receiver:
        settings = demonstration.settings_for(state, receiver)
        with pipeline.Station.open(settings) as station:
            with watching() as progress:
                station.progress = progress
                done = demonstration.demonstrate(station, audience, file, receiver)
            _show_pages(station, audience, done, stay=sys.stdin.isatty() if serve is None else serve)


def _show_pages(station: Station, audience: _Terminal, done: Demonstration, *, stay: bool) -> None:
    """Serve the pages, look whether they say what the report says, and stay for whoever wants to see them."""
    import httpx  # noqa: PLC0415

    from monitor.daemon import pages  # noqa: PLC0415

    audience.heading("Pages")
    with pages(station) as address:
        for outcome in done.runs:
            answer = httpx.get(f"{address}api/v1/runs/{outcome.run.id}", timeout=_PAGE_S, trust_env=False)
            shown = answer.raise_for_status().json()["run"]["verdict"]
            found = outcome.judgement.verdict if outcome.judgement else None
            if shown != found:
                raise MonitorError(f"The pages call run {outcome.run.id} {shown}, the report {found}.")
        audience.say(f"The pages at {address} say the same as the report of {len(done.runs)} runs.")
        if stay:
            audience.say("They are served until Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
        else:
            audience.say("`mtp-monitor demo --serve` keeps them there.")


_PAGE_S = 30.0


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
