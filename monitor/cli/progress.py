"""Live progress on stderr: a bar on a terminal, one line a session elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from monitor.cli import output


class Terminal:
    """Shows a spinner with the stage, and a bar for the sessions of the run at work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: TaskID | None = None
        self._sessions: TaskID | None = None
        self._text = ""
        self._done = 0

    def stage(self, text: str) -> None:
        """Show the part of the work that begins, in place of the one before."""
        self._clear()
        self._stage = self._progress.add_task(output.harmless(text), total=None)

    def session(self, text: str, done: int, total: int) -> None:
        """Show how many sessions are complete, of at most `total`."""
        if self._stage is not None:
            self._progress.remove_task(self._stage)
            self._stage = None
        self._text, self._done = text, done
        if self._sessions is None:
            self._sessions = self._progress.add_task(text, total=total)
        self._progress.update(self._sessions, description=self._line(""), completed=done, total=total)

    def prompt(self, done: int, total: int) -> None:
        """Move the bar within a session."""
        if self._sessions is not None:
            self._progress.update(
                self._sessions,
                description=self._line(f", prompt {done}/{total}"),
                completed=self._done + done / total,
            )

    def _line(self, more: str) -> str:
        return output.harmless(f"{self._text} session {self._done + 1}{more}")

    def _clear(self) -> None:
        for task in (self._stage, self._sessions):
            if task is not None:
                self._progress.remove_task(task)
        self._stage = self._sessions = None


class Lines:
    """Writes one line for each stage and session, for logs and pipes."""

    def stage(self, text: str) -> None:
        """Write the stage."""
        output.tell(text)

    def session(self, text: str, done: int, total: int) -> None:
        """Write which session begins."""
        output.tell(f"{text}: session {done + 1} of at most {total}")

    def prompt(self, done: int, total: int) -> None:
        """Say nothing: a line for each prompt would be too many."""


@contextmanager
def watching() -> Iterator[Terminal | Lines]:
    """Yield a progress that suits stderr."""
    if not output.err.is_terminal:
        yield Lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.err, transient=True) as progress:
        yield Terminal(progress)
