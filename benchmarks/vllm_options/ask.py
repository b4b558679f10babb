"""Prints what a version of vLLM takes, as one JSON object; runs in an environment that has it.

Its argument parser is built, not run: no model, no GPU and no network are needed.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import typing

import vllm.envs
from vllm.config import SpeculativeConfig
from vllm.utils.argparse_utils import FlexibleArgumentParser


def parser_maker() -> typing.Any:
    """Return `make_arg_parser` of the server, which moved about 0.31."""
    for place in ("vllm.entrypoints.openai.cli_args", "vllm.entrypoints.launchers.cli_args"):
        try:
            return importlib.import_module(place).make_arg_parser
        except ImportError:
            continue
    raise SystemExit("this version keeps its argument parser elsewhere")


def main() -> None:
    """Collect options, keys and methods of speculation, and variables."""
    parser = parser_maker()(FlexibleArgumentParser(add_help=False))
    options = [
        {
            "names": list(action.option_strings),
            "default": None if "SUPPRESS" in repr(action.default) else repr(action.default)[:60],
            "choices": [str(choice) for choice in action.choices] if action.choices else None,
            "switch": action.nargs == 0,
            "deprecated": "deprecated" in (action.help or "").lower(),
        }
        for action in parser._actions  # noqa: SLF001  # argparse has no public list of them
        if action.option_strings
    ]
    hints = typing.get_type_hints(SpeculativeConfig)
    print(
        json.dumps(
            {
                "options": options,
                "keys": [field.name for field in dataclasses.fields(SpeculativeConfig) if field.init],
                "methods": words_of(hints["method"]),
                "rejections": words_of(hints["rejection_sample_method"]),
                "variables": sorted(vllm.envs.environment_variables),
            }
        )
    )


def words_of(hint: typing.Any) -> list[str]:
    """Return the texts of every Literal in a type."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [word for part in typing.get_args(hint) for word in words_of(part)]


if __name__ == "__main__":
    main()
