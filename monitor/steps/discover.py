"""Discover and settle: ask each source what exists, and decide how far each release has come."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session as Db

from monitor.domain import ReleaseState, SkipReason, version_order
from monitor.errors import ArtifactChangedError, SourceError
from monitor.releases import policy
from monitor.releases.policy import Decision
from monitor.releases.projects import PROJECTS
from monitor.settings_tables import SourceSettings
from monitor.steps.station import Station
from monitor.store.queries import listings, polls, releases
from monitor.store.queries.polls import SourceState
from monitor.store.queries.releases import ReleaseRow


@dataclass(frozen=True, slots=True)
class Poll:
    """What one look at a source brought."""

    project: str
    channel: str
    address: str
    found: int
    new: tuple[tuple[str, str], ...]
    withdrawn: int
    error: SourceError | None = None
    """Why it could not be read; what was known stays."""


Found = Callable[[Db, str, str, Sequence[str]], object]
"""Is told of new releases in the transaction that stores them: project, channel, versions."""


def discover(
    station: Station,
    project: str | None = None,
    *,
    only_due: bool = False,
    found: Found | None = None,
) -> list[Poll]:
    """Ask every source (or those of one project) and store what it lists; a dead source stops no other.

    With `only_due` a source is left alone that was asked a short while ago, failed often, or asked for a
    pause: `_next_look` says for how long. `found` hears of what is new, but for what a source listed when it
    was first read: that is history.

    Raises:
        ArtifactChangedError: when a file kept its name and changed its content. Everything else was stored.

    """
    asked = []
    changed: list[tuple[str, str, str]] = []
    for settings in station.settings.sources:
        if project is not None and settings.project != project:
            continue
        with station.store.read() as db:
            before = polls.get(db, settings.project, settings.channel)
        if only_due and before is not None and before.due_at > station.clock():
            continue
        poll, told = _ask(station, settings, before, found)
        asked.append(poll)
        changed += told
    if changed:
        name, old, new = changed[0]
        raise ArtifactChangedError(
            f"{name} is listed with sha256 {new[:12]}…, and was {old[:12]}… when it was first seen.",
            kept="the file as it was first seen; the new one was not stored and is not installed",
            advice="find out who replaced it before you trust this index again",
        )
    return asked


def is_due(station: Station) -> bool:
    """Say whether any source may be asked now."""
    with station.store.read() as db:
        known = {(state.project, state.channel): state.due_at for state in polls.all_of(db)}
    now = station.clock()
    return any(known.get((source.project, source.channel), now) <= now for source in station.settings.sources)


def _ask(
    station: Station, settings: SourceSettings, before: SourceState | None, found: Found | None
) -> tuple[Poll, tuple[tuple[str, str, str], ...]]:
    source = station.source_of(settings)
    station.progress.stage(f"asking {source.address} for releases of {settings.project}")
    stream = (settings.project, settings.channel)
    try:
        listed = source.poll()
    except SourceError as error:
        now = station.clock()
        failures = (before.failures if before is not None else 0) + 1
        due_at = now + _next_look(station, failures, error.retry_after_s)
        with station.store.write() as db:
            polls.note(db, *stream, address=source.address, error=error.what, due_at=due_at, now=now)
        return Poll(*stream, source.address, 0, (), 0, error), ()
    now = station.clock()
    with station.store.write() as db:
        recorded = listings.record(db, listed, source=source.address, now=now, since=source.since)
        wrong = f"{recorded.changed[0][0]} has changed its content" if recorded.changed else ""
        due_at = now + _next_look(station, 0, None)
        polls.note(db, *stream, address=source.address, error=wrong, due_at=due_at, now=now)
        if found is not None and recorded.new and before is not None and before.answered_at is not None:
            found(db, *stream, sorted((version for _, version in recorded.new), key=version_order))
    settle(station, settings)
    poll = Poll(*stream, source.address, len(listed), recorded.new, len(recorded.withdrawn))
    return poll, recorded.changed


def _next_look(station: Station, failures: int, retry_after_s: float | None) -> timedelta:
    """Return how long a source is left alone.

    After an answer `poll_minutes`; after failures in a row twice as long each time, up to six hours, with a
    tenth of jitter, so that many monitors do not come back in step. A pause that the source asked for is kept
    to the second.
    """
    usual = timedelta(minutes=station.settings.schedule.poll_minutes)
    if retry_after_s is not None:
        return max(usual, timedelta(seconds=retry_after_s))
    if failures == 0:
        return usual
    longer: timedelta = usual * (2 ** min(failures - 1, 16))
    return min(longer, max(usual, _LONGEST_PAUSE)) * random.uniform(1.0, 1.1)  # noqa: S311  # jitter, no secret


_LONGEST_PAUSE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Settled:
    """A release with what the policy says of it now, and what had been made of it before."""

    decision: Decision
    handled: bool
    """It was planned, or passed over for a newer one, with the very file that would be installed now."""
    was_planned: bool
    """What had been made of it before was a plan."""

    @property
    def state(self) -> ReleaseState:
        """How far the policy says the release has come."""
        return self.decision.state


def settle(station: Station, settings: SourceSettings, *, whole: bool = False) -> list[Settled]:
    """Decide the state of the stored releases of a source, oldest version first, and store it.

    What a source no longer lists for its age was decided before and stays, unless the `whole` history is
    asked for.
    """
    horizon = None
    if settings.kind == "github" and not whole:
        horizon = station.clock() - timedelta(days=settings.history_days)
    with station.store.read() as db:
        rows = [
            row
            for row in releases.all_of(db, settings.project, channel=settings.channel, since=horizon)
            if row.reason is not SkipReason.WITHDRAWN
        ]
    decisions = policy.decide(
        [row.release for row in rows],
        settings,
        now=station.clock(),
        python_version=platform.python_version(),
        first_mtp_version=_first_mtp(settings.project),
        driver=station.host.driver,
    )
    changed = [decision for decision, row in zip(decisions, rows, strict=True) if not _stands(decision, row)]
    if changed:
        with station.store.write() as db:
            for decision in changed:
                releases.decide(
                    db,
                    decision.release.project,
                    decision.release.version,
                    decision.release.channel,
                    decision.state,
                    decision.reason,
                    decision.detail,
                    sha256=decision.artifact.sha256 if decision.artifact else None,
                    by_policy=True,
                )
    return [
        Settled(
            decision,
            handled=decision.artifact is not None and decision.artifact.sha256 == row.decided_sha256,
            was_planned=row.state is ReleaseState.PLANNED,
        )
        for decision, row in zip(decisions, rows, strict=True)
    ]


def _stands(decision: Decision, row: ReleaseRow) -> bool:
    """Say whether what is stored of a release is what would be stored again; see `releases.decide`."""
    if (decision.state, decision.reason) == (row.state, row.reason):
        # What an old enough release waits for is not the policy's to say.
        return decision.detail in {"", row.detail}
    made = row.state in {ReleaseState.PLANNED, ReleaseState.SKIPPED}
    early = decision.state in {ReleaseState.SETTLING, ReleaseState.AGED}
    same = decision.artifact is not None and decision.artifact.sha256 == row.decided_sha256
    return made and early and same and row.reason in {None, SkipReason.COALESCED}


def measurable(station: Station, project: str) -> list[Decision]:
    """Return the releases that may be measured here now, each channel's oldest first, with their files."""
    found = [
        item.decision
        for settings in station.settings.sources
        if settings.project == project
        for item in settle(station, settings, whole=True)
    ]
    return [decision for decision in found if decision.state is ReleaseState.AGED]


def listing(station: Station, project: str | None = None) -> list[ReleaseRow]:
    """Return every stored release with its state."""
    with station.store.read() as db:
        return releases.all_of(db, project)


def _first_mtp(project: str) -> str | None:
    known = PROJECTS.get(project)
    return known.first_mtp_version if known else None
