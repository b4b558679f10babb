"""`mtp-monitor sweep`: which draft length, and which options, are best on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.domain import Sweep
    from monitor.pipeline import Station
    from monitor.steps.sweep import Plan

SCHEMA = "mtp-monitor/sweep/1"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor sweep synthetic-qwen35-cpu",
        "mtp-monitor sweep CHECK --draft-lengths 2-4 --option p-min=0,0.4 --json",
    )
    app.command("sweep", rich_help_panel=output.MEASURE, epilog=examples)(sweep)


def sweep(
    ctx: typer.Context,
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="Id of the check; `mtp-monitor checks` lists them.")
    ],
    *,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT==VERSION",
            help="What to measure. Default: the release that `advice` names.",
            show_default=False,
        ),
    ] = None,
    draft_lengths: Annotated[str, typer.Option(metavar="LIST", help="Such as 1-6, or 2,4,8.")] = "1-6",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V1,V2",
            help="Vary an option of the engine as well, such as p-min=0,0.4; may be repeated.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew though the result is there.")] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Measure draft lengths in turns, and say which is best here and which are as good.

    One that was cut short goes on where it stopped. The owner's hours and budgets are kept to. Beside a
    daemon it stands in its queue, and this command waits for the end.
    Exit code 4: the best was not told apart from all others; 5: the release does not serve.
    """
    from monitor import orders  # noqa: PLC0415
    from monitor.checks import loader  # noqa: PLC0415
    from monitor.cli.follow import by_whom, wait_for  # noqa: PLC0415
    from monitor.cli.progress import watching  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps.sweep import planned  # noqa: PLC0415

    lengths, options = _lengths(draft_lengths), _options(option or [])
    with watching() as progress, Station.open(output.settings(ctx), progress) as station:
        plan = planned(loader.pick(check, station.checks), lengths, options)
        spec = release or _advised(station, check)
        _tell_estimate(plan, spec)

        def there(daemon: str) -> Sweep | None:
            run = orders.enqueue_sweep(station, plan, spec, again=again)
            wait_for(station, run.id, daemon)
            return orders.swept(station, run.id)

        found = by_whom(station, lambda: orders.sweep(station, plan, spec, again=again), there)
    if found is None:
        output.tell(f"{spec} does not install, or does not serve without MTP: `mtp-monitor report` says why.")
        raise typer.Exit(output.Code.UNUSABLE)
    if as_json:
        output.emit(SCHEMA, output.plain(found))
    else:
        _show(found)
    if found.chosen is None:
        raise typer.Exit(output.Code.UNUSABLE)
    if not found.decided:
        raise typer.Exit(output.Code.UNDECIDED)


def _lengths(text: str) -> list[int]:
    """Return the numbers of 1-6 or 2,4,8."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise typer.BadParameter(f"{text!r} is no list of draft lengths", param_hint="--draft-lengths")
        found += range(int(first), int(last if dash else first) + 1)
    if not found or min(found) < 1 or max(found) > 32:  # noqa: PLR2004  # no head drafts further
        raise typer.BadParameter("draft lengths go from 1 to 32", param_hint="--draft-lengths")
    return found


def _options(given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise typer.BadParameter(f"{text!r} is not NAME=V1,V2", param_hint="--option")
        found[name.strip()] = list(dict.fromkeys(value.strip() for value in values.split(",")))
    return found


def _advised(station: Station, check: str) -> str:
    from monitor.errors import UnknownNameError  # noqa: PLC0415
    from monitor.steps.advise import advise_all  # noqa: PLC0415

    with station.store.read() as db:
        found = next((one for one in advise_all(station, db, check) if one.to_run), None)
    if found is None or found.to_run is None:
        raise UnknownNameError(
            f"No release can be advised for {check} yet.", advice="name one with --release PROJECT==VERSION"
        )
    return f"{found.project}=={found.to_run.version}@{found.to_run.sha256}"


def _tell_estimate(plan: Plan, spec: str) -> None:
    from monitor.judge.policy import JudgingPolicy  # noqa: PLC0415

    policy = JudgingPolicy().with_overrides(plan.check.judging)
    least, most = (plan.minutes(blocks) for blocks in (policy.blocks_min, policy.blocks_max))
    names = ", ".join(cell.name for cell in plan.cells)
    output.tell(
        f"Sweep of {plan.check.id} on {spec.partition('@')[0]}: {names}, and the baseline once a block."
    )
    output.tell(
        f"About {output.minutes(least)} to {output.minutes(most)} minutes of measuring "
        f"({policy.blocks_min} to {policy.blocks_max} blocks), by the check's own estimate."
    )


def _show(found: Sweep) -> None:
    from rich.table import Table  # noqa: PLC0415

    from monitor.views import numbers  # noqa: PLC0415
    from monitor.views.sweeps import STANDINGS, change, summary  # noqa: PLC0415

    output.out.print(output.harmless(summary(found)), style="bold")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("cell", "standing", "speedup", "against the best", "accepted", "rate"):
        table.add_column(title, justify="left" if title in {"cell", "standing"} else "right", overflow="fold")
    for result in found.cells:
        label, mark, _ = STANDINGS[result.standing]
        interval = numbers.times_interval(result.speedup_low, result.speedup_high)
        table.add_row(
            result.cell.name,
            f"{mark} {label}",
            numbers.times(result.speedup) + (f"\n{interval}" if interval else ""),
            change(result).replace(" (", "\n(", 1) or "–",
            numbers.percent(result.acceptance_rate),
            numbers.rate(result.mtp_rate),
        )
    output.out.print(table)
    output.tell(
        f"{found.blocks} blocks; the baseline ({numbers.rate(found.baseline_rate)}) serves all cells. Rates "
        f"within {numbers.limit(found.floor)} count as alike."
    )
    for result in found.cells:
        if result.reason:
            output.tell(f"{result.cell.name} fails: {result.reason}")
