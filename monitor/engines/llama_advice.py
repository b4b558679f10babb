"""What a build of llama-server makes of a command line: refused, ignored, renamed, another default, a trap.

What a build knows comes from `monitor.engines.llama_flags`, or from its own `--help` where that could be
read. How it reads its arguments is that of `common_params_parse_ex` in `common/arg.cpp`: `--a_b` is
`--a-b`, `--name=value` is no option, variables come first and arguments win, and a variable that no option
reads is passed over in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monitor.engines import llama_flags
from monitor.engines.advice import Advice, Leads, in_order
from monitor.engines.command_line import CommandLine
from monitor.engines.llama_flags import Options, State

MTP = "draft-mtp"
_TYPE, _DRAFT_LENGTH = "--spec-type", "--spec-draft-n-max"
_DRAFT_MODEL = ("--spec-draft-model", "--spec-draft-hf")
_SPECULATION = re.compile(r"--spec-|--(?:model|hf-repo)-draft$")
_PREFIX = "LLAMA_ARG_"
_NUMBER = re.compile(r"-[\d.]")
_CHOICES = re.compile(r"[\[{]([a-z0-9_|,-]+)[\]}]")
_LIST = re.compile(r"[a-z0-9-]+(?:,[a-z0-9-]+){2,}")
_GEMMA = re.compile(r"gemma-?4", re.IGNORECASE)
_GEMMA_ABSENT, _GEMMA_THERE = 9538, 9713
"""The last observed build without `gemma4-assistant` in it, and the first with it."""


@dataclass(frozen=True, slots=True)
class Given:
    """One option as a command gives it."""

    written: str
    """The name as it is written: of an argument or of a variable."""
    value: str | None
    state: State
    by_variable: bool = False


@dataclass(slots=True)
class _Read:
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
        option = self.options.by_name.get(_TYPE)
        values = [given.value or "" for given in self.given if option and given.state.option == option.option]
        return [part for value in values for part in value.split(",") if part and part != "none"]

    def tell(self, leads: Leads, kind: str, option: str, text: str, advice: str = "") -> None:
        """Add a finding."""
        self.found.append(Advice(leads, kind, option, text, advice))


def advise(command: CommandLine, options: Options, build: int) -> list[Advice]:
    """Return what is to be said of `command` on `build`, whose options are `options` or the nearest known."""
    read = _Read(options, command)
    _read_variables(read)
    _read_arguments(read)
    for given in read.given:
        _check_value(read, given)
    for rule in _RULES:
        rule(read, build)
    return in_order(read.found)


def changed_defaults(
    command: CommandLine, old: Options, new: Options, builds: tuple[int, int]
) -> list[Advice]:
    """Return the options the command leaves alone whose default moved from `builds[0]` to `builds[1]`."""
    read = _Read(new, command)
    _read_variables(read)
    _read_arguments(read)
    given = {given.state.option for given in read.given}
    speculating = bool(read.types())
    found = []
    for option, (before, after) in _moved(old, new, builds).items():
        if option in given:
            continue
        concerned = speculating and _SPECULATION.match(option) is not None
        found.append(
            Advice(
                Leads.SILENT if concerned else Leads.NOTE,
                "default",
                option,
                f"{option} is not given, and its default is {after} in b{builds[1]}; "
                f"it was {before} in b{builds[0]}.",
                f"{option} {_plain(before)} keeps what runs now" if new.by_name[option].entry.value else "",
                new=True,
            )
        )
    return in_order(found)


# ---------------------------------------------------------------------------------------------
# Reading


def _read_variables(read: _Read) -> None:
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


def _read_arguments(read: _Read) -> None:
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
            if earlier.by_variable and earlier.state.option == state.option and state.option != _TYPE:
                text = f"{earlier.written} is set too; the argument {written} wins."
                read.tell(Leads.NOTE, "ignored", earlier.written, text)
        read.given.append(Given(written, " ".join(values) if wanted else None, state))


def _tell_unknown(read: _Read, written: str, name: str) -> None:
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


def _check_value(read: _Read, given: Given) -> None:
    choices = _choices(given.state)
    if given.value is None or choices is None or "$" in given.value:
        return
    listed = given.state.option == _TYPE
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
# What no help page says


def _speculation_without_type(read: _Read, _build: int) -> None:
    drafting = [g for g in read.given if _SPECULATION.match(g.state.option) and g.state.option != _TYPE]
    if read.types() or not drafting:
        return
    names = ", ".join(dict.fromkeys(given.written for given in drafting))
    has_model = read.get(*_DRAFT_MODEL) is not None
    if read.get(_TYPE) is not None:
        text = f"--spec-type is none, so nothing is drafted and {names} does nothing."
    elif has_model:
        text = (
            f"{names} without --spec-type: whether the draft model is used depends on the build and on what "
            "the file says of itself; builds have loaded one and never used it (issue 25345)."
        )
    else:
        text = f"{names} without --spec-type: the server starts, drafts nothing and does not say so."
    read.tell(Leads.SILENT, "trap", _TYPE, text, f"add --spec-type {MTP}")


def _mtp_before_it_was_there(read: _Read, build: int) -> None:
    if MTP in read.types() and build < llama_flags.FIRST_MTP:
        text = f"{MTP} came with b{llama_flags.FIRST_MTP}; this build is older and ends when it starts."
        read.tell(Leads.REFUSED, "not yet", f"{_TYPE} {MTP}", text, "take a newer build")


def _broken_builds(read: _Read, build: int) -> None:
    for broken in llama_flags.BROKEN_BUILDS:
        if broken.first <= build <= broken.last and broken.types & set(read.types()):
            text = f"b{broken.first} to b{broken.last}: {broken.what} (issue {broken.issue})."
            read.tell(Leads.REFUSED, "broken", _TYPE, text, f"take b{broken.last + 1} or newer")


def _draft_length(read: _Read, build: int) -> None:
    if MTP not in read.types():
        return
    for earlier in llama_flags.EARLIER_DEFAULTS:
        state = read.options.by_name.get(earlier.name)
        if state is None or earlier.name != _DRAFT_LENGTH or read.get(earlier.name) is not None:
            continue
        about = "about " if earlier.about else ""
        now = earlier.default if build < earlier.before else state.entry.default
        text = (
            f"{earlier.name} is not given and is {now}; before {about}b{earlier.before} it was "
            f"{earlier.default}, and nothing said so when it moved (pull request {earlier.pull_request})."
        )
        read.tell(Leads.NOTE, "trap", earlier.name, text, "write it out, so that an upgrade cannot move it")


def _gemma(read: _Read, build: int) -> None:
    if MTP not in read.types():
        return
    model, draft = read.get("--model", "--hf-repo"), read.get(*_DRAFT_MODEL)
    if model is None or not _GEMMA.search(model.value or ""):
        return
    if draft is None:
        text = "The MTP head of Gemma 4 is a file of its own, and the command names none."
        read.tell(Leads.NOTE, "trap", "--spec-draft-model", text, "give the assistant's file with -md")
    elif build <= _GEMMA_ABSENT:
        text = f"Gemma 4's assistant is not known to b{_GEMMA_ABSENT} and older; b{_GEMMA_THERE} knows it."
        read.tell(Leads.REFUSED, "not yet", draft.written, text, f"take b{_GEMMA_THERE} or newer")


def _synthetic(read: _Read, _build: int) -> None:
    if given := read.get("--spec-synth-rates", "--spec-synth-len"):
        text = f"{given.written} accepts a fixed share of drafts whatever they are: the text means nothing."
        read.tell(Leads.SILENT, "trap", given.written, text, "leave it out to serve; it measures kernels")


def _streams(read: _Read, _build: int) -> None:
    if read.get("--parallel") is None:
        text = f"-np is not given: auto is {llama_flags.AUTO_STREAMS} streams, which share the context of -c."
        read.tell(Leads.NOTE, "trap", "--parallel", text, "for one user -np 1; else say how many")


def _memory(read: _Read, _build: int) -> None:
    fit = read.get("--fit")
    if "--fit" in read.options.by_name and (fit is None or fit.value != "off"):
        text = "-fit is on: what is not given is changed to what fits the memory that is free at the start."
        read.tell(Leads.NOTE, "trap", "--fit", text, "-fit off, with -c and -ngl written out")


def _prefix_cache(read: _Read, _build: int) -> None:
    prompt, ram = read.get("--cache-prompt"), read.get("--cache-ram")
    if (prompt is None or "--no-" not in prompt.written) or (ram is None or ram.value != "0"):
        text = "Earlier prompts are kept and used again: times to a first token depend on what came before."
        advice = "to compare times: --no-cache-prompt --cache-ram 0; to serve, leave it on"
        read.tell(Leads.NOTE, "trap", "--cache-prompt", text, advice)


def _metrics(read: _Read, build: int) -> None:
    if MTP not in read.types() or read.get("--metrics") is not None:
        return
    if build >= llama_flags.SPECULATIVE_METRICS:
        text = "--metrics is not given: what is drafted and accepted then shows in each answer only."
        read.tell(Leads.NOTE, "trap", "--metrics", text, "add --metrics, and watch llamacpp:spec_decode_*")


_RULES: tuple[Callable[[_Read, int], None], ...] = (
    _speculation_without_type,
    _mtp_before_it_was_there,
    _broken_builds,
    _gemma,
    _synthetic,
    _draft_length,
    _streams,
    _memory,
    _prefix_cache,
    _metrics,
)


# ---------------------------------------------------------------------------------------------
# Names, values, defaults


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


def _moved(old: Options, new: Options, builds: tuple[int, int]) -> dict[str, tuple[str, str]]:
    """Return option → its default in both, of those that differ."""
    before = {state.option: _default(state, builds[0]) for state in old.by_name.values()}
    after = {state.option: _default(state, builds[1]) for state in new.by_name.values()}
    return {
        option: (was, now)
        for option in before.keys() & after.keys()
        if (was := before[option]) is not None
        and (now := after[option]) is not None
        and _plain(was) != _plain(now)
    }


def _default(state: State, build: int) -> str | None:
    for earlier in llama_flags.EARLIER_DEFAULTS:
        if earlier.name in state.entry.names and build < earlier.before:
            return earlier.default
    return state.entry.default


def _plain(default: str) -> str:
    """Return a default as it would be given: without what the page explains of it."""
    return default.split(",", maxsplit=1)[0].strip("'")
