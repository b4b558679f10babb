"""`mtp-monitor gate`: whether an upgrade is safe on this machine, for pipelines that deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.pipeline import RunRequest, Station
    from monitor.steps.gate import Gate, GateLine


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor gate vllm==0.29.1",
        "mtp-monitor gate vllm==0.29.1 --wait && deploy 0.29.1",
        "mtp-monitor gate xllamacpp==2026.10.11549 --check synthetic-qwen35-cpu --json",
    )
    app.command("gate", rich_help_panel=output.MEASURE, epilog=examples)(gate)


def gate(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="PROJECT==VERSION[@SHA256]", help="The upgrade.")],
    *,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK",
            help="Ask this check only; may be repeated. Default: all that are assigned to the project.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Measure what was not measured, or wait for the daemon to.")
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Say whether an upgrade is safe on this machine: the worst of its checks decides.

    Exit code 0: safe; 3: regressed; 4: undecided, or not measured; 5: it does not install, start or answer;
    2: the release or check is not known. Without --wait it answers from stored results at once; what was not
    measured is put in the daemon's queue, when there is a daemon.
    """
    from monitor.cli.progress import watching  # noqa: PLC0415
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps import gate as gates  # noqa: PLC0415

    with watching() as progress, Station.open(output.settings(ctx), progress) as station:
        _look_it_up(station, release)
        found = gates.gate(station, release, check or ())
        missing = [line for line in found.checks if line.to_measure]
        if missing and wait:
            _measure(station, release, missing)
            found = gates.gate(station, release, check or ())
        elif missing:
            _leave(station, release, missing)
    if as_json:
        document = output.plain(found)
        output.emit(document.pop("schema"), document)
    else:
        _show(found)
    raise typer.Exit(found.code)


def _look_it_up(station: Station, release: str) -> None:
    """Ask the sources of the project when they have not told of the release yet."""
    from monitor import pipeline  # noqa: PLC0415
    from monitor.steps.plan import split_spec  # noqa: PLC0415

    project, version, _ = split_spec(release)
    if all(row.release.version != version for row in pipeline.listing(station, project)):
        for poll in pipeline.discover(station, project):
            if poll.error is not None:
                output.tell(poll.error.what)


def _measure(station: Station, release: str, missing: list[GateLine]) -> None:
    """Have every check measured that has no result: by the daemon if there is one, else here and now.

    Raises:
        HostError: when the daemon ends before the runs do.

    """
    from monitor.cli.follow import measured  # noqa: PLC0415
    from monitor.domain import RunState  # noqa: PLC0415

    for line in missing:
        ended = measured(station, _request(release, line)).run
        if ended.state in (RunState.CANCELLED, RunState.SKIPPED):
            output.tell(f"Run {ended.id} of {line.check} is {ended.state}: {ended.reason}")


def _request(release: str, line: GateLine) -> RunRequest:
    from monitor.domain import RunState  # noqa: PLC0415
    from monitor.pipeline import RunRequest  # noqa: PLC0415

    # What the monitor failed at is an end all the same, and would be taken for the answer.
    again = line.state is RunState.FAILED
    return RunRequest(check=line.check, release=release, requested_by="gate", again=again)


def _leave(station: Station, release: str, missing: list[GateLine]) -> None:
    from monitor import orders  # noqa: PLC0415

    if station.daemon() is None:
        output.tell("Not all of it was measured; --wait measures it now.")
        return
    numbers = [orders.enqueue(station, _request(release, line)).id for line in missing]
    output.tell(f"Not all of it was measured; in the daemon's queue: run {', '.join(map(str, numbers))}.")


def _show(found: Gate) -> None:
    from monitor.steps.gate import Safety  # noqa: PLC0415

    shown: dict[Safety, tuple[str, str]] = {
        Safety.SAFE: ("✓ safe", "green"),
        Safety.UNDECIDED: ("? undecided", "yellow"),
        Safety.REGRESSED: ("▼ regressed", "red"),
        Safety.BROKEN: ("✕ broken", "red"),
    }
    text, style = shown[found.safety]
    head = f"{text}: {found.project} {found.version} on {found.host}"
    output.out.print(output.harmless(head), style=f"bold {style}", soft_wrap=True)
    for line in found.checks:
        word, colour = shown[line.safety]
        against = [f"against {line.against}"] if line.against else []
        run = [f"run {line.run}"] if line.run else []
        small = f" ({', '.join([*against, *run])})" if against or run else ""
        output.paragraph(f"{word}  {line.check}{small}", indent="  ", style=colour)
        output.paragraph(line.reason, indent="      ")
    for refusal in found.left_out:
        output.tell(f"Left out: {refusal}")
