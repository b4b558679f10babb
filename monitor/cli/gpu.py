"""`mtp-monitor gpu`: what the GPU is and does, and that it may be measured on again."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.steps.gpu import GpuState

SCHEMA = "mtp-monitor/gpu/1"

_HELP = """Show the GPU as the driver tells of it, and release it from quarantine.

A GPU is in quarantine when it was lost, when its memory erred, or when memory did not come back after an
engine had ended. Checks that need it wait; nothing that was measured then is judged.
"""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    examples = output.examples(
        "mtp-monitor gpu show --json", "mtp-monitor gpu release --reason 'restarted, memory test passed'"
    )
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP, epilog=examples)
    group.command("show")(show)
    group.command("release")(release)
    app.add_typer(group, name="gpu", rich_help_panel=output.LOOK)


def show(ctx: typer.Context, *, as_json: output.JsonFlag = False) -> None:
    """Show what it is, what it does now, and whether it may be measured on."""
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps import gpu  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        state = gpu.state(station)
    if as_json:
        output.emit(SCHEMA, {"gpu": state})
    elif state is None:
        output.tell("No NVIDIA GPU: the driver shows none. Checks for the CPU are runnable.")
    else:
        _print(state)


def release(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="What was done; it is kept.")],
    who: Annotated[
        str | None,
        typer.Option(
            "--who", metavar="NAME", help="Who says so. Default: your user name.", show_default=False
        ),
    ] = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Say that the GPU is fit as it is: the runs that wait for it go on.

    Ends a quarantine, and forgets how little memory was in use at the least: what is in use when the next run
    looks is taken for what the GPU needs by itself.
    """
    from monitor.pipeline import Station  # noqa: PLC0415
    from monitor.steps import gpu  # noqa: PLC0415

    with Station.open(output.settings(ctx)) as station:
        ended = gpu.release(station, who=who or _user(), why=reason)
        state = gpu.state(station)
    if as_json:
        output.emit(SCHEMA, {"gpu": state, "ended": ended})
    else:
        told = (
            f"Released; it was in quarantine since {ended.began_at:%Y-%m-%d %H:%M} UTC: {ended.reason}"
            if ended is not None
            else "It was not in quarantine."
        )
        told += " The memory in use at the next look counts as its floor."
        output.out.print(output.harmless(told), soft_wrap=True)


def _print(state: GpuState) -> None:
    from monitor.gpu.reading import names  # noqa: PLC0415

    facts = state.facts
    output.out.print(output.harmless(str(facts["name"])), style="bold", soft_wrap=True)
    why = f"nothing is measured on it: {state.why_held}" if state.why_held else "may be measured on"
    rows = {
        "standing": why,
        "UUID": facts.get("uuid"),
        "PCI": facts.get("pci"),
        "driver": facts.get("driver"),
        "memory": output.gib(int(facts["memory_bytes"])),
        "bandwidth": _with(
            facts.get("bandwidth_bytes_per_s"),
            1e-9,
            f"GB/s at most (memory at {facts.get('max_memory_clock_mhz')} MHz)",
        ),
        "power limit": _with(facts.get("power_limit_w"), 1, "W"),
        "ECC": _switch(facts.get("ecc")),
        "MIG": _switch(facts.get("mig")),
        "persistence": _switch(facts.get("persistence")),
    }
    if state.now is not None:
        now = state.now
        rows |= {
            "temperature": _with(now.temperature_c, 1, "°C"),
            "power": _with(now.power_w, 1, "W"),
            "clocks": f"{now.sm_clock_mhz} MHz, memory {now.memory_clock_mhz} MHz",
            "in use": f"{output.gib(now.memory_used_bytes or 0)}, {now.utilisation_percent} % busy",
            "processes": names(now.processes) or "none",
            # Only told where there is a desktop: most machines have none.
            "drawing": names(now.graphics) or None,
        }
    for name, value in rows.items():
        if value is not None:
            output.out.print(output.harmless(f"  {name:<12} {value}"), soft_wrap=True)


def _with(value: float | None, factor: float, unit: str) -> str | None:
    return f"{value * factor:.0f} {unit}" if value is not None else None


def _switch(value: bool | None) -> str | None:  # noqa: FBT001
    return None if value is None else "on" if value else "off"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "command line"
