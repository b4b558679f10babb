"""The text about llama-cpp-python: compiled from its source, and asked in its own two ways."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factory_upstream import other_check, text

import factories
from factory_values import artifact, environment
from monitor.domain import Check, ModelSpec, Package, Prompt
from monitor.views.upstream.commands import Reproduction, reproduction
from monitor.views.upstream.parts import BAD, GOOD, Side
from monitor.views.upstream.text import UpstreamText

FAKE_LIBRARY = """
class Llama:
    def __init__(self, model_path, vocab_only=False, verbose=True, **settings):
        print("loaded", model_path, sorted(settings), flush=True)
    model = None
    def tokenize(self, text, add_bos, special):
        assert add_bos and special
        return list(text)
    def detokenize(self, tokens, special=False): return bytes(tokens)
    def token_eos(self): return 0
    def token_bos(self): return 1
    def reset(self): self.fresh = True
    def generate(self, tokens, temp=None, top_k=None):
        assert self.fresh and (temp, top_k) == (0, 1), (temp, top_k)
        while True:
            yield from b"ab"
def llama_model_get_vocab(model): return "vocabulary"
def llama_vocab_is_eog(vocabulary, token): return False
"""
FAKE_EXAMPLE = """
import json, sys, types
uvicorn = types.SimpleNamespace(run=None)
APP = types.SimpleNamespace(state=types.SimpleNamespace(service=None))
class CreateCompletionRequest:
    def __init__(self, **asked): self.asked = asked
class Scheduler:
    def handle_completion_token(self, completion, token): return token
class Service:
    scheduler, drafted, accepted = Scheduler(), 5, 4
    def submit(self, request):
        asked = request.asked
        assert asked["stream"] and asked["logit_bias"] == {"0": float("-inf")}, asked
        return self.answers(asked["max_tokens"]), None
    def answers(self, most):
        for number in range(most):
            token = self.scheduler.handle_completion_token(None, b"ab"[number % 2])
            yield {"choices": [{"text": chr(token)}]}
        self.drafted, self.accepted = self.drafted + 30, self.accepted + 12
    def render_prometheus_metrics(self):
        return (f'batch_server:draft_tokens_proposed_total{{model="m"}} {self.drafted}\\n'
                f"batch_server:draft_tokens_accepted_total {self.accepted}\\n")
def main():
    settings = json.load(open(sys.argv[sys.argv.index("--config-file") + 1]))["model"]
    assert settings["draft_model"] == "draft-mtp" and settings["path"] == "m.gguf", settings
    APP.state.service = Service()
    uvicorn.run(APP)
"""


def python_sides(**more: Any) -> tuple[Side, Side]:
    packages = (
        Package("llama-cpp-python", "0.3.35"),
        Package("fastapi", "0.139.2"),
        Package("llama.cpp build", "b11312-0c1e57098"),
        Package("cmake -DBUILD_SHARED_LIBS", "ON"),
        Package("cmake -DGGML_CUDA", "ON"),
        Package("cmake -DCUDAToolkit_ROOT", "/opt/private/cuda"),
        Package("cmake program", "cmake version 4.1"),
    )
    sides = []
    for name, version in ((GOOD, "0.3.35"), (BAD, "0.3.36")):
        own = artifact(version, "llama-cpp-python")
        filename = f"llama_cpp_python-{version}.tar.gz"
        own = replace(own, filename=filename, url=f"https://files.example/{filename}")
        built = replace(environment(version), artifact=own, packages=packages)
        sides.append(Side(name, own, built, **more))
    return sides[0], sides[1]


def python_check() -> Check:
    return other_check(
        engine="llama-cpp-python",
        projects=("llama-cpp-python",),
        model=ModelSpec("m", "path", files=("m.gguf",)),
        sampling={"temperature": 0, "top_k": 1, "seed": 1, "ignore_eos": True},
    )


def python_text(check: Check, **more: Any) -> UpstreamText:
    good, bad = python_sides(**more)
    view = replace(factories.planted(), planted=False, project="llama-cpp-python", check=check)
    return text(view, good=good, bad=bad)


def test_a_release_of_llama_cpp_python_is_compiled_into_a_venv_with_what_its_example_needs() -> None:
    told = python_text(python_check())

    for name, version in ((GOOD, "0.3.35"), (BAD, "0.3.36")):
        assert f"--no-deps --no-binary :all: --dest . llama-cpp-python=={version}\n" in told.script
        assert f"  llama_cpp_python-{version}.tar.gz' | sha256sum --check" in told.script
        install = f"uv pip install --quiet --python {name}/bin/python ./{name}/source fastapi==0.139.2\n"
        assert f"CMAKE_ARGS=-DGGML_CUDA=ON {install}" in told.script
    assert "/opt/private" not in told.body + told.script
    assert any("CUDAToolkit_ROOT" in note for note in told.notes)
    assert "`baseline` is `Llama.generate`; `mtp` is the release's own `examples/server`" in told.body
    assert told.tracker == "https://github.com/abetlen/llama-cpp-python/issues/new"
    assert subprocess.run(["/bin/sh", "-n"], input=told.script, text=True, check=False).returncode == 0


def test_its_server_is_compiled_from_the_llama_cpp_in_it() -> None:
    check = other_check(engine="llama-server", serve={"context": 4096, "threads": 2})
    told = python_text(check)

    assert (
        "cmake -S good/source/vendor/llama.cpp -B good/build -DBUILD_SHARED_LIBS=ON -DGGML_CUDA=ON "
        "-DLLAMA_BUILD_NUMBER=11312 -DLLAMA_BUILD_COMMIT=0c1e57098\n"
    ) in told.script
    assert 'ln -sf "$PWD/bad/build/bin/llama-server" bad/bin/' in told.script
    assert "pip install --quiet --python good" not in told.script
    assert told.tracker == "https://github.com/ggml-org/llama.cpp/issues/new"


@pytest.mark.parametrize("draft", [None, ModelSpec("head", "path", files=("head.gguf",))])
def test_the_script_that_serves_it_asks_the_library_and_its_example(
    draft: ModelSpec | None, tmp_path: Path
) -> None:
    """Both arms, with a stand-in of the library and of its example server."""
    check = replace(python_check(), draft_model=draft)
    prompt = Prompt("p", "code", 7, text="Say it")
    made = reproduction(check, *python_sides(), prompt, model_sha256=None)
    assert isinstance(made, Reproduction)
    serving, asking = made.steps[-2:]
    example = tmp_path / "good" / "source" / "examples" / "server" / "server.py"
    for path, content in (
        (tmp_path / "library" / "llama_cpp" / "__init__.py", FAKE_LIBRARY),
        (tmp_path / "library" / "llama_cpp" / "llama_chat_format.py", "Jinja2ChatFormatter = None"),
        (example, FAKE_EXAMPLE),
        (tmp_path / "good" / "bin" / "python", _python(tmp_path / "library")),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (tmp_path / "good" / "bin" / "python").chmod(0o755)
    (tmp_path / "bad").symlink_to("good")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    lines = [f"set -eu\nPORT={port}\nWAIT=60\nMODEL=m.gguf\nDRAFT=head.gguf", serving.script, asking.script]
    done = subprocess.run(
        ["/bin/sh"],
        input="\n".join(lines),
        text=True,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=120,
    )

    logs = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    printed = [line.partition(" text=")[::2] for line in done.stdout.splitlines()]
    assert [line for line, _ in printed] == [
        "good-baseline: tokens=7 drafted=0 accepted=0",
        "good-mtp: tokens=7 drafted=30 accepted=12",
        "bad-baseline: tokens=7 drafted=0 accepted=0",
        "bad-mtp: tokens=7 drafted=30 accepted=12",
    ]
    assert len({digest for _, digest in printed}) == 1, "the arms say the same"
    assert "bad-mtp: the whole answer took" in done.stderr
    assert ("head.gguf" in json.loads((tmp_path / "example.json").read_text())["model"].values()) is bool(
        draft
    )


def _python(library: Path) -> str:
    """Return a program that is a Python with a library, as that of an environment is."""
    # It is started with -I, which leaves PYTHONPATH aside.
    run = f"import runpy, sys; sys.path.insert(0, {str(library)!r}); del sys.argv[0]"
    return f'#!/bin/sh\nshift\nexec {sys.executable} -c "{run}; runpy.run_path(sys.argv[0])" "$@"\n'
