"""Attach: settings, the fingerprint, and how versions told in different words become one."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from monitor import resources
from monitor import settings as configuration
from monitor.checks.digest import digest_of
from monitor.checks.loader import load_checks
from monitor.checks.models import models_of
from monitor.domain import (
    JUDGED_ARMS,
    Arm,
    Fingerprint,
    ModelSpec,
    Package,
    ReleaseState,
    is_attached,
    measures,
)
from monitor.engines import engine_for
from monitor.engines.base import Setup
from monitor.engines.llama_http import LLAMA
from monitor.engines.vllm_http import VllmHttp
from monitor.environments.attached import environment_of
from monitor.environments.command import answer_of
from monitor.errors import AttachedChangedError, ConfigurationError, SourceError, SourceLiedError
from monitor.releases import policy
from monitor.releases.attached import AttachedSource, agreed, version_in
from monitor.releases.projects import build_number
from monitor.settings_tables import SourceSettings
from standins.engine import environment_of as installed_in
from standins.engine import standin_check

ATTACHED = {"kind": "attached", "project": "vllm"}
RUNNING = Fingerprint(
    project="vllm",
    version="0.33.0",
    engine=("0.33.0",),
    served=(("http://127.0.0.1:8000", "gemma at /models/gemma"),),
    packages=(Package("torch", "2.14.0"), Package("vllm", "0.33.0")),
    python_version="3.11.7",
    driver="580.65",
    image="sha256:11",
)

# --- settings ------------------------------------------------------------------------------------


def written(tmp_path: Path, text: str) -> configuration.Settings:
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return configuration.load(file)


def test_an_attached_source_is_on_a_channel_of_its_own(tmp_path: Path) -> None:
    loaded = written(
        tmp_path,
        '[[sources]]\nproject = "vllm"\n[[sources]]\nproject = "vllm"\nkind = "attached"\n'
        'python = "~/vllm/bin/python"\nversion_command = ["vllm", "--version"]\n',
    )
    assert [source.channel for source in loaded.sources] == ["stable", "attached"]
    assert loaded.sources[1].python == Path.home() / "vllm/bin/python"
    index = replace(RUNNING.artifact, url="https://files.example/vllm-0.33.0-py3-none-any.whl")
    assert loaded.source_for(RUNNING.artifact) == loaded.sources[1]
    assert loaded.source_for(index) == loaded.sources[0]


def test_checks_that_ship_are_not_assigned_to_what_the_owner_runs(tmp_path: Path) -> None:
    loaded = written(tmp_path, '[[sources]]\nproject = "vllm"\nkind = "attached"\n')
    assert loaded.checks_of("vllm") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'kind = "attached"\nindex_url = "https://index.example/"\nwanted = ["x"]',
            "index_url and no wanted",
        ),
        ('kind = "attached"\nsettle_minutes = 1', "a source of kind 'attached' has no settle_minutes"),
        ('python = "/usr/bin/python3"', "a source of kind 'package-index' has no python"),
        ('kind = "attached"\nchannel = "stable"', "not on the channel 'stable'"),
        ('channel = "attached"', "not on the channel 'attached'"),
        ('kind = "attached"\npython = "bin/python"', "an absolute path"),
        ('kind = "attached"\nversion_command = "vllm --version"', "a list"),
    ],
)
def test_the_kinds_of_sources_have_no_keys_in_common(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        written(tmp_path, f'[[sources]]\nproject = "vllm"\n{text}\n')
    assert "sources[0]" in str(caught.value)
    assert expected in str(caught.value)


# --- the fingerprint -----------------------------------------------------------------------------


def test_the_fingerprint_is_an_artifact_with_a_version_that_pep_440_knows() -> None:
    artifact = RUNNING.artifact
    assert Version(artifact.version).public == "0.33.0"
    assert artifact.version == f"0.33.0+attached.{RUNNING.sha256[:8]}"
    assert (artifact.sha256, artifact.url) == (RUNNING.sha256, "attached:vllm")
    assert artifact.filename == f"attached-{RUNNING.sha256[:12]}.json"
    assert is_attached(artifact)
    assert not is_attached(replace(artifact, url="https://files.example/x.whl"))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.34.0"},
        {"engine": ("0.33.0+cu130",)},
        {"served": (("http://127.0.0.1:8000", "qwen"),)},
        {"packages": (Package("torch", "2.14.1"), Package("vllm", "0.33.0"))},
        {"python_version": "3.11.8"},
        {"driver": None},
        {"image": "sha256:22"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_there_is_another_fingerprint(change: dict[str, Any]) -> None:
    changed = replace(RUNNING, **change)
    assert changed.sha256 != RUNNING.sha256
    with pytest.raises(AttachedChangedError, match="has changed meanwhile"):
        environment_of(RUNNING.artifact, changed, None)


def test_the_environment_of_what_runs_has_its_packages_driver_and_image() -> None:
    environment = environment_of(RUNNING.artifact, RUNNING, Path("/srv/vllm/bin/python"))
    assert environment.path == Path("/srv/vllm")
    assert [(package.name, package.version) for package in environment.packages] == [
        ("torch", "2.14.0"),
        ("vllm", "0.33.0"),
        ("container image", "sha256:11"),
        ("GPU driver", "580.65"),
    ]


def test_a_source_lists_what_runs_and_it_waits_for_nothing() -> None:
    settings = SourceSettings.model_validate(ATTACHED)
    source = AttachedSource(settings, lambda: RUNNING)
    (release,) = source.poll()
    assert (release.channel, release.artifacts) == ("attached", (RUNNING.artifact,))
    assert source.address == "attached:vllm"
    now = installed_in(Path("/x/bin/python")).built_at
    (decision,) = policy.decide([release], settings, now=now, python_version="3.11", first_mtp_version="9")
    assert (decision.state, decision.artifact) == (ReleaseState.AGED, RUNNING.artifact)


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.33.0", "0.33.0"),
        ("INFO 11-04 12:00:00 loading\n0.33.1.dev12+gabc1234.cu130\n", "0.33.1.dev12"),
        ("b11549-0c1e57098", "11549"),
        ("ggml_cuda_init: compute capability 12.0\nversion: 9235 (d14ce3dab)\nbuilt with cc 12.2", "9235"),
        ("version: 0.5.0-dev (build 11549, commit 0c1e570)\nbuilt with cc 12.2", "11549"),
        ("vLLM version: v0.33.0", "0.33.0"),
        ("starting\nvllm 0.33.0", "0.33.0"),
        ("good morning", None),
        ("", None),
    ],
)
def test_a_version_is_read_out_of_what_a_program_says(text: str, version: str | None) -> None:
    found = version_in(text)
    assert (found.version if found else None) == version


def test_all_that_is_said_of_the_version_has_to_agree() -> None:
    told = agreed("vllm", servers={"a": "0.33.0", "b": "0.33.0"}, command="0.33.0", package="0.33.0+cu130")
    assert told == ("0.33.0", ("0.33.0", "vllm 0.33.0+cu130"))
    with pytest.raises(SourceError, match=r"a says 0\.33\.0; the package list says vllm 0\.34\.0"):
        agreed("vllm", servers={"a": "0.33.0"}, package="0.34.0")
    with pytest.raises(SourceError, match="not one version"):
        agreed("llama.cpp", servers={"a": "b9300-aaaaaaa", "b": "b9300-bbbbbbb"})
    with pytest.raises(SourceLiedError, match="Nothing tells"):
        agreed("llama.cpp", servers={})


def test_a_packaging_of_llama_cpp_keeps_its_own_version_beside_the_build() -> None:
    told = agreed("llama-cpp-python", servers={"a": "b11549-0c1e570"}, package="0.3.36")
    assert told == ("0.3.36", ("b11549-0c1e570", "llama-cpp-python 0.3.36"))
    assert build_number("llama.cpp", "11549+attached.3fa2b1c4") == 11549


def test_servers_name_their_version_and_model_and_a_build_without_number_names_none() -> None:
    props = {"build_info": "b9300-abc", "model_alias": "mine", "model_path": "/m/a.gguf\x1b[0m"}
    assert LLAMA.served({"/props": props}).version == "b9300-abc"
    assert LLAMA.served({"/props": props}).model == "mine at /m/a.gguf [0m"
    assert LLAMA.served({"/props": {"build_info": "b0-unknown"}}).version is None
    assert LLAMA.served({"/props": [1]}).model is None
    cards = [{"id": "adapter"}, {"id": "mine", "root": "org/model", "created": 17}]
    vllm = VllmHttp("mine")
    told = vllm.served({"/version": {"version": "0.33.0"}, "/v1/models": {"data": cards}})
    assert (told.version, told.model) == ("0.33.0", "mine at org/model")
    assert vllm.served({"/version": 3, "/v1/models": {"data": 3}}).model is None
    assert vllm.effective({"/version": {"version": "0.33.0"}, "/v1/models": {"data": cards}}) == {
        "version": "0.33.0",
        "model.id": "mine",
        "model.root": "org/model",
    }


# --- checks and commands -------------------------------------------------------------------------


def test_a_served_model_is_known_by_its_name_and_has_no_files() -> None:
    checks = [standin_check(model=ModelSpec(name, "served"), engine="endpoint") for name in ("gemma", "qwen")]
    assert digest_of(checks[0]) != digest_of(checks[1])
    assert models_of(checks) == {}
    assert measures(checks[0], RUNNING.artifact)
    assert not measures(standin_check(engine="vllm"), RUNNING.artifact)


def setup(arm: Arm = Arm.MTP, draft: Path | None = None, **changes: Any) -> Setup:
    serve = {
        "baseline_command": ["/srv/vllm/bin/vllm", "serve", "{model}", "--port", "{port}"],
        "mtp_command": ["serve", "{model}", "--port={port}", '{"n":{draft_length},"model":"{draft_model}"}'],
        "protocol": "llama.cpp",
    }
    check = standin_check(**{"engine": "command", "serve": serve} | changes)
    environment = installed_in(Path("/x/bin/python"))
    return Setup(check, arm, environment, Path("/m/one.gguf"), draft, Path("/scratch"), 4711)


def test_a_command_is_started_with_its_places_filled_in_and_other_braces_left() -> None:
    engine = engine_for("command")
    launch = engine.launch(setup(draft=Path("/m/head.gguf")))
    assert launch is not None
    assert launch.argv == ("serve", "/m/one.gguf", "--port=4711", '{"n":3,"model":"/m/head.gguf"}')
    baseline = engine.launch(setup(Arm.BASELINE))
    assert baseline is not None
    assert (baseline.argv[0], baseline.path) == ("/srv/vllm/bin/vllm", (Path("/srv/vllm/bin"),))
    assert engine.address(setup()) == "http://127.0.0.1:4711"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"serve": {"mtp_command": ["serve", "{port}"]}}, "how its servers are asked"),
        ({"serve": {"mtp_command": ["serve"], "protocol": "llama.cpp"}}, r"serve\.mtp_command"),
        ({"serve": {"mtp_command": "serve {port}", "protocol": "llama.cpp"}}, "list of texts"),
        (
            {"serve": {"mtp_command": ["{port}"], "protocol": "llama.cpp", "context": 1}},
            "no setting 'context'",
        ),
        ({}, "names no such weights"),
        ({"model": ModelSpec("mine", "served")}, "names no such weights"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        engine_for("command").launch(setup(**changes))


# --- foreign commands ----------------------------------------------------------------------------


def shell(script: str, *, deadline_s: float = 30.0, max_bytes: int = 1000) -> tuple[int | None, str, str]:
    return answer_of(
        ["/bin/sh", "-c", script], {"PATH": os.defpath}, Path("/"), deadline_s=deadline_s, max_bytes=max_bytes
    )


def test_a_command_that_floods_is_read_to_its_end_and_kept_to_its_limit() -> None:
    code, out, error = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo y >&2; exit 4")
    assert (code, len(out), error) == (4, 1000, "y\n")


@pytest.mark.parametrize("script", ["sleep 600", "sleep 600 & echo started", "exec >&- 2>&-; sleep 600"])
def test_a_command_that_hangs_is_ended_at_its_deadline_with_all_it_started(script: str) -> None:
    begun = time.monotonic()
    code, _, _ = shell(script, deadline_s=1.0)
    assert code in {None, 0}
    assert time.monotonic() - begun < 20


# --- the page ------------------------------------------------------------------------------------


def test_the_examples_of_the_page_are_read_as_they_stand(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "attach.md"
    blocks = re.findall(r"```toml\n# (\S+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "checks"
    (folder / "workloads").mkdir(parents=True)
    shutil.copy(resources.resource_dir("checks") / "workloads" / "code.jsonl", folder / "workloads")
    engines = []
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
        if name == "mtp-monitor.toml":
            loaded = configuration.load(tmp_path / name)
            (source,) = loaded.sources
            (check,) = (load_checks(loaded.check_dirs)[name] for name in loaded.checks_of(source.project))
            assert (source.kind, source.project in check.projects) == ("attached", True)
            engines.append(check.engine)
            for arm in JUDGED_ARMS:
                engine_for(check.engine).launch(replace(setup(arm), check=check))
    assert engines == ["endpoint", "command"]
