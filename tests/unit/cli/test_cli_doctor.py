"""doctor: what a person or a script is told of a machine, its sources and its configuration."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import host as hosts
from monitor import settings
from monitor.cli import machine
from monitor.errors import HostError
from monitor.steps.station import now_utc
from standins.cli import GPU, SECRET, Call, documented
from standins.github import GithubServer
from standins.index import IndexServer
from standins.wheels import wheel


@pytest.fixture
def index() -> Iterator[IndexServer]:
    with IndexServer() as server:
        server.add("xllamacpp", *wheel("xllamacpp", "2026.5.9200"))
        server.add("xllamacpp", *wheel("xllamacpp", "2026.10.9900"))
        yield server


def findings(done: Any, topic: str) -> dict[str, dict[str, str]]:
    return {item["name"]: item for item in documented(done)["findings"] if item["topic"] == topic}


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
    assert checks["qwen-3.6-27b-vllm-fp8-streams.{c1,c4,c16}"]["state"] == "note"
    for alone in ("qwen-3.6-27b-vllm-fp8-beside", "gemma-4-31b-vllm-fp8-beside"):
        assert checks[alone]["state"] == "note"
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
