"""What happened to an incident: one step of it with its evidence, and the sentence that tells it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.alerts.findings import NAME, line, speedups
from monitor.domain import Bisection, Direction, Host, Incident, IncidentStep, Judgement, Signature
from monitor.domain.incidents import Action
from monitor.judge.drift import Creep
from monitor.store.queries.run_rows import Run
from monitor.views import numbers, words
from monitor.views.advice import Advised
from monitor.views.cost import Costs


@dataclass(frozen=True, slots=True)
class Change:
    """One step of an incident, with the run it is about and what was found there."""

    incident: Incident
    step: IncidentStep
    run: Run
    judgement: Judgement | None
    """Against the reference; None when the release does not run."""
    reference_version: str | None
    predecessor: Judgement | None
    """Against the release measured before it, while the incident goes on: is there a new change?"""
    first_bad_version: str | None = None
    """The release that brought the incident, where it is not the run's own."""
    advice: Advised | None = None
    """Which release to run meanwhile."""
    creep: Creep | None = None
    """Of slow drift: the series of the metric that was lost most, from the epoch's first good run on."""
    bisection: Bisection | None = None
    """The search for where the loss began, once it has found something."""
    costs: Costs | None = None
    """What a million tokens cost with this release, where the owner gave a price."""


_ORDER = (
    Action.OPENED,
    Action.REOPENED,
    Action.WORSE,
    Action.BISECTED,
    Action.SEEN_AGAIN,
    Action.WOKEN,
    Action.REMINDED,
    Action.RESOLVED,
    Action.ACCEPTED,
    Action.FALSE_ALARM,
    Action.ACKNOWLEDGED,
    Action.SNOOZED,
)
_TITLES: dict[Action, str] = {
    Action.OPENED: "Regressed",
    Action.REOPENED: "Opened again",
    Action.WORSE: "Got worse",
    Action.BISECTED: "Where it began",
    Action.SEEN_AGAIN: "Still regressed",
    Action.WOKEN: "Awake again",
    Action.REMINDED: "Still regressed",
    Action.RESOLVED: "Resolved",
    Action.ACCEPTED: "Accepted as the new reference",
    Action.FALSE_ALARM: "False alarm",
    Action.ACKNOWLEDGED: "Acknowledged",
    Action.SNOOZED: "Snoozed",
}
_TITLES_OF: dict[Direction, dict[Action, str]] = {
    Direction.REGRESSED: {},
    Direction.BROKEN: {
        Action.OPENED: "Does not run",
        Action.SEEN_AGAIN: "Still does not run",
        Action.REMINDED: "Still does not run",
        Action.RESOLVED: "Runs again",
        Action.ACCEPTED: "Accepted",
    },
    Direction.DRIFT: {
        Action.OPENED: "Slow drift",
        Action.WORSE: "Slow drift goes on",
        Action.SEEN_AGAIN: "Slow drift goes on",
        Action.REMINDED: "Slow drift goes on",
        Action.RESOLVED: "Drift made good",
    },
}
"""Where other words fit than for a loss that one release brought."""
BY_PEOPLE = frozenset(
    {Action.ACKNOWLEDGED, Action.SNOOZED, Action.ACCEPTED, Action.FALSE_ALARM, Action.REOPENED}
)


def urgency(change: Change) -> tuple[int, bool, float, int]:
    """Return a key that sorts news before reminders before what people did, the worst loss first."""
    found = speedups(change.judgement)
    kept = math.log(found[1] / found[0]) if found and min(found) > 0 else 0.0
    return (
        _ORDER.index(change.step.action),
        change.incident.direction is not Direction.BROKEN,
        kept,
        change.incident.id,
    )


def title(ordered: Sequence[Change], host: Host) -> str:
    """Return the verdict in words, the release and the host; `ordered` begins with the worst."""
    worst = ordered[0]
    label = _label(worst)
    alike = sum(_label(change) == label for change in ordered)
    several = f" in {alike} checks" if alike > 1 else ""
    return f"{label}{several}: {release_name(worst.run)} on {line(host.name, NAME)}"


def _label(change: Change) -> str:
    own = _TITLES_OF[change.incident.direction]
    return own.get(change.step.action, _TITLES[change.step.action])


def sentence(change: Change, host: Host) -> str:
    """Return what happened, in words that need no other line to be understood."""
    machine = line(host.name, NAME)
    by_hand = change.step.action is Action.RESOLVED and change.incident.fixed_by_run_id is None
    if by_hand or change.step.action in BY_PEOPLE:
        return ended(line(_by_people(change, machine)))
    loss = _loss(change, machine)
    said = {
        Action.SEEN_AGAIN: lambda: _seen_again(change, machine),
        Action.WORSE: lambda: f"It got worse: {loss}",
        Action.BISECTED: lambda: f"On {machine}: {change.step.why}",
        Action.WOKEN: lambda: f"No longer snoozed: {loss}",
        Action.REMINDED: lambda: f"Still open since {numbers.day(change.incident.opened_at)}: {loss}",
        Action.RESOLVED: lambda: _resolved(change, machine),
    }.get(change.step.action, lambda: loss)()
    return ended(line(said))


def _by_people(change: Change, machine: str) -> str:
    incident, step = change.incident, change.step
    who, why = line(step.who, NAME) or "Somebody", line(step.why)
    check = line(incident.check_id, NAME)
    which = f"the incident of {check} on {machine}"
    until = f" until {numbers.moment(incident.snoozed_until)}" if incident.snoozed_until else ""
    did = {
        Action.ACKNOWLEDGED: f"acknowledged {which}",
        Action.SNOOZED: f"snoozed {which}{until}",
        Action.ACCEPTED: f"accepted {release_name(change.run)} as the new reference of {check} on {machine}",
        Action.FALSE_ALARM: f"called {which} a false alarm",
        Action.REOPENED: f"opened {which} again",
        Action.RESOLVED: f"resolved {which} by hand",
    }[step.action]
    return f"{who} {did}: {why or line(incident.headline)}"


def _loss(change: Change, machine: str) -> str:
    incident, release = change.incident, release_name(change.run)
    if incident.direction is Direction.BROKEN:
        return f"{release} does not run on {machine}: {_reason(change)}"
    if incident.direction is Direction.DRIFT:
        told = change.judgement.headline if change.judgement is not None else incident.headline
        return f"{ended(line(told))} Seen in {release} on {machine}"
    signature = incident.signature or (change.judgement.signature if change.judgement else None)
    found = speedups(change.judgement)
    if found and numbers.times(found[1]) != numbers.times(found[0]) and found[1] < found[0]:
        pattern = f" ({signature})" if signature else ""
        return (
            f"{release} lost MTP speedup on {machine}: {numbers.times(found[1])} instead of "
            f"{numbers.times(found[0])}{pattern}"
        )
    return f"{release} regressed on {machine}: {_pattern(signature) or line(incident.headline)}"


def _pattern(signature: str | None) -> str:
    return words.SIGNATURES[Signature(signature)] if signature in list(Signature) else ""


def _reason(change: Change) -> str:
    return line((change.run.reason or change.incident.headline).partition("\n")[0]).rstrip(".")


def _seen_again(change: Change, machine: str) -> str:
    before = f" of {line(change.first_bad_version, NAME)}" if change.first_bad_version else ""
    found = speedups(change.judgement)
    if change.incident.direction is Direction.BROKEN:
        return f"{release_name(change.run)} does not run on {machine} either: {_reason(change)}"
    figures = f": {numbers.times(found[1])} instead of {numbers.times(found[0])}" if found else ""
    return f"{release_name(change.run)} still has the loss{before} on {machine}{figures}"


def _resolved(change: Change, machine: str) -> str:
    release, check = release_name(change.run), line(change.incident.check_id, NAME)
    if change.incident.direction is Direction.BROKEN:
        return f"{release} runs again on {machine} ({check})"
    if change.incident.direction is Direction.DRIFT:
        since = line(change.reference_version or "", NAME) or "the first good run"
        return f"{release} has back what releases since {since} had lost bit by bit on {machine} ({check})"
    since = f" that {line(change.first_bad_version, NAME)} brought" if change.first_bad_version else ""
    found = speedups(change.judgement)
    figures = f": {numbers.times(found[1])}, the reference has {numbers.times(found[0])}" if found else ""
    return f"{release} took back the loss{since} on {machine} ({check}){figures}"


def ended(text: str) -> str:
    """Return the text with a full stop where it has no end."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def release_name(run: Run) -> str:
    """Return how a run's release is called: its project and version."""
    return f"{line(run.project, NAME)} {line(run.version, NAME)}"
