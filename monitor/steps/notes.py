"""Release notes of what a package index lists, from the GitHub repository that its source names."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus

from pydantic import AwareDatetime, BaseModel, ValidationError

from monitor.domain import ReleaseState
from monitor.errors import SourceError
from monitor.releases.github.commits import git_ref
from monitor.releases.github.schema import read_release
from monitor.releases.memory import write
from monitor.settings_tables import SourceSettings
from monitor.steps.station import Station
from monitor.store.queries import releases
from monitor.store.queries.releases import ReleaseRow

_MOST_AT_ONCE = 3
"""Requests a round: notes are nice to have, and there are 60 requests an hour."""
_AGAIN = timedelta(days=1)
"""Notes are often written after the release."""
_GIVEN_UP = timedelta(days=14)


class _Asked(BaseModel):
    """When GitHub was asked for the notes of which release."""

    at: dict[str, AwareDatetime] = {}


def read_notes(station: Station) -> None:
    """Fetch notes that are missing, of what is or will be measured, newest first, a few in a round.

    A GitHub that cannot be reached is no trouble of the service: it is asked again a day later.
    """
    for settings in station.settings.sources:
        if settings.kind == "package-index" and settings.repository:
            with suppress(SourceError):
                _read(station, settings, settings.repository)


def _read(station: Station, settings: SourceSettings, repository: str) -> None:
    api, now = station.surroundings.github, station.clock()
    file = station.settings.sources_dir / f"github-notes-{repository.replace('/', '--')}.json"
    asked = _Asked()
    with suppress(OSError, ValidationError):
        asked = _Asked.model_validate_json(file.read_bytes())
    with station.store.read() as db:
        rows = releases.all_of(db, settings.project, channel=settings.channel)
    missing = [row for row in reversed(rows) if _is_wanted(row) and now - row.first_seen_at < _GIVEN_UP]
    due = [row for row in missing if _is_due(asked, row, station)][:_MOST_AT_ONCE]
    for row in due:
        ref = git_ref(settings.project, row.release.version)
        asked.at[row.release.version] = now
        write(file, asked.model_dump_json().encode())
        if ref is None:
            continue
        answer = api.get(api.address(f"/repos/{repository}/releases/tags/{ref}"), may_lack=True)
        found = read_release(answer.body) if answer.status == HTTPStatus.OK else None
        if found is not None:
            page = found.html_url if found.html_url.startswith(f"{api.settings.web_url}/") else ""
            with station.store.write() as db:
                releases.annotate(db, row.release, notes=found.body, page=page)


def _is_wanted(row: ReleaseRow) -> bool:
    return not row.release.notes and row.state in {
        ReleaseState.AGED,
        ReleaseState.SETTLING,
        ReleaseState.PLANNED,
    }


def _is_due(asked: _Asked, row: ReleaseRow, station: Station) -> bool:
    last = asked.at.get(row.release.version)
    return last is None or station.clock() - last >= _AGAIN
