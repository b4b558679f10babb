"""The `data` of every type of message, as plain JSON values; `docs/messages.schema.json` describes them.

No link changes anything: whatever fetches it to make a preview only reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monitor.alerts.changes import Change, ended, release_name, sentence, title, urgency
from monitor.alerts.findings import NAME, figure, finding, line
from monitor.domain import Bisection, BisectionState, Host, Judgement, Verdict
from monitor.judge.drift import Creep
from monitor.planted.names import is_planted
from monitor.releases.commits import commits_between
from monitor.store.queries.quarantines import Quarantine
from monitor.store.queries.run_rows import Run
from monitor.views import words
from monitor.views.cost import Costs

__all__ = ["Change", "incident_data", "quarantine_data", "release_data", "run_data", "stale_data"]

MOST_ITEMS = 20
"""Versions or reasons in one message."""

_HEADLINE = 400


def incident_data(changes: Sequence[Change], *, host: Host, public_url: str | None) -> dict[str, Any]:
    """Return one message for all that changed about an artifact on a host, the worst first.

    Raises:
        ValueError: when nothing changed.

    """
    if not changes:
        raise ValueError("a message needs something to tell")
    ordered = sorted(changes, key=urgency)
    worst, total = ordered[0], len(ordered)
    headline = sentence(worst, host)
    if total > 1:
        headline = f"{headline} {total} incidents in all."
    pages = _Pages(public_url)
    return {
        "title": title(ordered, host),
        "headline": line(headline, _HEADLINE),
        "action": worst.step.action.value,
        "release": _release(worst.run),
        "host": _host(host),
        "incidents": [_incident(change, host, pages) for change in ordered],
        "total": total,
        "url": pages.to(f"incidents/{worst.incident.id}" if total == 1 else "incidents"),
        "command": _report_command(worst.run),
    }


def run_data(
    run: Run,
    judgement: Judgement | None,
    *,
    host: Host,
    public_url: str | None,
    costs: Costs | None = None,
) -> dict[str, Any]:
    """Return the message that a run has come to its end."""
    pages, reference = _Pages(public_url), judgement.reference if judgement else None
    label = words.VERDICTS[judgement.verdict].label if judgement else words.capitalised(run.state.value)
    if judgement and reference is None and judgement.verdict is Verdict.UNCHANGED:
        label = words.FIRST.label
    said = judgement.headline if judgement else run.reason or f"The run is {run.state.value}."
    return {
        "title": f"{label}: {release_name(run)} on {line(host.name, NAME)}",
        "headline": line(said, _HEADLINE),
        "release": _release(run),
        "host": _host(host),
        "run": {
            "id": run.id,
            "check": line(run.check_id, NAME),
            "state": run.state.value,
            "tier": run.tier.value,
            "reason": line(run.reason),
            "reference_version": line(reference.version, NAME) if reference else None,
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
            **finding(judgement, costs),
        },
        "url": pages.to(f"runs/{run.id}"),
        "command": _report_command(run),
    }


def release_data(
    project: str, channel: str, versions: Sequence[str], *, public_url: str | None
) -> dict[str, Any]:
    """Return the message that new releases of a project were found."""
    name, stream = line(project, NAME), line(channel, NAME)
    shown = [line(version, NAME) for version in versions]
    said = f"{name} {', '.join(shown[:3])}" if len(shown) <= 3 else f"{len(shown)} releases of {name}"  # noqa: PLR2004
    found = "was found" if len(shown) == 1 else "were found"
    return {
        "title": f"New: {line(said, NAME)} ({stream})",
        "headline": f"{line(said, _HEADLINE)} {found} on the channel {stream}.",
        "project": name,
        "channel": stream,
        "versions": [{"version": version, "planted": is_planted(version)} for version in shown[:MOST_ITEMS]],
        "total": len(shown),
        "url": _Pages(public_url).to("releases"),
        "command": "mtp-monitor releases",
    }


def stale_data(reasons: Sequence[str], *, host: Host | None, public_url: str | None) -> dict[str, Any]:
    """Return the message that the service itself needs somebody: silence must never look like health."""
    shown = [ended(words.capitalised(line(reason))) for reason in reasons]
    first = shown[0] if shown else "It has not done its work."
    more = f" And {len(shown) - 1} more." if len(shown) > 1 else ""
    where = f" on {line(host.name, NAME)}" if host else ""
    return {
        "title": f"The MTP monitor{where} needs attention",
        "headline": line(f"{first}{more}", _HEADLINE),
        "host": _host(host) if host else None,
        "reasons": shown[:MOST_ITEMS],
        "total": len(shown),
        "url": _Pages(public_url).to("status"),
        "command": "mtp-monitor doctor",
    }


def quarantine_data(found: Quarantine, *, host: Host, public_url: str | None) -> dict[str, Any]:
    """Return the message that a GPU is in quarantine, or that somebody has ended it."""
    where = f"the GPU on {line(host.name, NAME)}"
    reason = ended(words.capitalised(line(found.reason)))
    if found.released_at is None:
        title = f"In quarantine: {where}"
        headline = f"Nothing is measured on {where} until somebody has seen to it. {reason}"
        command = "mtp-monitor gpu release --reason TEXT"
    else:
        title = f"Measured on again: {where}"
        who, why = line(found.who, NAME) or "Somebody", line(found.why)
        said = ended(why or "no reason given")
        headline = f"{words.capitalised(where)} is measured on again. {who}: {said}"
        command = "mtp-monitor gpu show"
    return {
        "title": line(title, NAME),
        "headline": line(headline, _HEADLINE),
        "host": _host(host),
        "gpu": line(found.gpu, NAME),
        "reason": reason,
        "began_at": found.began_at.isoformat(),
        "released_at": found.released_at.isoformat() if found.released_at else None,
        "who": _known(found.who),
        "why": line(found.why) or None,
        "url": _Pages(public_url).to("status"),
        "command": command,
    }


# ---------------------------------------------------------------------------------------------
# Incidents


def _incident(change: Change, host: Host, pages: _Pages) -> dict[str, Any]:
    incident, run, step = change.incident, change.run, change.step
    own = incident.first_bad_run_id == run.id
    first_bad = run.version if own else change.first_bad_version
    if change.bisection is not None and change.bisection.state is BisectionState.FOUND:
        first_bad = change.bisection.first_bad.version
    found = finding(change.judgement, change.costs)
    return {
        "id": incident.id,
        "action": step.action.value,
        "state": incident.state.value,
        "direction": incident.direction.value,
        "check": line(incident.check_id, NAME),
        "headline": sentence(change, host),
        "loss": line(incident.headline),
        "who": line(step.who, NAME),
        "why": line(step.why),
        "at": step.at.isoformat(),
        "opened_at": incident.opened_at.isoformat(),
        "reference_version": _known(change.reference_version),
        "first_bad_version": _known(first_bad),
        "fixed_by_version": _known(run.version if incident.fixed_by_run_id == run.id else None),
        "predecessor": _predecessor(change.predecessor),
        "drift": _drift(change.creep),
        "bisection": _bisection(change.bisection, pages),
        **found,
        "to_run": _to_run(change, pages),
        "advice": words.DRIFT_ADVICE if change.creep is not None and found["advice"] else found["advice"],
        "signature": _known(incident.signature) or found["signature"],
        "runs": {
            "this": run.id,
            "first_bad": incident.first_bad_run_id,
            "latest_bad": incident.latest_bad_run_id,
            "worst": incident.worst_run_id,
            "fixed_by": incident.fixed_by_run_id,
            "evidence": list(step.run_ids[:MOST_ITEMS]),
        },
        "url": pages.to(f"incidents/{incident.id}"),
        "run_url": pages.to(f"runs/{run.id}"),
        "command": _report_command(run),
    }


def _to_run(change: Change, pages: _Pages) -> dict[str, Any] | None:
    """Return which release to run meanwhile, and why; None where none can be advised."""
    advice = change.advice
    if advice is None or advice.to_run is None:
        return None
    return {
        "version": line(advice.to_run.version, NAME),
        "sha256": advice.to_run.sha256,
        "mtp": advice.worth.value,
        "text": line(" ".join([advice.summary, *advice.reasons])),
        "url": pages.to(f"runs/{advice.to_run.run_id}"),
    }


def _drift(creep: Creep | None) -> dict[str, Any] | None:
    """Return the series of a slow drift: what has crept away, since when, and by how much each time."""
    if creep is None:
        return None
    percents = [figure(100 * math.expm1(change)) for change in creep.changes]
    points = [
        {"version": line(version, NAME), "change_percent": percent}
        for version, percent in zip(creep.versions, percents, strict=True)
    ]
    largest = creep.largest
    return {
        "metric": creep.metric.value,
        "since_version": line(creep.versions[0], NAME),
        "releases": len(points) - 1,
        "change_percent": percents[-1],
        "largest_step_version": line(largest[0], NAME) if largest else None,
        "largest_step_percent": figure(100 * math.expm1(largest[1])) if largest else None,
        "points": points[-MOST_ITEMS:],
    }


def _predecessor(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {
        "version": _known(judgement.reference.version if judgement.reference else None),
        "verdict": judgement.verdict.value,
        "headline": line(judgement.headline),
    }


def _bisection(found: Bisection | None, pages: _Pages) -> dict[str, Any] | None:
    if found is None or found.state not in {BisectionState.FOUND, BisectionState.NARROWED}:
        return None
    good, bad = found.last_good.version, found.first_bad.version
    commits = commits_between(found.project, good, bad)
    return {
        "id": found.id,
        "state": found.state.value,
        "last_good_version": line(good, NAME),
        "first_bad_version": line(bad, NAME),
        "steps": found.steps,
        "unanswered": len(found.suspects),
        "commits": line(str(commits), NAME) if commits else None,
        "commits_url": commits.url if commits else None,
        "text": line(found.reason),
        "url": pages.to(f"bisections/{found.id}"),
    }


# ---------------------------------------------------------------------------------------------
# Parts


class _Pages:
    """Links to the pages; None where nobody said how people reach them."""

    def __init__(self, public_url: str | None) -> None:
        self._root = public_url.rstrip("/") if public_url else None

    def to(self, path: str) -> str | None:
        return f"{self._root}/{path}" if self._root else None


def _release(run: Run) -> dict[str, Any]:
    return {
        "project": line(run.project, NAME),
        "version": line(run.version, NAME),
        "channel": run.channel,
        "sha256": run.artifact_sha256,
        "planted": is_planted(run.version),
    }


def _host(host: Host) -> dict[str, Any]:
    return {"name": line(host.name, NAME), "hardware_class": line(host.hardware_class, NAME)}


def _known(name: str | None) -> str | None:
    return line(name, NAME) if name else None


def _report_command(run: Run) -> str:
    return f"mtp-monitor report {run.id} -o run-{run.id}.html"
