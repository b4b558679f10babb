"""The daemon: APScheduler wiring and signals, nothing else.

The main thread measures. APScheduler's threads look at the sources and deliver messages meanwhile, and wake
it when something is due. So a signal, which Python handles in the main thread, ends a measurement at once
and in order: its engine first.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType

import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler

from monitor import pipeline
from monitor.alerts.actions import IncidentActions
from monitor.alerts.deliver import check
from monitor.errors import HostError, MonitorError
from monitor.pipeline import Station
from monitor.store.queries import beats
from monitor.web.app import create_app

log = logging.getLogger("mtp-monitor")

_TICK_S = 5.0
"""The queue is looked at this often even when nobody woke the main thread: an hour may have come."""
_DELIVER_S = 3.0
_LOOK_S = 3.0
"""Which sources are due is looked up this often; how often each is asked is `schedule.poll_minutes`."""
_NOTE_S = 30.0
_MISFIRE_GRACE_S = 3600
_KILLED = 128


class Stop(KeyboardInterrupt):
    """Raised in the main thread by the first signal, wherever that is at the moment.

    As a kind of Ctrl-C, because an event loop lets only that one (and SystemExit) out of its callbacks.
    """


class Daemon:
    """The service on one state folder."""

    def __init__(self, station: Station, *, schedule: bool = True, pages: bool = False) -> None:
        self._station = station
        self._schedule = schedule
        self._pages = pages
        self._wake = threading.Event()
        self._stopping = False
        self._noted: dict[str, float] = {}

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; the second one ends the process at once.

        Raises:
            HostError: when this state has a daemon already, or the pages' port is taken.

        """
        with ExitStack() as duty:
            listening = duty.enter_context(_listening(self._station)) if self._pages else None
            address = _address(listening) if listening else ""
            if self._schedule:
                what = f"daemon with pages at {address}" if address else "daemon"
                duty.enter_context(self._station.on_duty(what))
            duty.enter_context(self._signals())
            try:
                if listening is not None:
                    duty.enter_context(_serving(self._station, listening))
                    log.info("pages at %s", address)
                if self._schedule:
                    self._prepare()
                    duty.enter_context(self._ticking())
                while not self._stopping:
                    if self._schedule:
                        self._work()
                    self._wake.wait(_TICK_S)
                    self._wake.clear()
            except Stop:
                log.info("stopping: what was measured is kept, the rest goes on at the next start")

    # -----------------------------------------------------------------------------------------
    # Rounds

    def _prepare(self) -> None:
        for destination in self._station.settings.destinations:
            try:
                check(destination, allow_private_hosts=self._station.settings.allow_private_hosts)
            except MonitorError as error:
                log.warning("destination %s: %s", destination.name, error)
        self._recover(logging.WARNING)

    def _recover(self, level: int) -> None:
        try:
            left = pipeline.recover(self._station)
        except HostError as error:
            log.log(level, "%s", error.what)
            return
        if left:
            log.warning("%d runs were left by a monitor that was killed; they go on", left)

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": _MISFIRE_GRACE_S},
        )
        now = datetime.now(UTC)
        soon = now + timedelta(seconds=1)
        scheduler.add_job(self._look, "interval", seconds=_LOOK_S, next_run_time=now, id="poll")
        scheduler.add_job(self._tell, "interval", seconds=_DELIVER_S, next_run_time=soon, id="deliver")
        scheduler.start()
        try:
            yield
        finally:
            scheduler.shutdown(wait=True)

    def _work(self) -> None:
        try:
            if pipeline.is_left(self._station):
                # The disk was too full to write its end, or whoever measured it beside us was killed. If
                # somebody else is at work on it right now, that is no news.
                self._recover(logging.DEBUG)
            is_due = pipeline.is_work_due(self._station)
        except MonitorError as error:  # the store itself: the next round tries again
            log.critical("work: %s", error)
            return
        if is_due:
            self._noted.pop("work", None)  # it may take hours, and whoever looks shall see since when
            self._round("work", lambda: pipeline.work(self._station))
        else:
            self._round("work", lambda: None)

    def _look(self) -> None:
        self._round("poll", lambda: pipeline.look(self._station, only_due=True))
        self._wake.set()

    def _tell(self) -> None:
        self._round("deliver", lambda: pipeline.tell(self._station))

    def _round(self, part: str, do: Callable[[], object]) -> None:
        """Do one round of a part of the service, and note that it was done: silence is no health.

        Quiet rounds are noted now and then only, so that an idle service leaves the disk alone.
        """
        station, noted = self._station, self._is_note_due(part)
        try:
            if noted:
                with station.store.write() as db:
                    beats.begin(db, part, pid=os.getpid(), now=station.clock())
            error = self._outcome(part, do)
            if noted or error:
                with station.store.write() as db:
                    beats.end(db, part, error=error, pid=os.getpid(), now=station.clock())
        except MonitorError as error:  # the store itself: nothing can be noted, the next round tries again
            log.critical("%s: %s", part, error)

    def _is_note_due(self, part: str) -> bool:
        now_s = time.monotonic()
        if now_s - self._noted.get(part, -math.inf) < _NOTE_S:
            return False
        self._noted[part] = now_s
        return True

    @staticmethod
    def _outcome(part: str, do: Callable[[], object]) -> str:
        try:
            do()
        except MonitorError as error:
            log.warning("%s: %s", part, error)
            return error.what
        except Exception as error:
            # One round of one part must not take the service down; it is counted and shown.
            log.exception("%s: a mistake of the monitor's", part)
            return f"{type(error).__name__}: {error}"
        return ""

    # -----------------------------------------------------------------------------------------
    # Signals

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            # The keepers of the engines see their sockets close, and end them.
            os._exit(_KILLED + number)
        self._stopping = True
        raise Stop


# ---------------------------------------------------------------------------------------------
# Pages


@contextmanager
def pages(station: Station) -> Iterator[str]:
    """Serve the pages of a station from a thread, and yield their address.

    Raises:
        HostError: when the port is taken.

    """
    with _listening(station) as listening, _serving(station, listening):
        yield _address(listening)


@contextmanager
def _listening(station: Station) -> Iterator[socket.socket]:
    web = station.settings.web
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((web.host, web.port))
            # Whoever reads the address in the log may ask at once, before the server's thread has begun.
            listening.listen()
        except OSError as error:
            raise HostError(
                f"The pages cannot be served at {web.host} port {web.port}: {error.strerror}.",
                advice="give another with `web.host` and `web.port`, or end what listens there",
            ) from error
        yield listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextmanager
def _serving(station: Station, listening: socket.socket) -> Iterator[None]:
    app = create_app(station, actions=IncidentActions(station))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="pages")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
