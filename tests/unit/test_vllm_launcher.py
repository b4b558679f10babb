"""The launcher that asks a version of vLLM for its options and becomes its server, wherever that is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.engines import launchers

LAUNCHER = Path(next(iter(launchers.__path__))) / "vllm_server.py"

PARSER = """
from argparse import ArgumentParser as FlexibleArgumentParser
def make_arg_parser(parser):
    parser.add_argument("--model")
    parser.add_argument("--told")
    return parser
"""
PROGRAM = """
import json, sys
if __name__ == "__main__":
    print(json.dumps(sys.argv))
"""
NAMES_ALONE = "names = []"
WANTED = ("--told", "much", "--unheard-of", "--model", "/m", "--port", "1")


def launched(folder: Path, **modules: str) -> tuple[list[str], dict[str, Any]]:
    """Run the launcher on a package with these modules below `vllm.entrypoints`; dots are written `__`."""
    for name, text in modules.items():
        path = folder.joinpath("vllm", "entrypoints", *name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in {path.parent for path in folder.rglob("*.py")}:
        for parent in (package, *package.parents):
            if parent == folder:
                break
            (parent / "__init__.py").touch()
    report = folder / "report.json"
    argv = [sys.executable, str(LAUNCHER), str(report), "3", *WANTED]
    ran = subprocess.run(argv, env={"PYTHONPATH": str(folder)}, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout), json.loads(report.read_text())


TAKEN = ["--told", "much", "--model", "/m", "--port", "1"]


@pytest.mark.parametrize(
    ("modules", "server"),
    [
        (
            {"openai__api_server": PROGRAM, "openai__cli_args": PARSER},
            "vllm.entrypoints.openai.api_server",
        ),
        (
            {
                "openai__api_server": PROGRAM,
                "launchers__api_server__entry": NAMES_ALONE,
                "launchers__cli_args": PARSER,
            },
            "vllm.entrypoints.openai.api_server",
        ),
        (
            {"launchers__api_server__entry": PROGRAM, "common__cli_args": PARSER},
            "vllm.entrypoints.launchers.api_server.entry",
        ),
        (
            {
                "openai__api_server": PROGRAM,
                "launchers__api_server__entry": PROGRAM,
                "cli__serve": PARSER,
            },
            "vllm.entrypoints.launchers.api_server.entry",
        ),
    ],
)
def test_a_server_and_its_options_are_found_wherever_a_version_has_them(
    tmp_path: Path, modules: dict[str, str], server: str
) -> None:
    argv, report = launched(tmp_path, **modules)
    assert Path(argv[0]).with_suffix("").parts[-len(server.split(".")) :] == tuple(server.split("."))
    assert argv[1:] == TAKEN
    assert report == {"missing": ["--unheard-of"], "problem": ""}


def test_without_a_module_that_is_a_program_the_command_serves_with_the_model_first(tmp_path: Path) -> None:
    modules = {"openai__api_server": NAMES_ALONE, "cli__main": PROGRAM, "cli__serve": PARSER}
    argv, report = launched(tmp_path, **modules)
    assert argv[1:] == ["serve", "/m", "--told", "much", "--port", "1"]
    assert report["missing"] == ["--unheard-of"]


def test_a_version_whose_options_cannot_be_asked_is_started_with_none_of_them_and_says_why(
    tmp_path: Path,
) -> None:
    argv, report = launched(tmp_path, openai__api_server=PROGRAM)
    assert argv[1:] == TAKEN[2:]
    assert (report["missing"], "cli" in report["problem"]) == (["--told", "--unheard-of"], True)
