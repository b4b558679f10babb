"""`mtp-monitor run`: one release through one check, to a confirmed verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.pipeline import RunOutcome
    from monitor.views.cost import Costs

SCHEMA = "mtp-monitor/run/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor run synthetic-qwen35-cpu --release xllamacpp==2026.10.11549",
        "mtp-monitor run CHECK --release xllamacpp==2026.10.11549 --against 2026.9.11063",
        "mtp-monitor run CHECK --release vllm==0.29.0@3fb1c2 --full --no-confirm",
    )
    app.command("run", rich_help_panel=output.MEASURE, epilog=examples)(run)


def run(
    ctx: typer.Context,
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="Id of the check; `mtp-monitor checks` lists them.")
    ],
    *,
    release: Annotated[str, typer.Option(metavar="PROJECT==VERSION[@SHA256]", help="What to measure.")],
    against: Annotated[
        str,
        typer.Option(metavar="VERSION|last-good", help="What to compare with; measured first if need be."),
    ] = "last-good",
    confirm: Annotated[
        bool,
        typer.Option("--confirm/--no-confirm", help="Measure old and new in turns before a loss is told."),
    ] = True,
    full: Annotated[bool, typer.Option("--full", help="All prompts, instead of the quick tier.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Measure anew although the result is there.")
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Measure a release on a check, judge it against an earlier one, and confirm a loss before telling.

    A run that was cut short goes on where it stopped. Exit code 3: regressed and confirmed; 4: inconclusive
    or invalid; 5: the release does not install, start or answer.
    """
    from monitor import pipeline  # noqa: PLC0415
    from monitor.cli.follow import measured  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415
    from monitor.domain import Tier  # noqa: PLC0415
    from monitor.steps.costs import costs_of, prices_of  # noqa: PLC0415

    request = pipeline.RunRequest(
        check=check,
        release=release,
        against=against,
        confirm=confirm,
        tier=Tier.FULL if full else Tier.QUICK,
        again=again,
    )
    with watching() as progress, pipeline.Station.open(output.settings(ctx), progress) as station:
        known = {row.release.project for row in pipeline.listing(station)}
        project = release.partition("==")[0]
        if project not in known and station.settings.source(project) is not None:
            pipeline.discover(station, project)
        outcome = measured(station, request)
        with station.store.read() as db:
            costs = costs_of(db, outcome.run, outcome.judgement, prices_of(station.settings.host))
    if as_json:
        output.emit(SCHEMA, document(outcome, costs))
    else:
        _show(outcome, costs)
    raise typer.Exit(code_of(outcome))


def code_of(outcome: RunOutcome) -> output.Code:
    """Return the exit code for an ended run."""
    from monitor.cli.judge import CODES  # noqa: PLC0415
    from monitor.domain import RunState  # noqa: PLC0415

    if outcome.judgement is None:
        return output.Code.UNDECIDED if outcome.run.state is RunState.SKIPPED else output.Code.UNUSABLE
    return CODES.get(outcome.judgement.verdict, output.Code.FINE)


def document(outcome: RunOutcome, costs: Costs | None = None) -> dict[str, Any]:
    """Return what `--json` says of an ended run, without its schema."""
    from dataclasses import asdict  # noqa: PLC0415

    from monitor.cli import judge  # noqa: PLC0415

    ended = outcome.run
    return {
        "run": ended.id,
        "check": ended.check_id,
        "check_digest": ended.check_digest,
        "project": ended.project,
        "version": ended.version,
        "artifact_sha256": ended.artifact_sha256,
        "tier": ended.tier,
        "state": ended.state,
        "reason": ended.reason,
        "attempts": ended.attempts,
        "reused": outcome.reused,
        "reference_run": ended.reference_run_id,
        "measured_on": outcome.measured_on,
        "cost_of_a_million_tokens": None if costs is None else asdict(costs),
        "judgement": None
        if outcome.judgement is None
        else {"schema": judge.SCHEMA, **judge.document(outcome.judgement)},
    }


def _show(outcome: RunOutcome, costs: Costs | None) -> None:
    from monitor.cli import judge  # noqa: PLC0415
    from monitor.planted.names import is_planted  # noqa: PLC0415

    ended = outcome.run
    if outcome.judgement is None:
        output.tell(f"{ended.project} {ended.version} {ended.state}: {ended.reason}", style="bold red")
    else:
        planted = is_planted(ended.version)
        judge.show(outcome.judgement, planted=planted, measured_on=outcome.measured_on, costs=costs)
    if outcome.reused:
        output.tell(f"This is the stored result of run {ended.id}; --again measures anew.")
    output.tell(f"Run {ended.id} is {ended.state}. A report: mtp-monitor report {ended.id} -o report.html")
