"""What holds a run up although it is its turn: the owner's hours and budgets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from monitor.settings_tables import HostSettings


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a run is not begun now."""

    why: str
    until: datetime | None
    """When to look again; None when waiting does not help."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Minutes of measuring that a run is expected to take, and what was used already."""

    estimate: float
    last_day: float
    on_release: float


def hold(host: HostSettings, usage: Usage, *, now: datetime) -> Hold | None:
    """Return what holds a run up, None when it may begin.

    `now` is aware; the window is in its time zone, which the caller sets to the machine's. The estimate has
    to fit into what is left of a budget, except of an untouched one: a check that is larger than the budget
    would never be measured, and the owner would never learn why.
    """
    if host.window_times is not None and not _inside(now, *host.window_times):
        opens = _next(now, host.window_times[0])
        return Hold(f"waits for the hours {host.window}", opens)
    limit = host.gpu_minutes_per_release
    if limit is not None and usage.on_release > 0 and usage.on_release + usage.estimate > limit:
        return Hold(
            f"the release has used {usage.on_release:.0f} of {limit:g} minutes, and the check takes about "
            f"{usage.estimate:.0f}",
            None,
        )
    limit = host.gpu_minutes_per_day
    if limit is not None and usage.last_day > 0 and usage.last_day + usage.estimate > limit:
        return Hold(
            f"{usage.last_day:.0f} of {limit:g} minutes a day are used, and the check takes about "
            f"{usage.estimate:.0f}",
            now + timedelta(minutes=30),
        )
    return None


def _inside(now: datetime, begin: time, end: time) -> bool:
    moment = now.timetz().replace(tzinfo=None)
    return begin <= moment < end if begin < end else moment >= begin or moment < end


def _next(now: datetime, begin: time) -> datetime:
    """Return the next moment at which the local clock shows `begin`."""
    today = now.replace(hour=begin.hour, minute=begin.minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)
