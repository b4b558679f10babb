"""`mtp-monitor serve`: the service with its pages."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor serve", "mtp-monitor serve --port 9000", "mtp-monitor serve --no-schedule"
    )
    app.command("serve", rich_help_panel=output.WATCH, epilog=examples)(serve)


def serve(
    ctx: typer.Context,
    *,
    schedule: Annotated[
        bool, typer.Option("--schedule/--no-schedule", help="Also watch for releases, or only show pages.")
    ] = True,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Instead of `web.host`.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=0, max=65535, help="Instead of `web.port`.", show_default=False),
    ] = None,
) -> None:
    """Keep watch and serve the pages, the API, /healthz and /metrics, until it is stopped.

    The first SIGTERM or Ctrl-C ends what is being measured in order and keeps it; the second ends at once.
    """
    settings = output.settings(ctx)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if given:
        settings = settings.model_copy(update={"web": settings.web.model_copy(update=given)})
    keep(settings, schedule=schedule, pages=True)


def keep(settings: Settings, *, schedule: bool, pages: bool) -> None:
    """Run the service until it is stopped; what it does is logged on stderr."""
    from monitor.daemon import Daemon  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "apscheduler", "uvicorn", "gguf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with Station.open(settings, _Log()) as station:
        Daemon(station, schedule=schedule, pages=pages).run()


class _Log:
    """Progress as lines of the log."""

    def stage(self, text: str) -> None:
        logging.getLogger("mtp-monitor").info("%s", output.harmless(text))

    def session(self, text: str, done: int, total: int) -> None:
        logging.getLogger("mtp-monitor").info("%s: session %d of at most %d", text, done + 1, total)

    def prompt(self, done: int, total: int) -> None:
        """Say nothing: a line for each prompt would be too many."""
