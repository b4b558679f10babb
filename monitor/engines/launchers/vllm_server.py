"""Starts vLLM's server with those of some options that this version lists; runs in its environment.

    vllm_server.py REPORT COUNT OPTION… ARGUMENT…

`COUNT` words follow that make up the options to be tried, each beginning with `--`; then the arguments that
are passed on in any case. The options that the command line does not know are left out and named in REPORT.

Where the server is, is looked up: since 0.31 the module that used to be it warns that it may be removed, and
names `vllm serve` in its place, which is what is run where neither module is a program.
"""

import importlib
import importlib.util
import json
import runpy
import sys
from pathlib import Path

SERVERS = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""Modules that are programs: since 0.31, and before it."""
COMMAND = "vllm.entrypoints.cli.main"
PARSERS = (
    "vllm.entrypoints.common.cli_args",  # 0.33
    "vllm.entrypoints.launchers.cli_args",  # 0.31
    "vllm.entrypoints.openai.cli_args",
    "vllm.entrypoints.cli.serve",  # has it from wherever it is
)
"""Modules that have `make_arg_parser`, the newest place first."""


def source(name: str) -> str | None:
    """Return the text of a module, None where this version has no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else None


def listed() -> set[str]:
    """Return the options of the server's command line."""
    name = next((name for name in PARSERS if "make_arg_parser" in (source(name) or "")), PARSERS[-1])
    module = importlib.import_module(name)
    parser = module.make_arg_parser(module.FlexibleArgumentParser())
    return {
        option
        for action in parser._actions  # noqa: SLF001  # argparse has no other list
        for option in action.option_strings
    }


def positional(words: list[str]) -> list[str]:
    """Return arguments with the model as `vllm serve` wants it: first, and without its option."""
    if "--model" not in words[:-1]:
        return words
    at = words.index("--model")
    return [words[at + 1], *words[:at], *words[at + 2 :]]


def main() -> None:
    """Choose, report and become the server."""
    report, count = Path(sys.argv[1]), int(sys.argv[2])
    words, arguments = sys.argv[3 : 3 + count], sys.argv[3 + count :]
    options: list[list[str]] = []
    for word in words:
        options += [[word]] if word.startswith("--") else []
        if not word.startswith("--"):
            options[-1].append(word)
    try:
        known = listed()
        problem = ""
    except Exception as error:  # noqa: BLE001  # another version may have it elsewhere
        known, problem = set(), f"{type(error).__name__}: {error}"
    taken = [option for option in options if option[0] in known]
    left = [option[0] for option in options if option[0] not in known]
    part = report.with_suffix(".part")
    part.write_text(json.dumps({"missing": left, "problem": problem}), encoding="utf-8")
    part.replace(report)
    words = [word for option in taken for word in option] + arguments
    # A module that is kept for its names alone would end at once, and say nothing.
    server = next((name for name in SERVERS if "__main__" in (source(name) or "")), None)
    sys.argv = [server, *words] if server else ["vllm", "serve", *positional(words)]
    runpy.run_module(server or COMMAND, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
