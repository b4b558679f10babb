"""What every way of dispatching offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from monitor.store.queries.runs import Run

Executor = Callable[[Run], None]
"""Carries a run out to an end of whatever kind; raises a MonitorError when it was interrupted."""


class Dispatcher(Protocol):
    """Takes runs from the queue and has them carried out."""

    def next(self) -> Run | None:
        """Return the run whose turn it is, None when none may be begun now; why not is noted on each."""

    def work(self, execute: Executor) -> int:
        """Carry out one run after another until none may be begun now, and return how many were."""
