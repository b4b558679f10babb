"""`mtp-monitor incidents`: what is shown, what is decided, and that every decision stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from monitor import pipeline
from monitor.cli import app
from standins.service import Build, World

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return `incidents` of a state in which a release has lost acceptance."""
    world = World(tmp_path)
    with world.station() as station:
        for version, build in (("2026.6.9294", Build()), ("2026.7.9713", Build(accepted_share=0.4))):
            world.release(version, build)
            pipeline.cycle(station)
            world.wait(hours=1)
    monkeypatch.setenv("MTP_MONITOR_STATE", str(tmp_path / "state"))

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["incidents", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def test_the_list_says_what_goes_on_and_since_when(command: Command) -> None:
    shown = command("list").stdout
    assert "1  open: xllamacpp, made-up, acceptance drop" in shown
    assert "first in 2026.7.9713, latest in 2026.7.9713" in shown
    (incident,) = document(command("list", "--json"))["incidents"]
    assert (incident["state"], incident["direction"], incident["first_bad"]["version"]) == (
        *("open", "regressed", "2026.7.9713"),
    )


def test_each_decision_is_in_the_log_with_who_and_why(command: Command) -> None:
    command("ack", "1", "--who", "ann", "--reason", "on it")
    command("snooze", "1", "--who", "ann", "--hours", "2")
    command("false-alarm", "1", "--who", "ben", "-r", "the fan was dead")
    command("reopen", "1", "--who", "ann", "-r", "it was not the fan")
    ended = document(command("resolve", "1", "--who", "ann", "-r", "rolled back", "--json"))
    assert ended["state"] == "resolved"
    assert [(step["action"], step["who"], step["why"]) for step in ended["log"][1:]] == [
        ("acknowledged", "ann", "on it"),
        ("snoozed", "ann", ""),
        ("called a false alarm", "ben", "the fan was dead"),
        ("opened again", "ann", "it was not the fan"),
        ("resolved", "ann", "rolled back"),
    ]
    assert "rolled back" in command("show", "1").stdout
    assert "No incident goes on" in command("list").stderr
    assert document(command("list", "--all", "--json"))["incidents"][0]["incident"] == 1


def test_accepting_begins_an_epoch(command: Command) -> None:
    assert document(command("accept", "1", "-r", "worth it", "--json"))["state"] == "accepted reference"
    again = command("accept", "1", "-r", "worth it", code=2)
    assert "Incident 1 is accepted reference" in again.stderr


@pytest.mark.parametrize("arguments", [("show", "9"), ("ack", "9"), ("resolve", "9", "-r", "x")])
def test_an_incident_that_does_not_exist_is_named(command: Command, arguments: tuple[str, ...]) -> None:
    assert "There is no incident 9" in command(*arguments, code=2).stderr


def test_a_decision_that_ends_something_needs_a_reason(command: Command) -> None:
    command("resolve", "1", code=2)
    assert "A reason is needed" in command("resolve", "1", "-r", " ", code=2).stderr
