"""How every command speaks: exit codes, JSON, messages, help."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from monitor import errors
from monitor.cli import COMMANDS, _Commands, app, output
from monitor.domain import Verdict
from monitor.errors import MonitorError


def probe(raised: BaseException | None = None) -> typer.Typer:
    """Return a command line of the same kind whose only command raises."""
    made = typer.Typer(cls=_Commands, rich_markup_mode=None, pretty_exceptions_enable=False)

    @made.callback()
    def callback() -> None:
        """Keep the command's name."""

    @made.command()
    def work() -> None:
        if raised is not None:
            raise raised

    return made


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationError, 1),
        (errors.StoreBusyError, 1),
        (errors.SourceError, 1),
        (errors.UnknownNameError, 2),
        (errors.SampleFileError, 2),
        (errors.ProvisionError, 5),
        (errors.EngineStartError, 5),
    ],
)
def test_a_known_error_ends_with_its_code_and_its_three_sentences_on_stderr(
    kind: type[MonitorError], code: int
) -> None:
    done = CliRunner().invoke(probe(kind("It broke.", kept="the rest", advice="mend it")), ["work"])
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr == "Error: It broke.\nKept: the rest\nWhat to do: mend it\n"


def test_an_interruption_ends_with_130_and_an_unknown_option_with_2() -> None:
    assert CliRunner().invoke(probe(KeyboardInterrupt()), ["work"]).exit_code == 130
    assert CliRunner().invoke(probe(), ["work", "--what"]).exit_code == 2
    assert CliRunner().invoke(probe(), ["work"]).exit_code == 0


def test_a_message_cannot_steer_the_terminal_or_use_markup() -> None:
    hostile = errors.SourceError("\x1b[2J[red]said\u202e \x00[/red]\r\nnext")
    said = CliRunner().invoke(probe(hostile), ["work"]).stderr
    assert said == "Error: �[2J[red]said� �[/red]�\nnext\n"


def test_a_document_is_json_with_its_schema_first(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Thing:
        path: Path
        at: datetime
        verdict: Verdict
        pair: tuple[int, float]

    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    output.emit("s/1", {"things": [Thing(Path("a/ü"), local, Verdict.REGRESSED, (1, 0.5))], "none": None})
    text = capsys.readouterr().out
    assert text.startswith('{\n  "schema": "s/1"')
    assert json.loads(text) == {
        "schema": "s/1",
        "things": [{"path": "a/ü", "at": "2025-12-31T23:00:00Z", "verdict": "regressed", "pair": [1, 0.5]}],
        "none": None,
    }


def test_a_number_that_json_has_no_word_for_is_never_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.emit("s/1", {"x": float("nan")})
    assert capsys.readouterr().out == ""


def test_help_names_every_command_under_a_heading_and_shows_examples() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for heading in output.PANELS:
        assert f"\n{heading}:\n" in shown.stdout
    for command in COMMANDS:
        assert f"\n  {command}  " in shown.stdout
        own = CliRunner().invoke(app, [command, "--help"])
        assert own.exit_code == 0
        assert "Examples:" in own.stdout
        assert f"mtp-monitor {command}" in own.stdout.partition("Examples:")[2]
    assert "..." not in shown.stdout.partition("Options:")[2]


def test_without_a_command_the_help_is_shown_as_a_usage_error() -> None:
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "mtp-monitor demo" in done.output


def test_the_help_does_not_wait_for_what_only_commands_need() -> None:
    import subprocess

    heavy = "{'scipy', 'numpy', 'sqlalchemy', 'pydantic', 'httpx', 'jinja2', 'gguf', 'psutil'}"
    code = f"import sys, monitor.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_paragraph_is_wrapped_under_its_indent_for_people_and_left_whole_for_pipes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "a reason that is longer than one line of a terminal"
    shown = []
    for terminal in (True, False):
        file = io.StringIO()
        monkeypatch.setattr(output, "out", Console(file=file, width=40, force_terminal=terminal))
        output.paragraph(f"{said} \x1b[31m", indent="    ")
        shown.append(file.getvalue().splitlines())
    wrapped, whole = shown
    assert len(wrapped) > 1
    assert all(line.startswith("    ") and len(line) <= 40 for line in wrapped)
    assert len(whole) == 1
    assert "\x1b" not in whole[0]
