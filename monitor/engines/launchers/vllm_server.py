"""Starts vLLM's server with those of some options that this version lists; runs in its environment.

    vllm_server.py REPORT COUNT OPTION… ARGUMENT…

`COUNT` words follow that make up the options to be tried, each beginning with `--`; then the arguments that
are passed on in any case. The options that the command line does not know are left out and named in REPORT.
"""

import importlib
import importlib.util
import json
import runpy
import sys
from pathlib import Path

SERVERS = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server.entry")
PARSERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")
"""Modules, the first that there is; both have moved before."""


def there(names: tuple[str, ...]) -> str:
    """Return the first of several modules that this version has."""
    for name in names:
        try:
            if importlib.util.find_spec(name) is not None:
                return name
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(f"none of {', '.join(names)}")


def listed() -> set[str]:
    """Return the options of the server's command line."""
    argparse_utils = importlib.import_module("vllm.utils.argparse_utils")
    parser = importlib.import_module(there(PARSERS)).make_arg_parser(argparse_utils.FlexibleArgumentParser())
    return {
        option
        for action in parser._actions  # noqa: SLF001  # argparse has no other list
        for option in action.option_strings
    }


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
    server = there(SERVERS)
    sys.argv = [server, *(word for option in taken for word in option), *arguments]
    runpy.run_module(server, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
