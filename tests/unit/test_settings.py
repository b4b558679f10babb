"""The configuration: where it is read, what overrides it, and what a mistake is answered with."""

from __future__ import annotations

import json
import os
from datetime import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor import settings
from monitor.errors import ConfigurationError

SECRET = "xoxb-canary-5f2a"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith("MTP_MONITOR_"):
            monkeypatch.delenv(variable)
    monkeypatch.setattr(settings, "gpu_present", lambda: False)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings.load(written(tmp_path, text))
    return str(caught.value)


def test_without_a_file_a_machine_without_gpu_follows_what_runs_on_a_cpu(tmp_path: Path) -> None:
    loaded = settings.load()
    assert [source.project for source in loaded.sources] == ["xllamacpp"]
    assert loaded.checks_of("xllamacpp") == ("synthetic-qwen35-cpu",)
    assert loaded.state == tmp_path / "state"


def test_without_a_file_a_machine_with_gpu_follows_the_engines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "gpu_present", lambda: True)
    loaded = settings.load()
    assert [source.project for source in loaded.sources] == ["xllamacpp", "vllm", "llama-cpp-python"]
    assert "gemma-4-31b-vllm-fp8.n4" in loaded.checks_of("vllm")


def test_the_file_is_the_one_given_else_the_variables_else_the_one_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("mtp-monitor.toml", 1), ("env.toml", 2), ("given.toml", 3)):
        (tmp_path / name).write_text(f"[web]\nport = {port}\n", encoding="utf-8")
    assert settings.load().web.port == 1
    monkeypatch.setenv("MTP_MONITOR_CONFIG", "env.toml")
    assert settings.load().web.port == 2
    assert settings.load(Path("given.toml")).web.port == 3


def test_paths_in_the_file_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "m.toml"
    file.write_text(
        'check_dirs = ["mine"]\n[[sources]]\nproject = "vllm"\n'
        'find_links = ["wheels", "https://files.example/x"]\n',
        encoding="utf-8",
    )
    loaded = settings.load(file)
    assert loaded.state == folder / "state"
    assert loaded.check_dirs == (folder / "mine",)
    assert loaded.sources[0].find_links == (str(folder / "wheels"), "https://files.example/x")
    assert loaded.database_url == f"sqlite:///{folder}/state/monitor.sqlite3"
    assert {loaded.environments_dir.parent, loaded.models_dir.parent, loaded.logs_dir.parent} == {
        loaded.state
    }


def test_a_variable_wins_over_the_file_and_leaves_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, '[web]\nport = 1\nhost = "::1"\n')
    monkeypatch.setenv("MTP_MONITOR_WEB__PORT", "9000")
    monkeypatch.setenv("MTP_MONITOR_STATE", "/elsewhere")
    monkeypatch.setenv("MTP_MONITOR_SOURCES", json.dumps([{"project": "vllm", "versions": ">=0.20"}]))
    loaded = settings.load(file)
    assert (loaded.web.port, loaded.web.host) == (9000, "::1")
    assert loaded.state == Path("/elsewhere")
    assert loaded.sources[0].versions == ">=0.20"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[sources]]\nproject = "vllm"\nwnated = ["x"]', ["`sources[0].wnated` is unknown", "'wanted'"]),
        ("[web]\nport = 99999", ["`web.port` is 99999", "65535"]),
        ("[web]\nport = 'abc'", ["`web.port` is 'abc'", "integer"]),
        ("[host]\nwindow = '25:00-26:00'", ["`host.window` is '25:00-26:00'", "22:00-06:00"]),
        ("[host]\nwindow = '07:00-07:00'", ["`host.window`", "two different local times"]),
        ("[host]\nbefore = 'stop it'", ["`host.before` is 'stop it'", "a list"]),
        (
            "[host]\ngpu_minutes_per_day = -1",
            ["`host.gpu_minutes_per_day` is -1", "greater than or equal to 0"],
        ),
        ("[host]\ngpu_minutes_per_day = nan", ["`host.gpu_minutes_per_day`", "finite"]),
        ("[[sources]]\nkind = 'package-index'", ["`sources[0].project` is missing"]),
        ('[[sources]]\nproject = "vllm"\nkind = "ftp"', ["`sources[0].kind` is 'ftp'", "'package-index'"]),
        ('[[sources]]\nproject = "vllm"\nversions = "new"', ["`sources[0].versions` is 'new'", ">=0.20"]),
        ('[[sources]]\nproject = "vllm"\n[[sources]]\nproject = "vllm"', ["'vllm'", "twice"]),
        ('[[assignments]]\nproject = "xlamacpp"\nchecks = ["a"]', ["assignments[0].project", "'xllamacpp'"]),
        ("web = 3", ["`web` is 3", "a table"]),
        ("stat = 'x'", ["`stat` is unknown", "'state'"]),
        ("[web\n", ["not valid TOML", "line 1"]),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    message = refusal(tmp_path, text)
    assert str(tmp_path / "mine.toml") in message
    for part in expected:
        assert part in message


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[web]\nport = -1\n[schedule]\npoll_minutes = 0\n")
    assert "web.port" in message
    assert "schedule.poll_minutes" in message


def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTP_MONITOR_WEB__PORT", "many")
    assert "MTP_MONITOR_WEB__PORT: `web.port` is 'many'" in refusal(tmp_path, "")


@pytest.mark.parametrize("variable", ["MTP_MONITOR_WEB__PROT", "MTP_MONITOR_WBE__PORT"])
def test_a_misspelt_variable_is_not_ignored(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=r"did you mean"):
        settings.load()


def test_a_variable_that_should_be_json_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTP_MONITOR_DESTINATIONS", f"[{SECRET}")
    with pytest.raises(ConfigurationError, match="MTP_MONITOR_DESTINATIONS does not hold JSON") as caught:
        settings.load()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read"):
        settings.load(tmp_path / "none.toml")


# ---------------------------------------------------------------------------------------------
# Secrets


def secret_file(tmp_path: Path, mode: int) -> Path:
    file = tmp_path / "token"
    file.write_text(SECRET + "\n", encoding="utf-8")
    file.chmod(mode)
    return file


def test_a_secret_comes_from_a_private_file_and_stays_out_of_every_text(tmp_path: Path) -> None:
    secret_file(tmp_path, 0o600)
    loaded = settings.load(written(tmp_path, '[web]\ntoken_file = "token"\n'))
    assert loaded.web.token is not None
    assert loaded.web.token.get_secret_value() == SECRET
    assert SECRET not in repr(loaded) + str(loaded) + loaded.model_dump_json()


def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret_file(tmp_path, 0o640)
    message = refusal(tmp_path, '[models]\ntoken_file = "token"\n')
    assert "`models.token_file`" in message
    assert "0640" in message
    assert "chmod 600" in message


def test_a_secret_in_the_file_itself_is_refused_without_being_shown(tmp_path: Path) -> None:
    message = refusal(tmp_path, f'[web]\ntoken = "{SECRET}"\n')
    assert "`web.token` is a secret" in message
    assert "MTP_MONITOR_WEB__TOKEN" in message
    assert SECRET not in message


def test_a_secret_under_a_misspelt_key_is_not_shown(tmp_path: Path) -> None:
    message = refusal(tmp_path, f'[web]\ntokn = "{SECRET}"\n')
    assert "`web.tokn` is unknown; did you mean 'token'?" in message
    assert SECRET not in message


def test_an_address_with_a_password_is_not_shown(tmp_path: Path) -> None:
    text = f'[[sources]]\nproject = "vllm"\nindex_url = ["https://me:{SECRET}@index.example/"]\n'
    message = refusal(tmp_path, text)
    assert "`sources[0].index_url` is not usable" in message
    assert SECRET not in message


def test_a_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_file(tmp_path, 0o600)
    monkeypatch.setenv("MTP_MONITOR_WEB__TOKEN", "other")
    assert "both given" in refusal(tmp_path, '[web]\ntoken_file = "token"\n')


def test_a_destinations_address_comes_from_its_own_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, '[[destinations]]\nname = "my-team"\nkind = "slack"\n')
    with pytest.raises(ConfigurationError, match="MTP_MONITOR_DESTINATION_MY_TEAM_URL"):
        settings.load(file)
    monkeypatch.setenv("MTP_MONITOR_DESTINATION_MY_TEAM_URL", "https://hooks.example/" + SECRET)
    loaded = settings.load(file)
    assert loaded.destinations[0].url is not None
    assert loaded.destinations[0].url.get_secret_value().endswith(SECRET)
    assert SECRET not in repr(loaded)


def test_settings_cannot_be_changed() -> None:
    loaded = settings.load()
    with pytest.raises(ValidationError, match="frozen"):
        loaded.state = Path("/x")
    with pytest.raises(ValidationError, match="frozen"):
        loaded.web.port = 1


def test_the_window_may_cross_midnight(tmp_path: Path) -> None:
    loaded = settings.load(written(tmp_path, '[host]\nwindow = "22:30-06:00"\n'))
    assert loaded.host.window_times == (time(22, 30), time(6))
    assert settings.load(written(tmp_path, "")).host.window_times is None
