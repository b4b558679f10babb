"""The doctor of command lines against llama.cpp's own argument parser, in ten real builds."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.domain import Environment
from monitor.engines.advice import Leads
from monitor.engines.command_line import read_command
from monitor.engines.llama_flags import observed, options_in, options_of
from monitor.engines.llama_help import read_help
from monitor.releases.projects import build_number
from monitor.steps.configuration import look_at, version_of
from standins.builds import MTP_BUILDS

PARSER = Path(__file__).resolve().parents[2] / "benchmarks" / "llama_options" / "help_page.py"
PUBLISHED = "-m q.gguf -ngl -1 -c 3000 -fa on -np 1 --spec-type draft-mtp --spec-draft-n-max 3 --metrics"
LINES = (
    f"llama-server {PUBLISHED}",
    "llama-server -m g.gguf -md h.gguf --spec-type draft-mtp --spec-draft-n-max 4 --spec-draft-p-min 0.5",
    "llama-server -m q.gguf --spec-draft-n-max 3",
    "llama-server -m q.gguf --spec-type mtp",
    "llama-server -m q.gguf --spec-type draft-mtp,ngram-mod",
    "llama-server -m q.gguf --spec-type draft-mtp,draft-dspark",
    "llama-server -m q.gguf --draft-max 3",
    "llama-server -m q.gguf --mlock --no-mmap",
    "llama-server -m q.gguf --load-mode mlock",
    "llama-server -m q.gguf --webui",
    "llama-server -m q.gguf --checkpoint-every-n-tokens 100",
    "llama-server -m q.gguf --spec-synth-rates 0.9,0.5,0.1 --spec-draft-n-max 3 --spec-type draft-mtp",
    "llama-server -m q.gguf --spec-draft-sampling greedy",
    "llama-server -m q.gguf --ctx_size 100 --cache_ram 0",
    "llama-server -m q.gguf --parallel=2",
    "llama-server -m q.gguf --nonsense 2",
    "llama-server -m q.gguf stray",
    "llama-server -m q.gguf --threads",
    "LLAMA_ARG_SPEC_TYPE=mtp llama-server -m q.gguf",
    "LLAMA_ARG_SPEC_TYPE=draft-mtp LLAMA_ARG_MLOCK=1 LLAMA_ARG_NONSENSE=1 llama-server -m q.gguf",
    "LLAMA_ARG_DRAFT_MAX=3 llama-server -m q.gguf",
    "LLAMA_LOG_FILE=/dev/null llama-server -m q.gguf",
)


@pytest.mark.parametrize("version", MTP_BUILDS)
def test_what_the_doctor_calls_refused_is_what_the_build_refuses(
    environment_for: Callable[[str], Environment], version: str, tmp_path: Path
) -> None:
    environment = environment_for(version)
    said, refused = {}, {}
    for line in LINES:
        command = read_command(line)
        looked = look_at(command, version_of(f"xllamacpp=={version}", "--for"), None)
        assert looked.basis.exact
        said[line] = any(finding.leads is Leads.REFUSED for finding in looked.findings)
        # Read by the parser of the build itself; no server is started.
        asked = subprocess.run(
            [environment.python, "-I", "-B", PARSER, *command.arguments],
            env=dict(command.variables),
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert asked.returncode in {0, 1}, shlex.join(command.arguments)
        refused[line] = asked.returncode == 1
    assert said == refused
    assert len(set(refused.values())) == 2


@pytest.mark.parametrize("version", MTP_BUILDS)
def test_the_table_is_what_the_builds_print(
    environment_for: Callable[[str], Environment], version: str
) -> None:
    python = environment_for(version).python
    page = subprocess.run([python, "-I", "-B", PARSER], capture_output=True, text=True, check=True).stdout
    build = build_number("xllamacpp", version) or 0
    stored, printed = options_of(build)[0], options_in(read_help(page), build)
    assert {name: state.entry for name, state in stored.by_name.items()} == {
        name: state.entry for name, state in printed.by_name.items()
    }


def test_every_build_in_the_table_is_one_of_these() -> None:
    assert observed() == tuple(build_number("xllamacpp", version) for version in MTP_BUILDS)
