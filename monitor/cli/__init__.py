"""The command `mtp-monitor`: one module a command, each of which parses, calls and prints.

A module offers `register(app)` and imports what is heavy inside its command, so that `--help` is quick.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from monitor.cli.output import PANELS, Code, Options, tell, tell_error
from monitor.errors import MonitorError

__all__ = ["app", "main"]

COMMANDS = (
    "demo",
    "init",
    "doctor",
    "models",
    "checks",
    "releases",
    "advice",
    "run",
    "bisect",
    "gate",
    "watch",
    "serve",
    "incidents",
    "gpu",
    "judge",
    "calibrate",
    "sweep",
    "export",
    "report",
)
"""Modules of this package in the order in which `--help` shows their commands."""


_LIMIT = 200  # characters of a command's first sentence, which wraps


class _Commands(TyperGroup):
    """Turns what a command raises into a message and an exit code, also under a test's runner."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings; typer itself does so only with rich, at half a second."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None) or "Commands"
                panels.setdefault(panel, []).append((name, command.get_short_help_str(_LIMIT)))
        for panel in [*(item for item in PANELS if item in panels), *(panels.keys() - {*PANELS})]:
            with formatter.section(panel):
                formatter.write_dl(panels[panel])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a known error becomes its message and its exit code."""
        try:
            return super().invoke(ctx)
        except MonitorError as error:
            tell_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            tell("Interrupted.")
            raise typer.Exit(Code.INTERRUPTED) from error


app = typer.Typer(
    name="mtp-monitor",
    cls=_Commands,
    help="""
    Watches releases of vLLM and llama.cpp for lost multi-token-prediction (MTP) speedups, and says why.

    It installs each release in an environment of its own, runs the same fixed benchmark with MTP
    speculation off and on, judges the result against the last good release, and reports.
    """,
    epilog="""
    First steps:

    \b
      mtp-monitor demo      the whole job on real releases, here, without a GPU or a configuration
      mtp-monitor init      writes a commented configuration for this machine
      mtp-monitor doctor    says what is missing

    \b
    Exit codes:
      0 fine                   3 regressed
      1 the monitor failed     4 inconclusive or invalid
      2 usage                  5 the release does not install, start or answer
    """,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    # A plain traceback shows no values of variables, which may be secrets.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer's signature
    if wanted:
        from importlib import metadata  # noqa: PLC0415  # takes as long as all of typer

        sys.stdout.write(f"mtp-monitor {metadata.version('mtp-monitor')}\n")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Configuration to use. Default: $MTP_MONITOR_CONFIG, else ./mtp-monitor.toml, "
            "else what fits this machine.",
            show_default=False,
        ),
    ] = None,
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    ctx.obj = Options(config=config)


def main() -> None:
    """Run the command line; the process ends with one of `monitor.cli.output.Code`."""
    # Asked to end, a command ends as at Ctrl-C: its engine in order, and what it measured kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks ✓ or × shows a question mark instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


for _name in COMMANDS:
    import_module(f"monitor.cli.{_name}").register(app)
