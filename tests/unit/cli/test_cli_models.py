"""models: those that the checks need, whether they are whole, and how they are fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standins.cli import SECRET, Call, documented


def own_check(folder: Path, pinned: str = "") -> None:
    """Write a check of one's own whose weights are a file, and a configuration that knows it."""
    folder.mkdir(exist_ok=True)
    (folder / "w.jsonl").write_text(
        '{"id":"a","workload":"w","max_tokens":32,"text":"x","source":"self","licence":"MIT"}\n'
    )
    (folder / "mine.toml").write_text(
        'schema = "mtp-monitor/check/1"\nid = "mine"\ntitle = "Mine"\nengine = "llama-server"\n'
        'projects = ["xllamacpp"]\nquantisation = "Q8"\ndraft_length = 2\nworkloads = ["w.jsonl"]\n'
        f'[model]\nname = "weights"\nkind = "path"\nfiles = ["w.gguf"]\nsha256 = {{{pinned}}}\n'
        "[sampling]\ntemperature = 0\n[estimate_minutes]\nquick = 1\nfull = 2\n"
    )
    (folder.parent / "mtp-monitor.toml").write_text(
        f'check_dirs = ["{folder.name}"]\n[models]\ndirectory = "m"\n'
    )


def test_models_lists_those_of_every_check_and_what_is_here(call: Call, tmp_path: Path) -> None:
    own_check(tmp_path / "checks")
    listed = {model["name"]: model for model in documented(call("models", "list", "--json"))["models"]}
    assert listed["gemma-4-31b-fp8"]["repository"] == "RedHatAI/gemma-4-31B-it-FP8-block"
    assert len(listed["gemma-4-31b-fp8"]["checks"]) == 14  # six draft lengths, eight other ways
    assert (listed["weights"]["present"], listed["weights"]["path"]) == (False, None)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w.gguf").write_bytes(b"x" * 10)
    listed = {model["name"]: model for model in documented(call("models", "list", "--json"))["models"]}
    assert (listed["weights"]["present"], listed["weights"]["bytes"]) == (True, 10)
    assert "weights" in call("models", "list").stdout


def test_models_verify_tells_whole_weights_from_altered_ones(call: Call, tmp_path: Path) -> None:
    own_check(tmp_path / "checks")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w.gguf").write_bytes(b"weights")
    whole = call("models", "verify", "--json")
    [entry] = documented(whole)["models"]
    assert (whole.exit_code, entry["name"], entry["whole"]) == (0, "weights", True)
    assert entry["sha256"] in call("models", "verify", "weights").stdout
    own_check(tmp_path / "checks", pinned=f'"w.gguf" = "{"0" * 64}"')
    altered = call("models", "verify", "--json")
    [entry] = documented(altered)["models"]
    assert (altered.exit_code, entry["whole"]) == (1, False)
    assert "is not the file that the check pins" in altered.stderr


def test_models_verify_of_nothing_says_so(call: Call) -> None:
    done = call("models", "verify", "--json")
    assert (done.exit_code, documented(done)["models"]) == (0, [])
    assert "no model in" in done.stderr


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_unknown_model_is_a_usage_error(command: str, call: Call) -> None:
    done = call("models", command, "synthetic-qwen36")
    assert done.exit_code == 2
    assert "did you mean 'synthetic-qwen35'?" in done.stderr


def test_models_fetch_hands_the_token_to_the_hub_only_and_names_the_commit(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from monitor.checks import models

    found = models.VerifiedModel(tmp_path, "0" * 64, {"a.bin": "0" * 64}, 10, "c" * 40)

    handed: list[Any] = []
    here = models.list_models

    def fetch(spec: Any, folder: Path, token: Any, *, endpoint: Any, progress: Any, **_: Any) -> Path:
        handed.append((spec.name, folder, token, endpoint))
        progress("a.bin", 5, 10)
        progress("a.bin", 10, 10)
        return folder

    def present(checks: Any, folder: Path) -> Any:
        place = tmp_path / "there" if handed else None
        return [replace(status, path=place, revision="c" * 40) for status in here(checks, folder)]

    monkeypatch.setattr(models, "fetch", fetch)
    monkeypatch.setattr(models, "verify", lambda *_: found)
    monkeypatch.setattr(models, "list_models", present)
    monkeypatch.setenv("MTP_MONITOR_MODELS__TOKEN", SECRET)
    monkeypatch.setenv("MTP_MONITOR_MODELS__ENDPOINT", "https://hub.example")
    done = call("models", "fetch", "qwen-3.6-27b-fp8")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "state" / "models"
    assert handed == [("qwen-3.6-27b-fp8", folder, SECRET, "https://hub.example")]
    assert "c" * 40 in done.stdout
    assert "later fetches take them" in done.stderr
    assert SECRET not in done.output
