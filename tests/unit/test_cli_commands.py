"""init, doctor, checks and models: what a person or a script is told of a machine."""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor import host as hosts
from monitor import settings
from monitor.checks import loader
from monitor.cli import app, machine
from monitor.errors import HostError
from monitor.steps.station import now_utc
from standins.github import GithubServer
from standins.index import IndexServer
from standins.wheels import wheel

GPU = {
    "index": 0,
    "name": "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    "uuid": "GPU-1",
    "memory_bytes": 96 * 2**30,
    "driver": "580.1",
    "compute_capability": "12.0",
}
SECRET = "hunter2canary"

Call = Callable[..., Any]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs the command in an empty folder of a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hosts, "read_gpus", lambda: ())
    monkeypatch.setattr(settings, "gpu_present", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    return run


@pytest.fixture
def index() -> Iterator[IndexServer]:
    with IndexServer() as server:
        server.add("xllamacpp", *wheel("xllamacpp", "2026.5.9200"))
        server.add("xllamacpp", *wheel("xllamacpp", "2026.10.9900"))
        yield server


def documented(done: Any) -> dict[str, Any]:
    """Return the one document on stdout."""
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def findings(done: Any, topic: str) -> dict[str, dict[str, str]]:
    return {item["name"]: item for item in documented(done)["findings"] if item["topic"] == topic}


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


# ---------------------------------------------------------------------------------------------
# init


def test_init_writes_a_file_that_loads_and_says_what_comes_next(call: Call, tmp_path: Path) -> None:
    done = call("init")
    assert done.exit_code == 0
    written = settings.load(tmp_path / "mtp-monitor.toml")
    assert [source.project for source in written.sources] == ["xllamacpp"]
    assert "mtp-monitor doctor" in done.stdout
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mtp-monitor.toml"]


def test_init_never_replaces_a_file_unless_told_to(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "mtp-monitor.toml"
    file.write_text("# mine\n")
    done = call("init")
    assert done.exit_code == 1
    assert "--force" in done.stderr
    assert file.read_text() == "# mine\n"
    assert call("init", "--force").exit_code == 0
    assert "[[sources]]" in file.read_text()


def test_init_follows_the_projects_it_is_given_with_their_indexes(call: Call, tmp_path: Path) -> None:
    done = call(
        *("--config", "own.toml", "init", "--project", "vllm", "--project", "llama-cpp-python"),
        *("--index-url", "vllm=https://index.example/simple/", "--state", "/srv/x"),
    )
    assert done.exit_code == 0, done.output
    content = tomllib.loads((tmp_path / "own.toml").read_text())
    assert content["sources"] == [
        {"project": "vllm", "index_url": "https://index.example/simple/", "backfill": 0},
        {"project": "llama-cpp-python", "backfill": 0},
    ]
    assert content["state"] == "/srv/x"
    assert "mtp-monitor --config own.toml doctor" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--project", "vlm"], "did you mean 'vllm'?"),
        (["--index-url", "vllm"], "NAME=URL"),
        (["--index-url", "vllm=https://index.example/"], "add --project vllm"),
    ],
)
def test_init_refuses_what_it_does_not_know_and_writes_nothing(
    arguments: list[str], says: str, call: Call, tmp_path: Path
) -> None:
    done = call("init", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_says_so_when_the_folder_is_not_there(call: Call) -> None:
    done = call("--config", "none/x.toml", "init")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


# ---------------------------------------------------------------------------------------------
# checks


def test_checks_lists_every_check_with_why_it_is_not_runnable_here(call: Call) -> None:
    listed = {check["id"]: check for check in documented(call("checks", "--json"))["checks"]}
    assert list(listed) == list(loader.load_checks())
    assert listed["synthetic-qwen35-cpu"]["runnable"] is True
    assert listed["synthetic-qwen35-cpu"]["assigned_to"] == ["xllamacpp"]
    away = listed["gemma-4-31b-vllm-fp8.n4"]
    assert (away["runnable"], away["draft_length"], away["engine"]) == (False, 4, "vllm")
    # Of a full disk it would be told as well.
    assert "needs an NVIDIA GPU with 80 GiB of memory; this machine has none" in away["reasons"]
    assert away["estimate_minutes"] == {"quick": 10, "full": 26}
    shown = call("checks").stdout
    assert shown.index("Runnable here") < shown.index("synthetic-qwen35-cpu") < shown.index("Not here: needs")
    assert all(check in shown for check in listed)


def test_checks_finds_the_reference_machine_able(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "read_gpus", lambda: (GPU,))
    monkeypatch.setattr(hosts, "free_disk", lambda _path: 2**40)
    listed = documented(call("checks", "--json"))["checks"]
    assert [check["id"] for check in listed if not check["runnable"]] == []


def test_checks_shows_one_in_full_with_its_digest(call: Call) -> None:
    check = loader.load_check("gemma-4-31b-vllm-fp8.n4")
    shown = call("checks", check.id).stdout
    for part in (check.title, check.digest, "RedHatAI/gemma-4-31B-it-FP8-block@main", "not pinned", "1.6"):
        assert part in shown
    [entry] = documented(call("checks", check.id, "--json"))["checks"]
    assert (entry["digest"], entry["definition"]["draft_length"]) == (check.digest, 4)


def test_an_unknown_check_is_a_usage_error_that_names_the_nearest(call: Call) -> None:
    done = call("checks", "synthetic-qwen35-cpv", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "did you mean 'synthetic-qwen35-cpu'?" in done.stderr


# ---------------------------------------------------------------------------------------------
# doctor


def test_doctor_finds_a_bare_machine_able_and_leaves_nothing(
    call: Call, index: IndexServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url_with("user", SECRET))
    done = call("doctor", "--json")
    assert done.exit_code == 0, done.output
    assert documented(done)["ok"] is True
    assert findings(done, "machine")["gpu"]["state"] == "note"
    assert findings(done, "configuration")["file"]["text"].startswith("none")
    found = findings(done, "indexes")["xllamacpp"]
    assert (found["state"], found["text"]) == (
        "fine",
        f"2 releases at {index.url}xllamacpp/, newest 2026.10.9900",
    )
    checks = findings(done, "checks")
    assert checks["synthetic-qwen35-cpu"]["text"] == "runnable here"
    assert checks["gemma-4-31b-vllm-fp8.{n1,n2,n3,n4,n5,n6}"]["state"] == "note"
    assert findings(done, "models")["synthetic-qwen35"]["state"] == "note"
    assert list(tmp_path.iterdir()) == []
    told = call("doctor")
    assert "✓ uv" in told.stdout
    assert "The monitor can work here" in told.stdout
    assert SECRET not in done.output + told.output


def test_looking_at_a_machine_without_an_id_gives_it_none(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = functools.partial(hosts.describe, root=tmp_path / "bare")
    monkeypatch.setattr(hosts, "describe", bare)
    assert call("checks").exit_code == 0
    assert call("doctor", "--offline").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    given = bare(tmp_path / "state").machine_id
    assert machine.look(tmp_path / "state").machine_id == given


def test_doctor_works_on_when_an_index_cannot_be_reached(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://user:{SECRET}@127.0.0.1:9/simple")
    done = call("doctor", "--json")
    assert done.exit_code == 0
    found = findings(done, "indexes")["xllamacpp"]
    assert found["state"] == "warning"
    assert "127.0.0.1:9" in found["text"]
    assert found["advice"]
    assert SECRET not in done.output


def test_doctor_offline_asks_no_index(call: Call, index: IndexServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    assert findings(call("doctor", "--offline", "--json"), "indexes") == {}
    assert index.requests == []


def test_doctor_names_a_broken_configuration_and_still_looks_at_the_machine(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "mtp-monitor.toml").write_text("stat = 1\n")
    done = call("doctor", "--json")
    assert done.exit_code == 1
    assert "cpu" in findings(done, "machine")
    found = findings(done, "configuration")["file"]
    assert found["state"] == "stops"
    assert "did you mean 'state'?" in found["text"]
    assert "cannot work here yet: file" in call("doctor").stdout


def test_doctor_says_which_variables_override_the_file_without_their_values(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTP_MONITOR_WEB__TOKEN", SECRET)
    done = call("doctor", "--offline", "--json")
    assert findings(done, "configuration")["environment"]["text"] == "overridden by MTP_MONITOR_WEB__TOKEN"
    assert SECRET not in done.output


@pytest.mark.parametrize(
    ("toml", "place", "says"),
    [
        ('state = "file/x"', "state/folder", "Not a directory"),
        ('[uv]\npython = "2.5"', "tools/python", "'2.5'"),
        ('[[assignments]]\nproject = "xllamacpp"\nchecks = ["none"]', "checks/none", "no such check"),
        ('check_dirs = ["absent"]', "checks/definitions", "does not exist"),
        (
            '[[assignments]]\nproject = "xllamacpp"\nchecks = ["qwen-3.6-27b-vllm-fp8.n4"]',
            "checks/assigned",
            "none of them is runnable",
        ),
    ],
)
def test_doctor_ends_with_1_for_what_stops_the_monitor(
    toml: str, place: str, says: str, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "mtp-monitor.toml").write_text(toml + "\n")
    done = call("doctor", "--offline", "--json")
    topic, name = place.split("/")
    found = findings(done, topic)[name]
    assert (done.exit_code, found["state"]) == (1, "stops")
    assert says in found["text"]


def test_doctor_says_that_the_database_is_damaged_and_does_not_touch_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "monitor.sqlite3"
    file.write_bytes(b"no database" * 100)
    done = call("doctor", "--offline", "--json")
    found = findings(done, "state")["database"]
    assert (done.exit_code, found["state"]) == (1, "stops")
    assert "not a database" in found["text"]
    assert file.read_bytes() == b"no database" * 100


def test_doctor_says_that_the_gpu_was_lost(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> Any:
        raise HostError("The NVIDIA driver answers, but not about its GPUs.", advice="restart")

    monkeypatch.setattr(hosts, "read_gpus", lost)
    done = call("doctor", "--offline", "--json")
    assert done.exit_code == 1
    assert findings(done, "machine")["gpu"] == {
        "topic": "machine",
        "name": "gpu",
        "state": "stops",
        "text": "The NVIDIA driver answers, but not about its GPUs.",
        "advice": "restart",
    }


def test_doctor_on_the_reference_machine_asks_for_the_weights(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "read_gpus", lambda: (GPU,))
    monkeypatch.setattr(hosts, "free_disk", lambda _path: 2**40)
    monkeypatch.setattr(settings, "gpu_present", lambda: True)
    done = call("doctor", "--offline", "--json")
    assert done.exit_code == 0
    assert findings(done, "checks")["gemma-4-31b-vllm-fp8.n4"]["text"] == "runnable here"
    wanted = findings(done, "models")["gemma-4-31b-fp8"]
    assert (wanted["state"], wanted["advice"]) == ("warning", "mtp-monitor models fetch gemma-4-31b-fp8")


# ---------------------------------------------------------------------------------------------
# models


def test_models_lists_those_of_every_check_and_what_is_here(call: Call, tmp_path: Path) -> None:
    own_check(tmp_path / "checks")
    listed = {model["name"]: model for model in documented(call("models", "list", "--json"))["models"]}
    assert listed["gemma-4-31b-fp8"]["repository"] == "RedHatAI/gemma-4-31B-it-FP8-block"
    assert len(listed["gemma-4-31b-fp8"]["checks"]) == 13  # six draft lengths, seven other ways
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


# ---------------------------------------------------------------------------------------------
# GitHub


def github_config(github: GithubServer, folder: Path, **source: str) -> None:
    settings = github.settings()
    given = {"project": "llama.cpp", "kind": "github", "channel": "nightly", **source}
    lines = [f'{key} = "{value}"' for key, value in given.items()]
    (folder / "mtp-monitor.toml").write_text(
        "[[sources]]\n"
        + "\n".join(lines)
        + f'\n[github]\napi_url = "{settings.api_url}"\nweb_url = "{settings.web_url}"\n'
        + f'file_hosts = ["{settings.file_hosts[0]}"]\n'
    )


def test_init_writes_a_github_source_for_llama_cpp(call: Call, tmp_path: Path) -> None:
    assert call("init", "--project", "llama.cpp").exit_code == 0
    written = settings.load(tmp_path / "mtp-monitor.toml")
    assert [(source.project, source.kind) for source in written.sources] == [("llama.cpp", "github")]
    assert written.checks_of("llama.cpp") == ("synthetic-qwen35-native",)


def test_doctor_asks_github_and_tells_what_is_left(call: Call, tmp_path: Path) -> None:
    with GithubServer(now_utc) as github:
        name = "llama-b9300-bin-ubuntu-x64.tar.gz"
        github.release("b9300", files={name: b"x"}, prerelease=True)
        github_config(github, tmp_path)
        found = findings(call("doctor", "--json"), "indexes")["llama.cpp (nightly)"]
        assert found["state"] == "fine"
        assert f"newest 9300 ({name}); 59 of 60 requests an hour left, without a token" in found["text"]
        github.delete("b9300")
        github.release("b9301", files={"llama-b9301-bin-macos-arm64.tar.gz": b"x"}, prerelease=True)
        found = findings(call("doctor", "--json"), "indexes")["llama.cpp (nightly)"]
        assert found["state"] == "warning"
        assert "none with a file like llama-b*-bin-ubuntu-x64.tar.gz" in found["text"]
        assert not github.violations
    assert not (tmp_path / "state").exists()


def test_doctor_explains_a_github_that_cannot_be_reached(call: Call, tmp_path: Path) -> None:
    with GithubServer(now_utc) as github:
        github_config(github, tmp_path)
    found = findings(call("doctor", "--json"), "indexes")["llama.cpp (nightly)"]
    assert found["state"] == "warning"
    assert "cannot be reached" in found["text"]
    assert found["advice"]
