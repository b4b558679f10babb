"""What was changed between two releases, for whoever looks for a culprit."""

from __future__ import annotations

from monitor.domain.commits import CommitRange
from monitor.errors import UnknownNameError
from monitor.releases.github.commits import CommitHistory, git_ref
from monitor.releases.projects import PROJECTS
from monitor.steps.station import Station


def commits_between(
    station: Station, project: str, old: str, new: str, *, whole: bool = False
) -> CommitRange:
    """Return the commits that the version `new` of a project has and `old` has not; asked for once.

    The first few hundred of very many, with `whole` some thousand.

    Raises:
        UnknownNameError: nobody knows from which commits the versions were made.
        SourceError: GitHub could not be asked, or its limits forbid it (`retry_after_s`).
        CommitUnknownError: GitHub does not know one of the two.

    """
    found = _span(station, project, old, new)
    if found is None:
        raise UnknownNameError(
            f"Nobody knows which commits lie between {project} {old} and {new}.",
            advice="only what is tagged on GitHub can be told apart by its commits",
        )
    history, *refs = found
    return history.commits_between(*refs, whole=whole)


def is_told_apart(station: Station, project: str, old: str, new: str) -> bool:
    """Say whether two versions of a project name two tags or commits; asks nobody."""
    found = _span(station, project, old, new)
    return found is not None and found[1] != found[2]


def known_commits(station: Station, project: str, old: str, new: str) -> CommitRange | None:
    """Return what `commits_between` found before, None when it was not asked; for pages, which ask nobody."""
    found = _span(station, project, old, new)
    return found[0].known(found[1], found[2]) if found is not None else None


def _span(station: Station, project: str, old: str, new: str) -> tuple[CommitHistory, str, str] | None:
    known = PROJECTS.get(project)
    refs = git_ref(project, old), git_ref(project, new)
    if known is None or known.repository is None or refs[0] is None or refs[1] is None:
        return None
    configured = station.settings.source(project)
    # A fork that is followed has the tags of its own.
    own = configured.repository if configured is not None and project == known.upstream else None
    return CommitHistory(station.surroundings.github, own or known.repository), refs[0], refs[1]
