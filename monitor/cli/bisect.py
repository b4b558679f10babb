"""`mtp-monitor bisect`: which release between a good and a bad one brought a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output
from monitor.domain import BisectionState

if TYPE_CHECKING:
    from monitor.domain import Bisection, Visit
    from monitor.pipeline import Station

SCHEMA = "mtp-monitor/bisection/1"
_CODES = {
    BisectionState.FOUND: output.Code.FINE,
    BisectionState.NARROWED: output.Code.UNDECIDED,
    BisectionState.NO_LOSS: output.Code.UNDECIDED,
}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor bisect synthetic-qwen35-cpu --good 2026.5.9294 --bad 2026.10.11549",
        "mtp-monitor bisect CHECK --good 0.28.0 --bad 0.29.1 --project vllm --json",
    )
    app.command("bisect", rich_help_panel=output.MEASURE, epilog=examples)(bisect)


def bisect(
    ctx: typer.Context,
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="The check that shows it; `mtp-monitor checks` lists them.")
    ],
    *,
    good: Annotated[str, typer.Option(metavar="VERSION[@SHA256]", help="A release without the loss.")],
    bad: Annotated[str, typer.Option(metavar="VERSION[@SHA256]", help="A later release with it.")],
    project: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT", help="Whose releases. Default: the one the check measures.", show_default=False
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All prompts, instead of the quick tier.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Search anew although it was found.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Call the search off; what it knows stays.")
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Find the first bad release between a good and a bad one, in about log2 steps.

    Every release between may be visited, also those passed over for a newer one; what does not install or
    start is skipped. Killed or stopped, it goes on where it was when the command is given again. Exit code 0:
    found; 4: only narrowed down, or there is no loss between the two.
    """
    from monitor import bisect as bisecting  # noqa: PLC0415
    from monitor import orders, pipeline  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415
    from monitor.domain import Tier  # noqa: PLC0415

    tier = Tier.FULL if full else Tier.QUICK
    with watching() as progress, pipeline.Station.open(output.settings(ctx), progress) as station:
        named = project or _project(station, check)
        known = {row.release.version for row in pipeline.listing(station, named)}
        if not {good.partition("@")[0], bad.partition("@")[0]} <= known:
            for poll in pipeline.discover(station, named):
                if poll.error is not None:
                    output.tell(poll.error.what)
        found = orders.bisect(station, check, named, good, bad, tier=tier, again=again)
        if cancel:
            found = bisecting.cancel(station, found.id, "the command line")
        else:
            found = _followed(station, found)
        document = _document(station, found)
    if as_json:
        output.emit(SCHEMA, document)
    else:
        _show(document)
    raise typer.Exit(_CODES.get(found.state, output.Code.FAILED))


def _project(station: Station, check: str) -> str:
    """Return the only followed project that the check measures.

    Raises:
        UnknownNameError: when there are several, or none.

    """
    from monitor.checks import loader  # noqa: PLC0415
    from monitor.errors import UnknownNameError  # noqa: PLC0415

    followed = {source.project for source in station.settings.sources if source.kind != "attached"}
    fitting = [name for name in loader.pick(check, station.checks).projects if name in followed]
    if len(fitting) != 1:
        raise UnknownNameError(
            f"The check {check} measures {', '.join(fitting) or 'no project that a source follows'}.",
            advice="name one with --project",
        )
    return fitting[0]


# ---------------------------------------------------------------------------------------------
# Carrying it out


def _followed(station: Station, found: Bisection) -> Bisection:
    """Carry the search out here, or watch the daemon do it, saying each answer as it comes.

    A daemon that comes in between goes on with it, and is watched.

    Raises:
        HostError: when the daemon ends before the search does.

    """
    from monitor.cli.follow import by_whom  # noqa: PLC0415

    said = _Said(station)
    while True:
        ended = by_whom(
            station,
            lambda: _carried_out(station, found, said),
            lambda daemon: _watched(station, found, daemon, said),
        )
        if ended is not None:
            return ended


def _carried_out(station: Station, found: Bisection, said: _Said) -> Bisection | None:
    """Carry the search out here; None when a daemon has come, which goes on with it."""
    from monitor import orders  # noqa: PLC0415
    from monitor.pipeline import tell  # noqa: PLC0415

    for now in orders.searched(station, found.id):
        said.news(now)
        found = now
        if found.state is BisectionState.RUNNING and station.daemon() is not None:
            return None
    if found.incident_id is not None:
        tell(station)  # nobody else would deliver what was just written
    return found


def _watched(station: Station, found: Bisection, daemon: str, said: _Said) -> Bisection:
    import time  # noqa: PLC0415

    from monitor import orders  # noqa: PLC0415
    from monitor.cli.follow import LOOK_AGAIN_S, still_there  # noqa: PLC0415

    while True:
        found = orders.bisection(station, found.id)
        said.news(found)
        if found.state is not BisectionState.RUNNING:
            return found
        still_there(station, daemon, f"bisection {found.id} with what it knows")
        time.sleep(LOOK_AGAIN_S)


class _Said:
    """Says on stderr what is new: each answer once, and what is visited next."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._answered: set[str] = set()
        self._last = ""

    def news(self, found: Bisection) -> None:
        from monitor import bisect as bisecting  # noqa: PLC0415

        # By the file: places move on when a commit comes in.
        fresh = [v for v in found.visits if v.answer and v.artifact_sha256 not in self._answered]
        for visit in sorted(fresh, key=lambda visit: (visit.answered_at or found.began_at, visit.place)):
            self._answered.add(visit.artifact_sha256)
            output.tell(f"{_mark(visit)} {visit.version}: {visit.answer}, {visit.why}")
        standing = bisecting.standing(self._station, found)
        if found.state is BisectionState.RUNNING and standing != self._last:
            self._last = standing
            output.tell(f"Bisection {found.id}: {standing}")


def _mark(visit: Visit) -> str:
    from monitor.views.bisected import MARKS  # noqa: PLC0415

    return MARKS[visit.answer] if visit.answer else " "


# ---------------------------------------------------------------------------------------------
# Showing it


def _document(station: Station, found: Bisection) -> dict[str, Any]:
    """Return what `--json` says, without its schema."""
    from monitor.bisect import minutes_left, steps_left  # noqa: PLC0415
    from monitor.releases.commits import commits_between  # noqa: PLC0415

    good, bad = found.last_good, found.first_bad
    ended = found.state in {BisectionState.FOUND, BisectionState.NARROWED}
    commits = commits_between(found.project, good.version, bad.version) if ended else None
    return {
        "bisection": found.id,
        "state": found.state,
        "reason": found.reason,
        "check": found.check_id,
        "check_digest": found.check_digest,
        "project": found.project,
        "tier": found.tier,
        "incident": found.incident_id,
        "last_good": good.version,
        "first_bad": bad.version,
        "commits": None if commits is None else {"range": str(commits), "url": commits.url},
        "steps": found.steps,
        "steps_left": steps_left(station, found),
        "minutes_left": minutes_left(station, found),
        "began_at": found.began_at,
        "ended_at": found.ended_at,
        "releases": [
            {
                "version": visit.version,
                "artifact_sha256": visit.artifact_sha256,
                "answer": visit.answer,
                "why": visit.why,
                "run": visit.run_id,
                "stored": visit.run_id is not None and not visit.own_run and visit.place > 0,
                "last_resort": visit.last_resort,
                "commit": visit.commit,
                "answered_at": visit.answered_at,
            }
            for visit in found.visits
        ],
    }


def _show(document: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    from monitor.views.bisected import COLOURS, MARKS  # noqa: PLC0415

    table = Table(title=f"{document['project']} on {document['check']}", title_justify="left")
    table.add_column("Release", no_wrap=True)
    table.add_column("Answer", no_wrap=True)
    table.add_column("Why")
    table.add_column("Run", justify="right", no_wrap=True)
    for release in document["releases"]:
        answer = release["answer"]
        table.add_row(
            output.harmless(release["version"]),
            f"{MARKS[answer]} {answer}" if answer else "not visited",
            output.harmless(release["why"] + (" (stored result)" if release["stored"] else "")),
            str(release["run"] or ""),
            style=COLOURS[answer] if answer else "dim",
        )
    output.out.print(table)
    found = document["state"] is BisectionState.FOUND
    output.out.print(output.harmless(document["reason"]), style="bold" if found else None, soft_wrap=True)
    if document["commits"]:
        range_, url = document["commits"]["range"], document["commits"]["url"]
        output.out.print(output.harmless(f"Commits between: {range_}  {url}"), soft_wrap=True)
    steps = document["steps"]
    output.out.print(f"{steps} {'step' if steps == 1 else 'steps'} between the ends.")
