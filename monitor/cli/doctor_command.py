"""`mtp-monitor doctor --command`: a user's own command line, looked at for a version and never run."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from monitor.cli import output
from monitor.engines.advice import Leads

if TYPE_CHECKING:
    from monitor.engines.advice import Advice
    from monitor.steps.configuration import Configuration

SCHEMA = "mtp-monitor/configuration-advice/1"
HELP_DEADLINE_S = 20.0
_MARKS = {Leads.REFUSED: ("✗", "bold red"), Leads.SILENT: ("!", "yellow"), Leads.NOTE: ("–", "dim")}
_HEADINGS = {
    Leads.REFUSED: "It would not start",
    Leads.SILENT: "It would start and do something else than what is written",
    Leads.NOTE: "Good to know",
}
_CODES = {Leads.REFUSED: output.Code.UNUSABLE, Leads.SILENT: output.Code.UNDECIDED}


def look_at(ctx: typer.Context, text: str, spec: str, running: str | None, *, as_json: bool) -> None:
    """Print what is to be said of the command line `text` for the version `spec`, and exit as it deserves."""
    from monitor.engines.command_line import read_command  # noqa: PLC0415
    from monitor.steps import configuration  # noqa: PLC0415

    command = read_command(text)
    version = configuration.version_of(spec, "--for")
    old = configuration.version_of(running, "--from") if running is not None else None
    environments = output.settings(ctx).environments_dir
    found = configuration.look_at(command, version, old, lambda *names: _own_help(environments, *names))
    worst = next((leads for leads in Leads if any(f.leads is leads for f in found.findings)), None)
    if as_json:
        output.emit(SCHEMA, _document(found, worst))
    else:
        _print(found)
    if worst in _CODES:
        raise typer.Exit(_CODES[worst])


def _document(found: Configuration, worst: Leads | None) -> dict[str, object]:
    return {
        "ok": worst not in _CODES,
        "server": found.command.server,
        "arguments": found.command.arguments,
        "variables": dict(found.command.variables),
        "for": found.version,
        "from": found.running,
        "basis": found.basis,
        "findings": found.findings,
    }


def _own_help(environments: Path, project: str, version: str) -> str | None:
    """Return what the server of an environment that is here prints as `--help`, None where there is none."""
    from monitor.environments import record  # noqa: PLC0415

    for folder in sorted(environments.iterdir()) if environments.is_dir() else []:
        program = folder / "bin" / "llama-server"
        if folder.name.startswith(".") or not program.exists():
            continue
        environment = record.read(folder)
        if environment is None or (environment.artifact.project, environment.artifact.version) != (
            project,
            version,
        ):
            continue
        return _asked(program)
    return None


def _asked(program: Path) -> str | None:
    from monitor.proc import engine_environment  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        try:
            said: subprocess.CompletedProcess[str] = subprocess.run(
                [program, "--help"],
                env=engine_environment(Path(scratch), extra={}),
                capture_output=True,
                text=True,
                timeout=HELP_DEADLINE_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return None
    return said.stdout


# ---------------------------------------------------------------------------------------------
# Text


def _print(found: Configuration) -> None:
    output.out.print(f"{found.command.server} for {found.version}", style="bold", soft_wrap=True)
    output.out.print(f"Known from {found.basis.text}.", style="dim", soft_wrap=True)
    if found.running is not None:
        output.out.print(f"● marks what is new against {found.running}.", style="dim", soft_wrap=True)
    for leads, heading in _HEADINGS.items():
        findings = [finding for finding in found.findings if finding.leads is leads]
        if findings:
            output.out.print(f"\n{heading}", style="bold")
        for finding in findings:
            _print_finding(finding)
    output.out.print(f"\n{_conclusion(found)}", style="bold", soft_wrap=True)


def _print_finding(finding: Advice) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    mark, style = _MARKS[finding.leads]
    new = " ●" if finding.new else ""
    line = Text.assemble((f"{mark} ", style), (f"{output.harmless(finding.option)}{new}", "cyan"))
    output.out.print(line, soft_wrap=True)
    output.out.print(Padding(Text(output.harmless(finding.text)), (0, 0, 0, 4), expand=False))
    if finding.advice:
        output.out.print(
            Padding(Text(f"→ {output.harmless(finding.advice)}", style="yellow"), (0, 0, 0, 4), expand=False)
        )


def _conclusion(found: Configuration) -> str:
    """Return what it comes to, with less certainty where nobody has seen this very version."""
    said = _outcome(found)
    if found.basis.exact:
        return said
    return f"As far as is known, {said[0].lower()}{said[1:-1]}; {found.version} itself was not looked at."


def _outcome(found: Configuration) -> str:
    counts = {leads: sum(finding.leads is leads for finding in found.findings) for leads in Leads}
    if number := counts[Leads.REFUSED]:
        what = f"{number} thing{'s' if number > 1 else ''} that this version refuses"
        more = f", and {counts[Leads.SILENT]} that it passes over in silence" if counts[Leads.SILENT] else ""
        return f"The server would not start: {what}{more}."
    if number := counts[Leads.SILENT]:
        return (
            f"The server would start, and {number} thing{'s' if number > 1 else ''} would not be as written."
        )
    return "The server would start and do what is written."
