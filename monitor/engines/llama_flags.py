"""Options of `llama-server` by build, as one table: names, defaults, variables, and what is known to change.

Two sources, kept apart:

- `llama_options.jsonl` is *measured*: what the builds of `observed` print as their `--help`, written by
  `benchmarks/llama_options/write_table.py`. Each line is a state of one option: `first` and `last` observed
  build it was seen in, all its `names`, its `value`'s placeholder, `default`, `variable` of the
  environment; `removed` is what a build says that keeps a name only to refuse it, `deprecated` that it says
  so, `instead` the names that it then gives;
- the tables below are *read*, from pull requests and issues of ggml-org/llama.cpp, and hold what no help page
  says: what happened between observed builds, what is refused, and what is silently ignored.

Of a build between two observed ones, what both say is known and the rest is not: `options_of` gives both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from monitor.engines.llama_help import HelpEntry

TABLE = "llama_options.jsonl"
FIRST_MTP = 9180
"""`draft-mtp` was merged (pull request 22673); on branches before it was called `mtp`."""
SPECULATIVE_METRICS = 10566
"""`/metrics` has the series `llamacpp:spec_decode_…` (pull request 26389)."""
RATE_WITHOUT_FIRST_TOKEN = 10566
"""`predicted_per_second` is (n − 1) / ms; up to b10229 it was n / ms. Between them it is not known."""
SYNTHETIC_ACCEPTANCE = 10809
"""`--spec-synth-rates` and `--spec-synth-len`: a fixed share is accepted whatever was drafted, the text means
nothing. The first observed build that has them."""
GEMMA_ASSISTANT_PULL_REQUEST = 23398
"""The architecture `gemma4-assistant`, whose head is a file of its own (`-md`)."""
AUTO_STREAMS = 4
"""What `-np` is where it is not given (-1, auto)."""


@dataclass(frozen=True, slots=True)
class State:
    """One option as it was from one observed build to another, both included."""

    option: str
    """The same for all states of one option."""
    first: int
    last: int
    entry: HelpEntry


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one build."""

    build: int
    """Whose page was read; not the build that was asked about, where that lies between two."""
    exact: bool
    """They are this build's own, not a neighbour's."""
    by_name: dict[str, State] = field(repr=False)
    by_variable: dict[str, State] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EarlierDefault:
    """A default that was another one before the first observed build."""

    name: str
    before: int
    """First build with the default that the observed builds have; `about` where it is known to a few
    builds."""
    default: str
    about: bool
    pull_request: int


EARLIER_DEFAULTS = (
    EarlierDefault("--spec-draft-n-max", 9235, "16", about=True, pull_request=23269),
    EarlierDefault("--spec-draft-p-min", 9235, "0.75", about=True, pull_request=23269),
)


@dataclass(frozen=True, slots=True)
class BrokenBuilds:
    """Builds in which something is known not to work."""

    first: int
    last: int
    types: frozenset[str]
    """Of `--spec-type` that are concerned."""
    what: str
    issue: int


BROKEN_BUILDS = (
    BrokenBuilds(
        10741, 10743, frozenset({"draft-mtp"}), "the server ends when it starts with draft-mtp", 28196
    ),
)

RENAMED_VALUES: dict[str, dict[str, str]] = {"--spec-type": {"mtp": "draft-mtp", "draft": "draft-simple"}}
"""Name of an option → values of branches and earlier builds → what they are called since b9180."""

PINNED: dict[str, str] = {
    "--parallel": "auto is four streams, which share the context",
    "--fit": "it changes what is not given to what fits the memory that is free at the moment",
    "--cache-ram": "an earlier prompt's state is kept and used again, so times of a first token differ",
    "--cache-prompt": "an earlier prompt's state is kept and used again, so times of a first token differ",
}
"""Options whose default lets the machine's state or an earlier request decide → why that matters."""


@cache
def states() -> tuple[State, ...]:
    """Return the measured table, by option and build."""
    text = (files("monitor.engines") / TABLE).read_text(encoding="utf-8")
    return tuple(_state(json.loads(line)) for line in text.splitlines())


@cache
def observed() -> tuple[int, ...]:
    """Return the builds whose pages were read, in order."""
    return tuple(sorted({state.first for state in states()} | {state.last for state in states()}))


def options_of(build: int) -> tuple[Options, Options]:
    """Return the options of the nearest observed builds below and above; twice the same where there is one.

    Before the first and after the last observed build it is that one, which then is not exact.
    """
    known = observed()
    below = max((one for one in known if one <= build), default=known[0])
    above = min((one for one in known if one >= build), default=known[-1])
    return _options(below, exact=below == build), _options(above, exact=above == build)


def options_in(entries: list[HelpEntry], build: int) -> Options:
    """Return the options of a build whose own help page was read."""
    names = {name: state.option for state in states() for name in state.entry.names}
    found = [
        State(next((names[n] for n in entry.names if n in names), entry.title), build, build, entry)
        for entry in entries
    ]
    return _indexed(build, found, exact=True)


def history(name: str) -> tuple[State, ...]:
    """Return every state of the options that were ever called `name`, by build."""
    concerned = {state.option for state in states() if name in state.entry.names}
    return tuple(sorted((s for s in states() if s.option in concerned), key=lambda s: s.first))


def known_names() -> frozenset[str]:
    """Return every name that any observed build takes."""
    return frozenset(name for state in states() if not state.entry.removed for name in state.entry.names)


@cache
def _options(build: int, *, exact: bool) -> Options:
    return _indexed(build, [s for s in states() if s.first <= build <= s.last], exact=exact)


def _indexed(build: int, found: list[State], *, exact: bool) -> Options:
    return Options(
        build=build,
        exact=exact,
        by_name={name: state for state in found for name in state.entry.names},
        by_variable={s.entry.variable: s for s in found if s.entry.variable is not None},
    )


def _state(row: dict[str, Any]) -> State:
    entry = HelpEntry(
        names=tuple(row["names"]),
        value=row.get("value"),
        default=row.get("default"),
        variable=row.get("variable"),
        removed=row.get("removed"),
        deprecated=row.get("deprecated", False),
        instead=tuple(row.get("instead", ())),
    )
    return State(row["option"], row["first"], row["last"], entry)
