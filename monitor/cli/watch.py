"""`mtp-monitor watch`: the service without pages, or one whole round of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.pipeline import Poll, Station

SCHEMA = "mtp-monitor/watch/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor watch", "mtp-monitor watch --once", "mtp-monitor watch --once --json"
    )
    app.command("watch", rich_help_panel=output.WATCH, epilog=examples)(watch)


def watch(
    ctx: typer.Context,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="One whole round, then end: for cron, or to look at it.")
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Notice new releases, measure and judge them, and tell people, until it is stopped.

    One round: poll, settle, plan, provision, measure, judge, confirm, announce, deliver. With --once the exit
    code is 0 when the round did its work, whatever the verdicts are.
    """
    from monitor import pipeline  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415

    settings = output.settings(ctx)
    if not once:
        from monitor.cli.serve import keep  # noqa: PLC0415

        keep(settings, schedule=True, pages=False)
        return
    with watching() as progress, pipeline.Station.open(settings, progress) as station:
        with station.on_duty("one round"):
            began = station.clock()
            polls = pipeline.cycle(station)
        document = _document(station, polls, began)
    if as_json:
        output.emit(SCHEMA, document)
    else:
        _show(document)


def _document(station: Station, polls: list[Poll], began: Any) -> dict[str, Any]:
    from monitor.domain import DeliveryState  # noqa: PLC0415
    from monitor.store.queries import incidents, judgements, outbox, queue, runs  # noqa: PLC0415

    with station.store.read() as db:
        ended = [run for run in runs.recent(db, 500) if run.finished_at and run.finished_at >= began]
        waiting = queue.waiting(db, station.host.machine_id)
        changed = [item for item in incidents.in_state(db) if item.changed_at >= began]
        undelivered = outbox.deliveries(db, state=DeliveryState.PENDING)
        verdicts = {run.id: judgements.get(db, run.id) for run in ended}
    return {
        "polls": [
            {
                "project": poll.project,
                "channel": poll.channel,
                "new": [version for _, version in poll.new],
                "error": poll.error.what if poll.error else None,
            }
            for poll in polls
        ],
        "runs": [
            {
                "run": run.id,
                "check": run.check_id,
                "project": run.project,
                "version": run.version,
                "state": run.state,
                "verdict": judgement.verdict if (judgement := verdicts[run.id]) else None,
                "headline": run.reason,
            }
            for run in reversed(ended)
        ],
        "waiting": [
            {"run": run.id, "project": run.project, "version": run.version, "why": run.waiting}
            for run in waiting
        ],
        "incidents": [
            {"incident": item.id, "state": item.state, "headline": item.headline} for item in changed
        ],
        "undelivered": len(undelivered),
    }


def _show(document: dict[str, Any]) -> None:
    for poll in document["polls"]:
        news = f"new: {', '.join(poll['new'])}" if poll["new"] else "nothing new"
        output.out.print(output.harmless(f"{poll['project']} ({poll['channel']}): {poll['error'] or news}"))
    for run in document["runs"]:
        text = f"{run['project']} {run['version']} on {run['check']}: {run['verdict'] or run['state']}. "
        output.out.print(output.harmless(text + run["headline"]), soft_wrap=True)
    for run in document["waiting"]:
        why = run["why"] or "its turn has not come"
        output.out.print(output.harmless(f"{run['project']} {run['version']} waits: {why}"), soft_wrap=True)
    for incident in document["incidents"]:
        text = f"Incident {incident['incident']} is {incident['state']}: {incident['headline']}"
        output.out.print(output.harmless(text), style="bold", soft_wrap=True)
    if document["undelivered"]:
        output.out.print(
            f"{document['undelivered']} messages are not delivered yet; the next round tries again"
        )
