"""Reads a command line of llama-server as one build would, and says which of its words that build refuses.

What a build knows comes from `monitor.engines.llama_flags`, or from its own `--help` where that could be
read. How it reads its arguments is that of `common_params_parse_ex` in `common/arg.cpp`: `--a_b` is
`--a-b`, `--name=value` is no option, variables come first and arguments win, and a variable that no option
reads is passed over in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from monitor.engines import llama_flags
from monitor.engines.advice import Advice, Leads
from monitor.engines.command_line import CommandLine
from monitor.engines.llama_flags import Options, State

TYPE = "--spec-type"
_PREFIX = "LLAMA_ARG_"
_NUMBER = re.compile(r"-[\d.]")
_CHOICES = re.compile(r"[\[{]([a-z0-9_|,-]+)[\]}]")
_LIST = re.compile(r"[a-z0-9-]+(?:,[a-z0-9-]+){2,}")


@dataclass(frozen=True, slots=True)
class Given:
    """One option as a command gives it."""

    written: str
    """The name as it is written: of an argument or of a variable."""
    value: str | None
    state: State
    by_variable: bool = False


@dataclass(slots=True)
class Read:
    """A command as one build reads it."""

    options: Options
    command: CommandLine
    given: list[Given] = field(default_factory=list)
    found: list[Advice] = field(default_factory=list)

    def get(self, *names: str) -> Given | None:
        """Return the option that goes by one of `names`, the last one given; arguments win over variables."""
        wanted = {state.option for name in names if (state := self.options.by_name.get(name))}
        found = [given for given in self.given if given.state.option in wanted]
        return max(found, key=lambda given: not given.by_variable, default=None) if found else None

    def types(self) -> list[str]:
        """Return the kinds of speculation that are asked for."""
        option = self.options.by_name.get(TYPE)
        values = [given.value or "" for given in self.given if option and given.state.option == option.option]
        return [part for value in values for part in value.split(",") if part and part != "none"]

    def tell(self, leads: Leads, kind: str, option: str, text: str, advice: str = "") -> None:
        """Add a finding."""
        self.found.append(Advice(leads, kind, option, text, advice))


def read_command(command: CommandLine, options: Options) -> Read:
    """Return `command` as the build with these `options` reads it, and what is wrong with its words."""
    found = Read(options, command)
    _read_variables(found)
    _read_arguments(found)
    for given in found.given:
        _check_value(found, given)
    return found


def _read_variables(read: Read) -> None:
    for name, value in read.command.variables:
        state = read.options.by_variable.get(name)
        if state is not None and state.entry.removed:
            instead = " or ".join(_variables_of(read.options, state.entry.instead)) or state.entry.removed
            read.tell(
                Leads.REFUSED,
                "gone",
                name,
                f"{name} is refused: the option it stands for was removed.",
                f"use {instead}",
            )
        elif state is not None:
            read.given.append(Given(name, value, state, by_variable=True))
        elif name.startswith(_PREFIX) or name in _variables_ever():
            read.tell(
                Leads.SILENT,
                "ignored",
                name,
                f"{name} is read by no option of this build, and the server does not say so.",
                _instead_of_variable(read.options, name),
            )


def _read_arguments(read: Read) -> None:
    arguments = list(read.command.arguments)
    while arguments:
        written = arguments.pop(0)
        name = _spelled(written)
        state = read.options.by_name.get(name)
        if state is None:
            if _is_name(name) and arguments and not _is_name(arguments[0]) and "=" not in name:
                arguments.pop(0)
            _tell_unknown(read, written, name)
            continue
        wanted = _values_of(state)
        values, arguments = arguments[:wanted], arguments[wanted:]
        if len(values) < wanted:
            read.tell(Leads.REFUSED, "value", written, f"{written} stands last and lacks its value.")
            continue
        if state.entry.removed:
            read.tell(
                Leads.REFUSED,
                "gone",
                written,
                f"{written} was removed; the server ends and says so.",
                state.entry.removed,
            )
            continue
        if state.entry.deprecated:
            instead = f"use {' or '.join(state.entry.instead)}" if state.entry.instead else "leave it out"
            read.tell(
                Leads.NOTE, "deprecated", written, f"{written} still works and is on its way out.", instead
            )
        for earlier in read.given:
            if earlier.by_variable and earlier.state.option == state.option and state.option != TYPE:
                text = f"{earlier.written} is set too; the argument {written} wins."
                read.tell(Leads.NOTE, "ignored", earlier.written, text)
        read.given.append(Given(written, " ".join(values) if wanted else None, state))


def _tell_unknown(read: Read, written: str, name: str) -> None:
    options, here = read.options, f"b{read.options.build}"
    stem, _, value = name.partition("=")
    if value and stem in options.by_name:
        text = f"{written} is refused: llama-server takes a value as a word of its own."
        read.tell(Leads.REFUSED, "value", written, text, f"write {stem} {value}")
        return
    past = [state for state in llama_flags.history(name) if name in state.entry.names]
    if not past:
        near = _near(name, [known for known in options.by_name if not options.by_name[known].entry.removed])
        read.tell(
            Leads.REFUSED,
            "unknown",
            written,
            f"No build that is known takes {written}; the server ends with `invalid argument`."
            if _is_name(name)
            else f"{written} stands where an option should; the server ends with `invalid argument`.",
            f"did you mean {near}?" if near else "",
        )
        return
    if min(state.first for state in past) > options.build:
        first = min(state.first for state in past)
        read.tell(
            Leads.REFUSED,
            "not yet",
            written,
            f"{written} came later: b{first} has it, {_before(first)} does not.",
            f"leave it out on this build, or take b{first} or newer",
        )
        return
    last = max(state.last for state in past)
    now = next((state for state in options.by_name.values() if state.option == past[-1].option), None)
    instead = now.entry.names if now else past[-1].entry.instead
    read.tell(
        Leads.REFUSED,
        "renamed" if now else "gone",
        written,
        f"{written} is gone: b{last} had it, {here} does not; the server ends with `invalid argument`.",
        f"use {' or '.join(instead)}" if instead else "leave it out",
    )


def _check_value(read: Read, given: Given) -> None:
    choices = _choices(given.state)
    if given.value is None or choices is None or "$" in given.value:
        return
    listed = given.state.option == TYPE
    for part in given.value.split(",") if listed else [given.value]:
        if part in choices:
            continue
        renamed = llama_flags.RENAMED_VALUES.get(given.state.option, {}).get(part)
        near = renamed or _near(part, choices)
        read.tell(
            Leads.REFUSED,
            "renamed" if renamed else "value",
            f"{given.written} {part}",
            f"{given.written} knows no {part!r} in b{read.options.build}; the server ends and says so.",
            f"use {near}" if renamed else f"did you mean {near}?" if near else f"one of {', '.join(choices)}",
        )


# ---------------------------------------------------------------------------------------------
# Names and values


def _spelled(written: str) -> str:
    return written.replace("_", "-") if written.startswith("--") else written


def _is_name(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NUMBER.match(word)


def _values_of(state: State) -> int:
    """Return how many words its value takes: none for a switch, else as many as its placeholder has."""
    return len(state.entry.value.split()) if state.entry.value is not None else 0


def _choices(state: State) -> list[str] | None:
    """Return the values that an option takes, None where they are not a fixed list."""
    value = state.entry.value or ""
    if found := _CHOICES.fullmatch(value):
        return re.split(r"[|,]", found[1])
    return value.split(",") if _LIST.fullmatch(value) else None


def _near(word: str, known: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def _before(build: int) -> str:
    older = [one for one in llama_flags.observed() if one < build]
    return f"b{older[-1]}" if older else "an older one"


def _variables_ever() -> dict[str, str]:
    """Return variable → option, over all builds."""
    return {s.entry.variable: s.option for s in llama_flags.states() if s.entry.variable is not None}


def _variables_of(options: Options, names: Sequence[str]) -> list[str]:
    states = [options.by_name[name] for name in names if name in options.by_name]
    return [state.entry.variable or state.entry.names[0] for state in states]


def _instead_of_variable(options: Options, name: str) -> str:
    option = _variables_ever().get(name)
    now = next((s for s in options.by_name.values() if s.option == option), None) if option else None
    if now is not None:
        return f"use {now.entry.variable or now.entry.names[-1]}"
    past = [state for state in llama_flags.states() if state.entry.variable == name]
    if instead := [word for state in past[-1:] for word in state.entry.instead]:
        return f"its option is gone; use {' or '.join(instead)}"
    # The beginning that all share says nothing of how near two are.
    known = {variable.removeprefix(_PREFIX): variable for variable in options.by_variable}
    near = known.get(_near(name.removeprefix(_PREFIX), list(known)) or "")
    return f"did you mean {near}?" if near else "leave it out"
