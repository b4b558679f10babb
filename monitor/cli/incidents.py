"""`mtp-monitor incidents`: what people were told about, and what they do about it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.alerts.actions import IncidentActions
    from monitor.domain import Incident
    from monitor.pipeline import Station
    from monitor.store.queries.runs import Run

LIST_SCHEMA = "mtp-monitor/incidents/1"
SCHEMA = "mtp-monitor/incident/1"
UPSTREAM_SCHEMA = "mtp-monitor/upstream/1"

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `incidents list` shows it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why; it stays in the log.")]
Who = Annotated[
    str | None,
    typer.Option("--who", metavar="NAME", help="Who decides. Default: your user name.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    examples = output.examples(
        "mtp-monitor incidents list --all",
        "mtp-monitor incidents upstream 3 > issue.md",
        "mtp-monitor incidents ack 3 --reason 'looking into it'",
        "mtp-monitor incidents accept 3 --reason 'worth it for the new sampler'",
    )
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP, epilog=examples)
    for name, command in (
        ("list", list_),
        ("show", show),
        ("upstream", upstream),
        ("ack", ack),
        ("snooze", snooze),
        ("accept", accept),
        ("resolve", resolve),
        ("false-alarm", false_alarm),
        ("reopen", reopen),
    ):
        group.command(name)(command)
    app.add_typer(group, name="incidents", rich_help_panel=output.WATCH)


_HELP = "List incidents, show what is known of one, and decide about it. Every decision stays in its log."


def list_(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """List the incidents that go on."""
    from monitor.domain import LIVE_STATES  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.store.queries import incidents  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station, station.store.read() as db:
        found = incidents.in_state(db, None if everything else LIVE_STATES)
        documents = [_summary(station, item, _runs(station, item)) for item in found]
    if as_json:
        output.emit(LIST_SCHEMA, {"incidents": documents})
        return
    if not documents:
        output.tell("No incident goes on." if not everything else "There was no incident yet.")
    for document in documents:
        _print_summary(document)


def show(ctx: typer.Context, number: Number, *, as_json: output.JsonFlag = False) -> None:
    """Show one incident with its whole log."""
    from monitor.pipeline import Station  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        document = _document(station, _existing(station, number))
    if as_json:
        output.emit(SCHEMA, document)
        return
    _print_summary(document)
    for step in document["log"]:
        evidence = f" (runs {', '.join(map(str, step['runs']))})" if step["runs"] else ""
        line = f"  {step['at']:%Y-%m-%d %H:%M} UTC  {step['action']} by {step['who']}{evidence}"
        output.out.print(output.harmless(line), soft_wrap=True)
        if step["why"]:
            output.out.print(output.harmless(f"      {step['why']}"), soft_wrap=True)


def upstream(
    ctx: typer.Context,
    number: Number,
    *,
    script: Annotated[
        bool, typer.Option("--script", help="Only the commands that reproduce it, as a script for sh.")
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Print a ready text for the tracker of the project: title and body in Markdown.

    It holds the commands that reproduce the loss without the monitor, or says why there are none.
    """
    from monitor.errors import UnknownNameError  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps.upstream import upstream as text_of  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        text = text_of(station, number)
    if script and not text.script:
        raise UnknownNameError(
            f"Incident {number} has no commands that reproduce it.",
            advice="its text says why: leave out --script",
        )
    if as_json:
        output.emit(UPSTREAM_SCHEMA, {"incident": number, **output.plain(text)})
        return
    shown = text.script if script else f"{text.title}\n\n{text.body}"
    # As it is, without a terminal's width in it: it is meant for a file or a clipboard.
    sys.stdout.write(output.harmless(shown).rstrip("\n") + "\n")
    for note in text.notes:
        output.tell(note)
    if text.tracker:
        output.tell(f"Issues are taken at {text.tracker}")


def ack(
    ctx: typer.Context,
    number: Number,
    *,
    reason: Reason = "",
    who: Who = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Say that somebody looks into it: no more reminders."""
    _act(ctx, as_json, lambda actions: actions.acknowledge(number, who or _user(), reason))


def snooze(
    ctx: typer.Context,
    number: Number,
    *,
    hours: Annotated[float, typer.Option(metavar="HOURS", min=0.01, help="For how long.")] = 24.0,
    reason: Reason = "",
    who: Who = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Keep it quiet for some hours, or until it gets worse."""

    def do(actions: IncidentActions) -> Incident:
        from monitor.steps.station import now_utc  # noqa: PLC0415

        return actions.snooze(number, who or _user(), reason, now_utc() + timedelta(hours=hours))

    _act(ctx, as_json, do)


def accept(
    ctx: typer.Context, number: Number, *, reason: Reason, who: Who = None, as_json: output.JsonFlag = False
) -> None:
    """Take the release as the new reference: later ones are judged against it."""
    _act(ctx, as_json, lambda actions: actions.accept(number, who or _user(), reason))


def resolve(
    ctx: typer.Context, number: Number, *, reason: Reason, who: Who = None, as_json: output.JsonFlag = False
) -> None:
    """End it by hand."""
    _act(ctx, as_json, lambda actions: actions.resolve(number, who or _user(), reason))


def false_alarm(
    ctx: typer.Context, number: Number, *, reason: Reason, who: Who = None, as_json: output.JsonFlag = False
) -> None:
    """End it as a mistake of the monitor's, which counts it."""
    _act(ctx, as_json, lambda actions: actions.false_alarm(number, who or _user(), reason))


def reopen(
    ctx: typer.Context, number: Number, *, reason: Reason, who: Who = None, as_json: output.JsonFlag = False
) -> None:
    """Take the end of an incident back."""
    _act(ctx, as_json, lambda actions: actions.reopen(number, who or _user(), reason))


# ---------------------------------------------------------------------------------------------


def _act(ctx: typer.Context, as_json: bool, do: Callable[[IncidentActions], Incident]) -> None:  # noqa: FBT001
    from monitor.alerts.actions import IncidentActions  # noqa: PLC0415
    from monitor.pipeline import Station, tell  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        document = _document(station, do(IncidentActions(station)))
        if station.daemon() is None:
            tell(station)  # nobody else would deliver what was just written
    if as_json:
        output.emit(SCHEMA, document)
    else:
        _print_summary(document)


def _existing(station: Station, number: int) -> Incident:
    from monitor.errors import UnknownNameError  # noqa: PLC0415
    from monitor.store.queries import incidents  # noqa: PLC0415

    with station.store.read() as db:
        found = incidents.get(db, number)
    if found is None:
        raise UnknownNameError(
            f"There is no incident {number}.", advice="`mtp-monitor incidents list --all` shows them"
        )
    return found


def _runs(station: Station, incident: Incident) -> dict[str, Run | None]:
    from monitor.store.queries import runs  # noqa: PLC0415

    with station.store.read() as db:
        return {
            name: runs.get(db, number) if number else None
            for name, number in (
                ("first_bad", incident.first_bad_run_id),
                ("latest_bad", incident.latest_bad_run_id),
                ("worst", incident.worst_run_id),
                ("fixed_by", incident.fixed_by_run_id),
            )
        }


def _summary(station: Station, incident: Incident, named: dict[str, Run | None]) -> dict[str, Any]:
    return {
        "incident": incident.id,
        "state": incident.state,
        "direction": incident.direction,
        "signature": incident.signature,
        "headline": incident.headline,
        "check": incident.check_id,
        "project": incident.project,
        "channel": incident.channel,
        "host": station.host.name,
        "opened_at": incident.opened_at,
        "ended_at": incident.ended_at,
        **{name: {"run": run.id, "version": run.version} if run else None for name, run in named.items()},
    }


def _document(station: Station, incident: Incident) -> dict[str, Any]:
    from monitor.store.queries import bisections, incidents  # noqa: PLC0415

    with station.store.read() as db:
        log = incidents.log(db, incident.id)
        search = bisections.of_incident(db, incident.id)
    return {
        **_summary(station, incident, _runs(station, incident)),
        "bisection": None
        if search is None
        else {
            "bisection": search.id,
            "state": search.state,
            "last_good": search.last_good.version,
            "first_bad": search.first_bad.version,
            "steps": search.steps,
            "reason": search.reason,
        },
        "log": [
            {"at": step.at, "action": step.action, "who": step.who, "why": step.why, "runs": step.run_ids}
            for step in log
        ],
    }


def _print_summary(document: dict[str, Any]) -> None:
    what = document["signature"] or document["direction"]
    if document["direction"] == "drift" and document["signature"]:
        what = f"slow drift ({document['signature']})"
    head = f"{document['incident']}  {document['state']}: {document['project']}, {document['check']}, {what}"
    output.out.print(output.harmless(head), style="bold", soft_wrap=True)
    output.out.print(output.harmless(f"   {document['headline']}"), soft_wrap=True)
    first, latest, fixed = (document[name] for name in ("first_bad", "latest_bad", "fixed_by"))
    since = f"   first in {first['version']}, latest in {latest['version']}"
    ended = f", fixed by {fixed['version']}" if fixed else ""
    output.out.print(output.harmless(since + ended), soft_wrap=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "command line"
