"""What a build of llama-server makes of a command line: refused, ignored, renamed, a trap, a new default."""

from __future__ import annotations

from monitor.engines import llama_flags
from monitor.engines.advice import Advice, Leads, in_order
from monitor.engines.command_line import CommandLine
from monitor.engines.llama_flags import Options, State
from monitor.engines.llama_reading import read_command
from monitor.engines.llama_traps import SPECULATION, tell_traps


def advise(command: CommandLine, options: Options, build: int) -> list[Advice]:
    """Return what is to be said of `command` on `build`, whose options are `options` or the nearest known."""
    read = read_command(command, options)
    tell_traps(read, build)
    return in_order(read.found)


def changed_defaults(
    command: CommandLine, old: Options, new: Options, builds: tuple[int, int]
) -> list[Advice]:
    """Return the options the command leaves alone whose default moved from `builds[0]` to `builds[1]`."""
    read = read_command(command, new)
    given = {given.state.option for given in read.given}
    speculating = bool(read.types())
    found = []
    for option, (before, after) in _moved(old, new, builds).items():
        if option in given:
            continue
        concerned = speculating and SPECULATION.match(option) is not None
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
