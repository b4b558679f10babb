"""Who measures what a command wants: this process, or the daemon beside it, which is followed to the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from monitor.cli import output

if TYPE_CHECKING:
    from monitor.pipeline import RunOutcome, RunRequest, Station

LOOK_AGAIN_S = 0.5
_Result = TypeVar("_Result")


def measured(station: Station, request: RunRequest) -> RunOutcome:
    """Measure a run here and deliver what is to be told; beside a daemon put it in its queue and wait.

    Ending the command leaves the run in the queue.

    Raises:
        UnknownNameError, HostError, SourceError, ModelError, DiskFullError: as `pipeline.run`; HostError also
            when the daemon ends before the run does.

    """
    from monitor import orders, pipeline  # noqa: PLC0415

    def here() -> RunOutcome:
        outcome = pipeline.run(station, request)
        pipeline.tell(station)
        return outcome

    def there(daemon: str) -> RunOutcome:
        run = orders.enqueue(station, request)
        wait_for(station, run.id, daemon)
        outcome = orders.outcome(station, run.id)
        if outcome is None:
            raise AssertionError(f"run {run.id} had ended")
        return outcome

    return by_whom(station, here, there)


def by_whom(station: Station, here: Callable[[], _Result], there: Callable[[str], _Result]) -> _Result:
    """Do something here, or `there` with the daemon that is told of; also one that came in between.

    Raises:
        StateBusyError: when a process measures that is no daemon.

    """
    from monitor.errors import StateBusyError  # noqa: PLC0415

    if (daemon := station.daemon()) is not None:
        return there(daemon)
    try:
        return here()
    except StateBusyError:
        # It was started after we had looked, and was quicker.
        if (daemon := station.daemon()) is None:
            raise
        return there(daemon)


def wait_for(station: Station, run_id: int, daemon: str) -> None:
    """Wait for the end of a run in the daemon's queue, saying on stderr where it stands.

    Raises:
        HostError: when the daemon ends before the run does.

    """
    import time  # noqa: PLC0415

    from monitor import orders  # noqa: PLC0415

    said = ""
    while orders.outcome(station, run_id) is None:
        now = orders.standing(station, run_id)
        if now != said:
            output.tell(now)
            said = now
        still_there(station, daemon, f"run {run_id} in the queue")
        time.sleep(LOOK_AGAIN_S)


def still_there(station: Station, daemon: str, kept: str) -> None:
    """See that the daemon which is followed has not ended.

    Raises:
        HostError: when it has.

    """
    from monitor.errors import HostError  # noqa: PLC0415

    if station.daemon() is None:
        raise HostError(
            f"The daemon, {daemon}, has ended.",
            kept=f"{kept}: it goes on when a daemon is started again",
            advice="start one with `mtp-monitor serve`, or give this command again",
        )
