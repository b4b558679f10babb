"""Planted releases: repacked wheels that install as what they are, and the fault that goes with them."""

from __future__ import annotations

import base64
import csv
import hashlib
import http.client
import http.server
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import psutil
import pytest
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from monitor.checks.synthetic import SyntheticRecipe, write_model
from monitor.errors import ConfigurationError
from monitor.planted import hook
from monitor.planted.names import is_planted
from monitor.planted.wheels import Fault, plant
from standins.loopback import Loopback

HOOK = Path(hook.__file__)
VERSION = "2026.10.11549"
NAME = f"xllamacpp-{VERSION}-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
INIT = "class Server:\n    pass\n"
RECIPE = SyntheticRecipe(n_embd=64, n_layer=4, n_ff=128, noise=1.1, seed=7)
EH_PROJ = "blk.4.nextn.eh_proj.weight"


def make_wheel(folder: Path, name: str = NAME, *, date: int = 2020) -> Path:
    project, version = name.split("-")[:2]
    info = f"{project}-{version}.dist-info"
    content = {
        f"{project}/__init__.py": INIT,
        f"{project}/engine.so": "\x7fELF",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n\nVersion: x\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: cp310-abi3-manylinux2014_x86_64\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w") as file:
        for place, text in content.items():
            entry = zipfile.ZipInfo(place, (date, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if place.endswith(".so") else 0o644) << 16
            file.writestr(entry, text)
    return path


# ---------------------------------------------------------------------------------------------
# Wheels


def test_a_planted_wheel_says_what_it_is_in_its_name_and_its_metadata(tmp_path: Path) -> None:
    made = plant(make_wheel(tmp_path), Fault.ONE_DRAFT_FEWER, tmp_path / "planted")
    project, version, _, tags = parse_wheel_filename(made.name)
    assert (project, str(version)) == ("xllamacpp", f"{VERSION}+planted.one.draft.fewer")
    assert version > Version(VERSION)
    assert is_planted(str(version))
    assert tags == parse_wheel_filename(NAME)[3]
    with zipfile.ZipFile(made) as wheel:
        metadata = wheel.read(f"xllamacpp-{version}.dist-info/METADATA").decode()
    assert metadata.splitlines()[2] == f"Version: {version}"
    assert metadata.endswith("\n\nVersion: x\n")
    assert [file.name for file in made.parent.iterdir()] == [made.name]


def test_its_record_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    made = plant(make_wheel(tmp_path), Fault.CRASH, tmp_path / "planted")
    with zipfile.ZipFile(made) as wheel:
        (record,) = [name for name in wheel.namelist() if name.endswith("RECORD")]
        rows = {
            name: (digest, size)
            for name, digest, size in csv.reader(io.StringIO(wheel.read(record).decode()))
        }
        assert set(rows) == set(wheel.namelist())
        assert rows.pop(record) == ("", "")
        for name, (digest, size) in rows.items():
            content = wheel.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(content))
        assert wheel.getinfo("xllamacpp/engine.so").external_attr >> 16 == 0o755


def test_the_same_fault_in_the_same_wheel_has_the_same_sha256(tmp_path: Path) -> None:
    first = plant(make_wheel(tmp_path / "a"), Fault.WORSE_HEAD, tmp_path / "x")
    second = plant(make_wheel(tmp_path / "b", date=2024), Fault.WORSE_HEAD, tmp_path / "y", level=0.8)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_faults_of_different_strength_never_share_a_name(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    usual = plant(wheel, Fault.SLOWER_STEP, tmp_path)
    strong = plant(wheel, Fault.SLOWER_STEP, tmp_path, level=0.6)
    assert usual.name.split("-")[1] == f"{VERSION}+planted.slower.step"
    assert strong.name.split("-")[1] == f"{VERSION}+planted.slower.step.at.60"


def test_a_second_edition_of_a_fault_is_another_release(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    first, second = (plant(wheel, Fault.QUIET, tmp_path, edition=number) for number in (1, 2))
    assert second.name.split("-")[1] == f"{VERSION}+planted.quiet.edition.2"
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize(
    "name", ["vllm-0.9.0-py3-none-any.whl", f"xllamacpp-{VERSION}+local-py3-none-any.whl"]
)
def test_only_an_original_wheel_of_xllamacpp_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be planted") as caught:
        plant(make_wheel(tmp_path, name), Fault.CRASH, tmp_path / "planted")
    assert "original wheel" in caught.value.advice


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x05\x06" + bytes(18)])
def test_a_broken_wheel_is_refused_and_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ConfigurationError, match="no whole wheel"):
        plant(tmp_path / NAME, Fault.CRASH, tmp_path / "planted")
    assert not any((tmp_path / "planted").iterdir())


@pytest.mark.parametrize(
    ("fault", "level", "message"),
    [
        (Fault.CRASH, 0.5, "has no level"),
        (Fault.SLOWER_STEP, 1.0, "0.01 to 0.9"),
        (Fault.SLOWER_BASELINE, 0.0, "0.01 to 0.9"),
        (Fault.WORSE_HEAD, float("nan"), "0.01 to 10"),
        (Fault.ALTERED_TOKENS, 0.125, "in steps of 0.01"),
    ],
)
def test_a_level_that_does_not_fit_is_refused(
    tmp_path: Path, fault: Fault, level: float, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plant(make_wheel(tmp_path), fault, tmp_path / "planted", level=level)


# ---------------------------------------------------------------------------------------------
# What the fault does, with a stand-in for the engine's package


class Types(IntEnum):
    COMMON_SPECULATIVE_TYPE_NONE = 0
    COMMON_SPECULATIVE_TYPE_DRAFT_MTP = 3


class Params:
    def __init__(self, model: Path, *, mtp: bool) -> None:
        kinds = [Types.COMMON_SPECULATIVE_TYPE_DRAFT_MTP if mtp else Types.COMMON_SPECULATIVE_TYPE_NONE]
        self.speculative = SimpleNamespace(types=kinds, draft=SimpleNamespace(n_max=3))
        self.model = SimpleNamespace(path=str(model))


class Server:
    listening_address = "http://127.0.0.1:1"

    def __init__(self, params: Params) -> None:
        self.types = params.speculative.types
        self.n_max = params.speculative.draft.n_max

    def __new__(cls, params: Params) -> Any:
        server = super().__new__(cls)
        server.read = Path(params.model.path).read_bytes()  # type: ignore[attr-defined]
        server.path = Path(params.model.path)  # type: ignore[attr-defined]
        return server


Start = Callable[..., Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(RECIPE, tmp_path / "model.gguf").path


@pytest.fixture
def start(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the stand-in's server with a fault in one arm; no trace of it may stay."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = model.read_bytes()

    def run(fault: Fault, *, mtp: bool, level: float = 0.8) -> Any:
        package = {"Server": Server, "common_speculative_type": Types}
        hook.install(package, {"fault": fault.value, "level": level, "seed": 1})
        return package["Server"](Params(model, mtp=mtp))

    yield run
    assert model.read_bytes() == before
    assert not any(folder.iterdir())


def read(server: Any, folder: Path) -> dict[str, Any]:
    (folder / "seen.gguf").write_bytes(server.read)
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(folder / "seen.gguf").tensors}


def changed(server: Any, model: Path, folder: Path) -> set[str]:
    seen = read(server, folder)
    original = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(model).tensors}
    assert seen.keys() == original.keys()
    return {name for name in seen if not np.array_equal(seen[name], original[name])}


def test_a_worse_head_is_noise_of_the_given_level_in_the_mtp_block_of_a_copy(
    start: Start, model: Path, tmp_path: Path
) -> None:
    assert start(Fault.WORSE_HEAD, mtp=False).path == model
    server = start(Fault.WORSE_HEAD, mtp=True)
    assert changed(server, model, tmp_path) == {EH_PROJ}
    original = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(model).tensors}
    noise = read(server, tmp_path)[EH_PROJ] - original[EH_PROJ]
    assert noise.std() / original[EH_PROJ][:, 64:].std() == pytest.approx(0.8, rel=0.05)
    assert abs(noise[:, :64].std() / noise[:, 64:].std() - 1) < 0.1
    assert start(Fault.WORSE_HEAD, mtp=True).read == server.read


def test_altered_tokens_exchange_rows_of_the_output_head_of_the_mtp_arm(
    start: Start, model: Path, tmp_path: Path
) -> None:
    assert start(Fault.ALTERED_TOKENS, mtp=False, level=0.05).path == model
    server = start(Fault.ALTERED_TOKENS, mtp=True, level=0.05)
    assert changed(server, model, tmp_path) == {"output.weight"}
    original = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(model).tensors}
    before, after = original["output.weight"], read(server, tmp_path)["output.weight"]
    assert sorted(map(bytes, before)) == sorted(map(bytes, after))
    assert np.any(before != after, axis=1).sum() == round(0.05 * np.any(before, axis=1).sum()) == 13


def test_weights_that_cannot_be_altered_end_the_server_with_a_reason(start: Start, model: Path) -> None:
    content = model.read_bytes()
    model.write_bytes(content.replace(b"nextn.eh_proj", b"nextn.eh_prok"))
    try:
        with pytest.raises(RuntimeError, match="has no F32 tensor"):
            start(Fault.WORSE_HEAD, mtp=True)
    finally:
        model.write_bytes(content)


def test_speculation_off_takes_the_drafts_of_the_mtp_arm(start: Start) -> None:
    assert start(Fault.SPECULATION_OFF, mtp=True).types == [Types.COMMON_SPECULATIVE_TYPE_NONE]
    assert start(Fault.SPECULATION_OFF, mtp=True).n_max == 3


def test_one_draft_fewer_shortens_the_drafts_of_the_mtp_arm(start: Start) -> None:
    assert start(Fault.ONE_DRAFT_FEWER, mtp=True).n_max == 2
    assert start(Fault.ONE_DRAFT_FEWER, mtp=False).n_max == 3


@pytest.mark.parametrize("mtp", [False, True])
def test_a_crash_ends_the_process_with_a_message(start: Start, mtp: bool) -> None:
    with pytest.raises(SystemExit, match="planted fault"):
        start(Fault.CRASH, mtp=mtp)


def test_a_hanging_server_looks_ready_and_answers_no_completion(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    with Loopback(Ready) as real:
        monkeypatch.setattr(Server, "listening_address", real.url)
        address = start(Fault.HANG, mtp=False).listening_address.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"ok"
        connection.close()
        connection = http.client.HTTPConnection(address, timeout=0.5)
        connection.request("POST", "/completion", b"{}")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_slowed_arm_is_stopped_again_and_again_until_it_ends(ending: signal.Signals) -> None:
    program = f"import runpy, time; runpy.run_path({str(HOOK)!r})['_slow_down'](0.5); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-I", "-c", program]) as process:
        try:
            states = [_wait(partial(_in_state, process.pid, state)) for state in "TSTS"]
            (helper,) = [int(pid) for pid in _children(process.pid)]
        finally:
            process.send_signal(ending)
        assert all(states)
        assert process.wait(30) == -ending
    assert _wait(lambda: not Path(f"/proc/{helper}").exists())


def test_only_the_named_arm_is_slowed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed: list[float] = []
    monkeypatch.setattr(hook, "_slow_down", slowed.append)
    for number, (fault, mtp) in enumerate(
        [(Fault.SLOWER_STEP, True), (Fault.SLOWER_BASELINE, False)], start=1
    ):
        start(fault, mtp=mtp, level=0.3)
        start(fault, mtp=not mtp, level=0.3)
        assert slowed == [0.3] * number


def test_a_quiet_release_serves_what_it_was_asked_for(start: Start, model: Path) -> None:
    server = start(Fault.QUIET, mtp=True)
    assert (server.types, server.n_max) == ([Types.COMMON_SPECULATIVE_TYPE_DRAFT_MTP], 3)
    assert server.path == model


def test_what_is_left_behind_is_no_longer_below_the_server(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "STRAY_S", 1)
    start(Fault.STRAY, mtp=False)
    (stray,) = [
        process for process in psutil.process_iter(["cmdline"]) if "planted-stray" in str(process.info)
    ]
    assert stray.environ() == {}
    assert os.getpid() not in {parent.pid for parent in stray.parents()}
    stray.kill()
    psutil.wait_procs([stray], timeout=10)


def test_a_flood_is_as_long_as_it_says(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    start(Fault.FLOOD, mtp=False)
    said = capfd.readouterr().out
    assert len(said) > 0.99 * hook.FLOOD_BYTES
    assert said.endswith("the end of the flood\x1b[0m\n")


def test_the_hook_needs_nothing_but_the_standard_library() -> None:
    program = f"import runpy; runpy.run_path({str(HOOK)!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


def _in_state(pid: int, state: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == state


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()


def _wait(condition: Callable[[], bool], limit_s: float = 30) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        os.sched_yield()
    return False
