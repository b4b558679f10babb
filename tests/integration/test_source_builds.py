"""Source archives become environments: compiled here, once, by the real compiler."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import TypeAdapter

from monitor.domain import Artifact, Environment
from monitor.environments import compiled
from monitor.environments.collection import Environments
from monitor.errors import ArtifactChangedError, DiskFullError, HostError, MonitorError, ProvisionError
from monitor.settings_tables import BuildSettings, SourceSettings, UvSettings
from standins.archives import artifact_at, llama_sdist
from standins.environments import left_in, running
from standins.index import IndexServer
from standins.wheels import wheel

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("c++")), reason="needs a C++ compiler (apt install g++)"
)
SOURCE = SourceSettings(project="llama-cpp-python", index_url="http://127.0.0.1:9/simple/")


def made(tmp_path: Path, folder: str = "environments", **settings: object) -> Environments:
    return Environments.at(
        tmp_path / folder,
        uv=UvSettings(cache_dir=tmp_path / "cache"),
        build=BuildSettings.model_validate({"cuda": False} | settings),
        builds=tmp_path / "builds",
    )


def published(tmp_path: Path, version: str = "0.3.36", **parts: str) -> Artifact:
    content = llama_sdist(version, **parts)
    path = tmp_path / "index" / f"llama_cpp_python-{version}.tar.gz"
    return artifact_at(path, content, project="llama-cpp-python", version=version)


def said_by(environment: Environment) -> str:
    server = environment.path / "bin" / "llama-server"
    return subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stderr.strip()


def fails(tmp_path: Path, artifact: Artifact, kind: type[MonitorError]) -> MonitorError:
    with pytest.raises(kind) as error:
        made(tmp_path).provision(artifact, SOURCE)
    assert type(error.value) is kind
    assert left_in(tmp_path) == []
    return error.value


def test_a_source_archive_is_compiled_once_and_serves_both_ways(tmp_path: Path) -> None:
    artifact = published(tmp_path)
    steps: list[str] = []

    built = made(tmp_path).provision(artifact, SOURCE, on_step=steps.append)

    assert said_by(built) == "version: 0.5.0-dev (build 11312, commit 0c1e57098)"
    code = "import llama_cpp; print(llama_cpp.library._Z12llama_answerv())"
    assert running(built, code) == "42"
    assert (built.path / "share/llama-cpp-python/server.py").read_text().endswith('print("serving")\n')
    packages = {package.name: package for package in built.packages}
    assert [name for name, package in packages.items() if package.is_distribution] == ["llama_cpp_python"]
    assert packages["llama_cpp_python"].sha256 == artifact.sha256
    assert packages["llama.cpp build"].version == "b11312-0c1e57098"
    assert packages["cmake -DLLAMA_USE_PREBUILT_UI"].version == "OFF"
    assert packages["C++ compiler"].version == said_first("c++")
    assert packages["cmake program"].version == said_first("cmake")
    assert any("compiling" in step for step in steps)
    assert [wheel.name for wheel in (tmp_path / "builds").glob("*/*.whl")] == [
        f"llama_cpp_python-0.3.36-py3-none-linux_{platform.machine()}.whl"
    ]
    again: list[str] = []
    elsewhere = made(tmp_path, "elsewhere").provision(artifact, SOURCE, on_step=again.append)
    assert not any("compiling" in step or "fetching" in step for step in again)
    assert elsewhere.packages == built.packages
    assert made(tmp_path).provision(artifact, SOURCE).reused
    # Moved, the libraries are still found: nothing in it names where it was built.
    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    (moved,) = made(tmp_path, "moved").all()
    assert said_by(moved) == said_by(built)
    assert [path.name for path in (tmp_path / "builds").iterdir() if path.name.startswith(".work")] == []


def said_first(program: str) -> str:
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]


def test_another_flag_is_another_environment_and_reaches_the_compiler(tmp_path: Path) -> None:
    server = '#include <cstdio>\nint main() { fprintf(stderr, "version: %d (unknown)", N); }'
    artifact = published(tmp_path, server=server)
    two = made(tmp_path, cmake_options=["-DCMAKE_CXX_FLAGS=-DN=2"])

    built = two.provision(artifact, SOURCE)

    assert said_by(built) == "version: 2 (unknown)"
    assert two.find(artifact) is not None
    assert made(tmp_path).find(artifact) is None


def test_what_does_not_compile_says_what_the_compiler_said_and_the_next_is_not_affected(
    tmp_path: Path,
) -> None:
    artifact = published(tmp_path, llama="int llama_answer() { return no_such_symbol; }\n")

    error = fails(tmp_path, artifact, ProvisionError)

    assert error.permanent
    assert error.what.splitlines()[0].endswith("does not compile here (ninja: exit status 1).")
    assert "no_such_symbol" in error.what
    assert "llama.cpp:1:" in error.what
    assert made(tmp_path).provision(published(tmp_path, "0.3.37"), SOURCE).reused is False


def test_an_example_server_that_cannot_be_had_does_not_make_a_release_fail(tmp_path: Path) -> None:
    artifact = published(tmp_path, example='"llama-cpp-python",\n#   "nobody-offers-this>=1"')
    steps: list[str] = []

    with IndexServer() as index:
        index.add("something", *wheel("something", "1.0"))
        source = SOURCE.model_copy(update={"index_url": index.url})
        built = made(tmp_path).provision(artifact, source, on_step=steps.append)

    assert said_by(built).startswith("version: 0.5.0-dev")
    assert any("without what its example server asks for" in step for step in steps)
    assert any("nobody-offers-this" in step for step in steps)


def test_a_full_disk_no_memory_or_half_a_toolkit_is_never_the_release_s_fault(tmp_path: Path) -> None:
    says = 'add_custom_command(OUTPUT fails COMMAND sh -c "echo {} >&2; exit 1" VERBATIM)\n'
    says += "add_custom_target(early DEPENDS fails)\nadd_dependencies(llama early)\n"
    full = "fatal error: error writing to out.o: No space left on device"
    fails(tmp_path, published(tmp_path, "1.0", cmake=says.format(full)), DiskFullError)
    killed = "c++: fatal error: Killed signal terminated program cc1plus"
    error = fails(tmp_path, published(tmp_path, "1.1", cmake=says.format(killed)), HostError)
    assert not error.permanent
    assert "build.jobs" in error.advice
    lacks = (
        'message(FATAL_ERROR "Target \\"ggml-cuda\\" links to: CUDA::cublas but the target was not found.")\n'
    )
    error = fails(tmp_path, published(tmp_path, "1.2", cmake=lacks), HostError)
    assert "build.cuda" in error.advice


def test_a_source_archive_with_another_content_than_listed_is_never_compiled(tmp_path: Path) -> None:
    artifact = published(tmp_path)
    file = tmp_path / "index" / artifact.filename
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    fails(tmp_path, artifact, ArtifactChangedError)


def test_without_a_compiler_nothing_is_blamed_on_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = published(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "C compiler" in fails(tmp_path, artifact, HostError).what
    assert made(tmp_path).find(artifact) is None


def test_a_compiler_whose_monitor_is_killed_dies_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    """The first file is compiled, the second waits for a file that comes only after the kill."""
    once = f"echo once >> {tmp_path}/first; touch first"
    first = f'add_custom_command(OUTPUT first COMMAND sh -c "{once}" VERBATIM)\n'
    wait = f"touch {tmp_path}/begun; while ! test -e {tmp_path}/go; do sleep 0.05; done; touch second"
    stuck = f'add_custom_command(OUTPUT second COMMAND sh -c "{wait}" DEPENDS first VERBATIM)\n'
    stuck += "add_custom_target(early DEPENDS second)\nadd_dependencies(llama early)\n"
    artifact = published(tmp_path, cmake=first + stuck)
    with subprocess.Popen([sys.executable, "-c", _builds(tmp_path, artifact)], cwd=Path.cwd()) as builder:
        wait_for(lambda: (tmp_path / "begun").exists() or builder.poll() is not None)
        children = psutil.Process(builder.pid).children(recursive=True)
        names = [child.name() for child in children]
        os.kill(builder.pid, signal.SIGKILL)
    assert "ninja" in names

    wait_for(lambda: not any(_lives(child) for child in children))
    (tmp_path / "go").touch()
    built = made(tmp_path).provision(artifact, SOURCE)
    assert said_by(built).startswith("version: 0.5.0-dev (build 11312")
    assert (tmp_path / "first").read_text() == "once\n"
    facts = TypeAdapter(compiled.CompiledFacts).validate_json(
        next((tmp_path / "builds").glob("*/build.json")).read_bytes()
    )
    assert facts.resumed
    assert left_in(tmp_path) == [built.key]


def _builds(tmp_path: Path, artifact: Artifact) -> str:
    return textwrap.dedent(f"""\
        from pathlib import Path
        from pydantic import TypeAdapter
        from monitor.domain import Artifact
        from monitor.environments.collection import Environments
        from monitor.settings_tables import BuildSettings, SourceSettings, UvSettings
        artifact = TypeAdapter(Artifact).validate_json({TypeAdapter(Artifact).dump_json(artifact)!r})
        source = SourceSettings.model_validate_json({SOURCE.model_dump_json()!r})
        Environments.at(
            Path({str(tmp_path / "environments")!r}),
            uv=UvSettings(),
            build=BuildSettings(cuda=False),
            builds=Path({str(tmp_path / "builds")!r}),
        ).provision(artifact, source)
        """)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "did not happen within a minute"
        time.sleep(0.02)
