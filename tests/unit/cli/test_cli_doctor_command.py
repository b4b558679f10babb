"""`doctor --command`: what a script relies on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.environments import record
from standins.engine import environment_of

PINNED = "llama-server -m q.gguf -c 3000 -np 1 -fit off --no-cache-prompt --cache-ram 0 --metrics"
B11549 = ("--for", "llama.cpp==b11549")


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, ["doctor", *arguments])


@pytest.mark.parametrize(
    ("added", "code"),
    [
        ("--spec-type draft-mtp --spec-draft-n-max 3", 0),
        ("--spec-draft-n-max 3", 4),
        ("--spec-type mtp --spec-draft-n-max 3", 5),
        ("--spec-draft-n-max 3 --mlock", 5),
    ],
)
def test_the_exit_code_says_the_worst(doctor: Callable[..., Any], added: str, code: int) -> None:
    done = doctor("--command", f"{PINNED} {added}", *B11549)
    assert done.exit_code == code
    assert max(map(len, done.stdout.splitlines())) <= 110
    as_json = doctor("--command", f"{PINNED} {added}", *B11549, "--json")
    assert as_json.exit_code == code
    document = json.loads(as_json.stdout)
    assert document["schema"] == "mtp-monitor/configuration-advice/1"
    assert document["ok"] is (code == 0)
    assert document["for"] == {"project": "llama.cpp", "version": "11549", "build": 11549}


def test_it_is_told_in_plain_words_and_the_command_is_never_run(
    doctor: Callable[..., Any], tmp_path: Path
) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    done = doctor("--command", f"{program} -m q.gguf --spec-draft-n-max 3 --mlock \x1b[31m", *B11549)
    assert "It would not start" in done.stdout
    assert "→ use --load-mode" in done.stdout
    assert "drafts nothing" in " ".join(done.stdout.split())
    assert "\x1b[31m" not in done.stdout
    assert not (tmp_path / "ran").exists()
    assert list(tmp_path.iterdir()) == [program]


def test_from_a_version_says_what_is_new(doctor: Callable[..., Any]) -> None:
    done = doctor(
        *("--command", f"{PINNED} --spec-type draft-mtp", *B11549, "--from", "xllamacpp==2026.5.9294"),
        "--json",
    )
    document = json.loads(done.stdout)
    assert document["from"]["build"] == 9294
    assert {finding["option"] for finding in document["findings"] if finding["new"]} == {
        *("--timeout", "--dry-penalty-last-n"),
    }


def test_a_server_that_is_installed_here_is_asked_for_its_own_options(
    doctor: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mtp-monitor.toml").write_text('state = "state"\n')
    folder = tmp_path / "state" / "environments" / "xllamacpp-2026.10.12345"
    program = folder / "bin" / "llama-server"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\n[ "$1" = --help ] || exit 9\n'
        "printf '%-40s%s\\n' '--only-here N' 'an option (default: 1)' '-m,    --model FNAME' 'the model'\n"
    )
    program.chmod(0o755)
    environment = environment_of(folder / "bin" / "python", "2026.10.12345")
    (folder / "bin" / "python").touch()
    record.write(folder, replace(environment, path=folder))
    asked = ("--command", "llama-server -m q.gguf --only-here 3", "--json")

    here = json.loads(doctor(*asked, "--for", "xllamacpp==2026.10.12345").stdout)
    elsewhere = json.loads(doctor(*asked, "--for", "xllamacpp==2026.10.12346").stdout)

    assert here["basis"]["exact"] is True
    assert "itself" in here["basis"]["text"]
    assert not [finding for finding in here["findings"] if finding["leads"] == "refused"]
    assert elsewhere["basis"]["exact"] is False
    assert [f["option"] for f in elsewhere["findings"] if f["leads"] == "refused"] == ["--only-here"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--command", PINNED],
        [*B11549],
        ["--from", "llama.cpp==b11549"],
        ["--command", "ls", *B11549],
        ["--command", PINNED, "--for", "nothing==1"],
    ],
)
def test_half_a_question_is_a_usage_error(doctor: Callable[..., Any], arguments: list[str]) -> None:
    done = doctor(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "What to do:" in done.stderr


def test_of_a_version_that_nobody_looked_at_nothing_is_said_for_certain(doctor: Callable[..., Any]) -> None:
    command = (
        "VLLM_USE_DEEP_GEMM=0 vllm serve Qwen/Qwen3.6-27B-FP8 --max-num-seqs 1 --no-enable-prefix-caching "
        """--speculative-config '{"method": "mtp", "num_speculative_tokens": 3}'"""
    )

    def last(version: str, text: str = command) -> str:
        return str(doctor("--command", text, "--for", f"vllm=={version}").stdout.splitlines()[-1])

    assert last("0.32.0") == "The server would start and do what is written."
    softer = "As far as is known, the server would start and do what is written; "
    assert last("0.34.0") == f"{softer}vllm 0.34.0 itself was not looked at."
    assert last("0.34.0", f"{command} --nonsense 1").startswith(
        "As far as is known, the server would not start:"
    )
