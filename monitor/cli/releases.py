"""`mtp-monitor releases`: what exists, what would be measured, and what is skipped and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.steps.discover import Poll
    from monitor.store.queries.releases import ReleaseRow

SCHEMA = "mtp-monitor/releases/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples("mtp-monitor releases --refresh", "mtp-monitor releases xllamacpp --json")
    app.command("releases", rich_help_panel=output.LOOK, epilog=examples)(releases)


def releases(
    ctx: typer.Context,
    project: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="Only this project.", show_default=False)
    ] = None,
    *,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the sources first.")] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """List the known releases with their state: what would be measured, what is skipped, and why.

    Without --refresh nothing is asked for: the list is what was seen last.
    """
    from monitor import pipeline  # noqa: PLC0415
    from monitor.steps.publish import release_line  # noqa: PLC0415
    from monitor.views.terminal import releases_view  # noqa: PLC0415

    settings = output.settings(ctx)
    followed = [source.project for source in settings.sources]
    if project is not None and project not in followed:
        from monitor.errors import UnknownNameError  # noqa: PLC0415
        from monitor.validation import nearest  # noqa: PLC0415

        raise UnknownNameError(f"No source follows {project!r}.", advice=nearest(project, followed))
    with pipeline.Station.open(settings) as station:
        polls = pipeline.discover(station, project) if refresh else []
        rows = pipeline.listing(station, project)
    for poll in polls:
        _tell(poll)
    if as_json:
        output.emit(
            SCHEMA, {"releases": [_facts(row) for row in rows], "polls": [_poll(poll) for poll in polls]}
        )
    elif rows:
        output.out.print(releases_view([release_line(row) for row in rows]))
    else:
        output.tell("No release is known yet: `mtp-monitor releases --refresh` asks the sources.")
    if polls and all(poll.error for poll in polls):
        raise typer.Exit(output.Code.FAILED)


def _tell(poll: Poll) -> None:
    if poll.error is not None:
        output.tell(f"{poll.project}: {poll.error.what}", style="bold red")
        output.tell("Kept: what was known of its releases.")
        return
    new = f"{len(poll.new)} new" if poll.new else "nothing new"
    gone = f", {poll.withdrawn} files withdrawn" if poll.withdrawn else ""
    output.tell(f"{poll.project}: {poll.found} releases at {poll.address}, {new}{gone}")


def _poll(poll: Poll) -> dict[str, Any]:
    return {
        "project": poll.project,
        "channel": poll.channel,
        "address": poll.address,
        "found": poll.found,
        "new": [f"{name}=={version}" for name, version in poll.new],
        "error": poll.error.what if poll.error else None,
    }


def _facts(row: ReleaseRow) -> dict[str, Any]:
    release = row.release
    return {
        "project": release.project,
        "version": release.version,
        "channel": release.channel,
        "state": row.state,
        "reason": row.reason,
        "detail": row.detail,
        "published_at": release.published_at,
        "first_seen_at": row.first_seen_at,
        "artifacts": [
            {"filename": item.filename, "sha256": item.sha256, "size": item.size, "yanked": item.yanked}
            for item in release.artifacts
        ],
    }
