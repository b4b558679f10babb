"""A user's own command line for a server, read and never run: which server, which arguments, which variables.

Understood is what people keep in scripts, units and notes: continued lines, quotes, variables before the
command or with `export`, `env`, wrappers such as `sudo` or `nice`, several commands in a row, and a
container's command (`docker run … IMAGE ARGUMENTS`). Nothing is expanded: `$MODEL` stays as it is written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from monitor.errors import UnknownNameError

LLAMA_SERVER = "llama-server"
VLLM = "vllm"

_MOST_CHARACTERS = 100_000
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATOR = re.compile(r"[|&;<>()\n]+")
_IMAGES = (
    (re.compile(r"(?:\S*/)?llama\.cpp(?::(?:server|full)\S*)?"), LLAMA_SERVER),
    (re.compile(r"(?:\S*/)?vllm-openai(?:[:@]\S+)?"), VLLM),
)
_MODULES = {"vllm.entrypoints.openai.api_server": VLLM}
_OTHER_SERVERS = {"llama_cpp.server": "the server of llama-cpp-python", "llama-cli": "llama-cli"}
_SUBCOMMANDS = {"vllm": ({"serve"}, VLLM), "llama": ({"serve", "server"}, LLAMA_SERVER)}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a command line asks of a server."""

    server: str
    """`llama-server` or `vllm`."""
    arguments: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    """Name and value of those that it sets itself, the last of each name."""


def read_command(text: str) -> CommandLine:
    """Return what the command in `text` starts. Nothing is run and no file is read.

    Raises:
        UnknownNameError: when it cannot be taken apart, or starts no server that is known.

    """
    variables: dict[str, str] = {}
    for words in _commands(text):
        exported = words[1:] if words[0] == "export" else words
        if found := _server(words):
            server, before, arguments = found
            variables |= _assignments(before)
            return CommandLine(server, arguments, tuple(variables.items()))
        if words[0] == "export" or all(_ASSIGNMENT.fullmatch(word) for word in words):
            variables |= _assignments(exported)
        if other := next((_OTHER_SERVERS[word] for word in words if word in _OTHER_SERVERS), None):
            raise UnknownNameError(
                f"The command starts {other}, whose options are others.",
                advice="give the command line of llama-server or of `vllm serve`",
            )
    raise UnknownNameError(
        "The command starts neither llama-server nor `vllm serve`.",
        advice="give the whole line, with the program: --command 'llama-server -m model.gguf …'",
    )


def _commands(text: str) -> list[list[str]]:
    """Return the commands of a shell text, each as its words; redirections are left out."""
    if len(text) > _MOST_CHARACTERS or "\0" in text:
        raise UnknownNameError("The command is no command line.", advice="give the line as you would type it")
    joined = re.sub(r"\\[ \t]*\r?\n", " ", text.strip())
    # A list of options over several lines, as units and notes have it, is one command.
    joined = re.sub(r"\r?\n[ \t]*(?=-)", " ", joined)
    joined = re.sub(r"^(?:ExecStart=|[$#%>] )", "", joined)
    # What another command would say is one word whose value is not known.
    joined = re.sub(r"\$\([^()]*\)|`[^`]*`", "$SUBSTITUTED", joined)
    lexer = shlex.shlex(joined, posix=True, punctuation_chars="|&;<>()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise UnknownNameError(
            f"The command cannot be taken apart: {str(error).lower()}.",
            advice="look at its quotes; the shell that passes --command on takes away one pair",
        ) from error
    commands: list[list[str]] = [[]]
    skipped = False
    for word in words:
        if _OPERATOR.fullmatch(word):
            skipped = "<" in word or ">" in word
            if skipped and commands[-1] and commands[-1][-1].isdigit():
                commands[-1].pop()
            elif not skipped:
                commands.append([])
        elif skipped:
            skipped = False
        else:
            commands[-1].append(word)
    return [_without_comment(command) for command in commands if _without_comment(command)]


def _without_comment(words: Sequence[str]) -> list[str]:
    start = next((at for at, word in enumerate(words) if word.startswith("#")), len(words))
    return list(words[:start])


def _server(words: Sequence[str]) -> tuple[str, Sequence[str], tuple[str, ...]] | None:
    """Return (server, words before its program, its arguments), None for any other command."""
    for at, word in enumerate(words):
        program = PurePosixPath(word).name.removesuffix(".exe")
        after = tuple(words[at + 1 :])
        if program == LLAMA_SERVER:
            return LLAMA_SERVER, words[:at], after
        if program in _SUBCOMMANDS and after and after[0] in _SUBCOMMANDS[program][0]:
            return _SUBCOMMANDS[program][1], words[:at], after[1:]
        if word == "-m" and after and after[0] in _MODULES:
            return _MODULES[after[0]], words[:at], after[1:]
        image = next((server for pattern, server in _IMAGES if pattern.fullmatch(word)), None)
        if image is not None and at > 0:
            inner = after[1:] if after[:1] in {("--server",), ("serve",)} else after
            # An image may be told the program, too.
            return _server(after) or (image, words[:at], inner)
    return None


def _assignments(words: Sequence[str]) -> dict[str, str]:
    """Return NAME=VALUE words, also those behind docker's `-e` and `--env`."""
    found = {}
    for word in words:
        match = _ASSIGNMENT.fullmatch(word.removeprefix("--env="))
        if match is not None and not word.startswith("--env-"):
            found[match[1]] = match[2]
    return found
