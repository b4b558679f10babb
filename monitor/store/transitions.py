"""Which state of a run may follow which, as data; `docs/run_lifecycle.md` is printed from it.

python -m monitor.store.transitions
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from monitor.domain import RunState


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed step of a run, and when it is taken."""

    source: RunState
    target: RunState
    when: str


WORKING = (RunState.PROVISIONING, RunState.MEASURING, RunState.JUDGING, RunState.CONFIRMING)
"""States in which a process works on the run; found at a start, they were left by one that was killed."""

ENDED = (RunState.DONE, RunState.FAILED, RunState.INVALID, RunState.SKIPPED, RunState.CANCELLED)
"""States that nothing leaves by itself: somebody asks for more."""

_BREAKS = (
    (RunState.FAILED, "the release does not install, start or answer; stage and reason are kept"),
    (RunState.INVALID, "the measurement cannot be trusted"),
    (RunState.INTERRUPTED, "the monitor was stopped or killed; complete sessions are kept"),
    (RunState.CANCELLED, "somebody called it off"),
)

TRANSITIONS: tuple[Transition, ...] = (
    Transition(RunState.PLANNED, RunState.PROVISIONING, "its turn has come"),
    Transition(RunState.PLANNED, RunState.SKIPPED, "it will not be measured; the reason is kept"),
    Transition(RunState.PLANNED, RunState.CANCELLED, "somebody called it off"),
    Transition(RunState.PROVISIONING, RunState.MEASURING, "the environment is complete"),
    Transition(RunState.PROVISIONING, RunState.SKIPPED, "the release cannot serve an arm of the check"),
    Transition(RunState.MEASURING, RunState.JUDGING, "a block of sessions is complete"),
    Transition(
        RunState.JUDGING,
        RunState.MEASURING,
        "another block could still decide, or a good release is measured on",
    ),
    Transition(RunState.JUDGING, RunState.CONFIRMING, "a drop is suspected"),
    Transition(RunState.JUDGING, RunState.DONE, "the verdict stands"),
    Transition(RunState.CONFIRMING, RunState.JUDGING, "fresh sessions of old and new are complete"),
    Transition(RunState.CONFIRMING, RunState.DONE, "the verdict stands, confirmed or not"),
    *(Transition(source, target, when) for source in WORKING for target, when in _BREAKS),
    Transition(RunState.INTERRUPTED, RunState.PROVISIONING, "a new attempt begins"),
    Transition(RunState.INTERRUPTED, RunState.FAILED, "it was interrupted too often"),
    Transition(RunState.INTERRUPTED, RunState.CANCELLED, "somebody called it off"),
    Transition(RunState.DONE, RunState.PROVISIONING, "more is asked of it and its environment is gone"),
    Transition(RunState.DONE, RunState.MEASURING, "the full tier is asked for"),
    Transition(RunState.DONE, RunState.JUDGING, "it is judged against another reference"),
    Transition(RunState.DONE, RunState.CONFIRMING, "a confirmation is asked for"),
    Transition(RunState.FAILED, RunState.PROVISIONING, "somebody asks for another attempt"),
    Transition(RunState.INVALID, RunState.PROVISIONING, "somebody asks for another attempt"),
    Transition(RunState.CANCELLED, RunState.PROVISIONING, "somebody asks for it after all"),
    Transition(RunState.SKIPPED, RunState.PLANNED, "somebody asks for it after all"),
)

_ALLOWED = frozenset((item.source, item.target) for item in TRANSITIONS)


def allowed(source: RunState, target: RunState) -> bool:
    """Say whether a run in `source` may go to `target`."""
    return (source, target) in _ALLOWED


def followers(source: RunState) -> tuple[RunState, ...]:
    """Return the states that may follow `source`."""
    return tuple(item.target for item in TRANSITIONS if item.source is source)


def table() -> str:
    """Return the transitions as a Markdown table."""
    rows = [f"| {item.source} | {item.target} | {item.when} |" for item in TRANSITIONS]
    return "\n".join(("| from | to | when |", "| --- | --- | --- |", *rows))


def diagram() -> str:
    """Return the transitions as a Mermaid state diagram; what every working state can end in is one edge."""
    breaks = {state for state, _ in _BREAKS}
    lines = ["stateDiagram-v2", "    [*] --> planned", "    state working {"]
    inner = [item for item in TRANSITIONS if item.source in WORKING and item.target in WORKING]
    lines += [f"        {item.source} --> {item.target}" for item in inner]
    lines.append("    }")
    outer = [item for item in TRANSITIONS if item not in inner]
    lines += [
        f"    {item.source} --> {item.target}"
        for item in outer
        if not (item.source in WORKING and item.target in breaks)
    ]
    lines += [f"    working --> {state}" for state, _ in _BREAKS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"```mermaid\n{diagram()}\n```\n\n{table()}\n")
