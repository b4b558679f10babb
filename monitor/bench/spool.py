"""Samples on disk before they are in the database: what was measured survives the monitor.

A session that is under way is a file `<number>.jsonl.part` that grows by a line a sample. Only a complete
session becomes `<number>.jsonl`, which is a sample file (`docs/samples.md`) of one session; it appears under
that name in one step. So whatever carries the name is whole, and everything else can be thrown away.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor import disk, sample_file
from monitor.domain import Header, Sample, SampleSet, Session
from monitor.errors import DiskFullError, SampleFileError

_WHOLE, _CUT = ".jsonl", ".part"


class SpoolWriter:
    """The session that is under way. Leaving its `with` block without `complete` abandons it."""

    def __init__(self, target: Path, header: Header) -> None:
        self._target = target
        self._part = target.with_name(target.name + _CUT)
        self._header = header
        self._samples: list[Sample] = []
        try:
            self._file = self._part.open("w", encoding="utf-8", newline="\n")
            self._line(header)
        except OSError as error:
            raise _cannot(self._part, error) from error

    def sample(self, sample: Sample) -> None:
        """Write one sample through to the operating system, so that it outlives this process.

        Raises:
            SampleFileError: when the sample cannot be written as JSON, or the file not at all.
            DiskFullError: when there is no room.

        """
        try:
            self._line(sample)
        except OSError as error:
            raise _cannot(self._part, error) from error
        self._samples.append(sample)

    def complete(self, session: Session) -> SampleSet:
        """Turn what was written into the sample file of a complete session, and return its content.

        Raises:
            SampleFileError: when a value cannot be written, or the file not at all.
            DiskFullError: when there is no room; the session is lost then.

        """
        whole = SampleSet(self._header, (session,), tuple(self._samples))
        sample_file.write(self._target, whole)
        _sync_folder(self._target.parent)
        self.abandon()
        return whole

    def abandon(self) -> None:
        """Remove what is cut. A session that is complete already stays."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _line(self, value: Header | Sample) -> None:
        self._file.write(sample_file.to_line(value) + "\n")
        self._file.flush()


class Spool:
    """The sessions of one run that are not in the database yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, header: Header, number: int) -> SpoolWriter:
        """Return the writer for session `number`.

        Raises:
            SampleFileError: when that session is complete already, or the folder cannot be written to.
            DiskFullError: when there is no room.

        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(self._folder, error) from error
        target = self._folder / f"{number}{_WHOLE}"
        if target.exists():
            raise SampleFileError(
                f"Session {number} is already complete in {self._folder}.",
                kept="its samples",
                advice="save and remove the spool before measuring again",
            )
        return SpoolWriter(target, header)

    def complete(self) -> list[SampleSet]:
        """Return the complete sessions in ascending order of their numbers.

        Raises:
            SampleFileError: when one of them was changed since it was written.

        """
        files = [path for path in self._folder.glob(f"*{_WHOLE}") if path.stem.isdigit()]
        return [sample_file.read(path) for path in sorted(files, key=lambda path: int(path.stem))]

    def discard_cut(self) -> int:
        """Remove what is left of sessions that were cut, and return how many files that were."""
        cut = list(self._folder.glob(f"*{_CUT}"))
        for path in cut:
            path.unlink(missing_ok=True)
        return len(cut)

    def remove(self) -> None:
        """Remove everything, once it is in the database."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    # A file's own fsync does not save its name.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot(path: Path, error: OSError) -> SampleFileError | DiskFullError:
    if disk.says_full(error):
        return DiskFullError(
            f"No room left on the disk for the samples in {path.parent}.",
            kept="the complete sessions",
            advice="free some space; the session that was cut is measured again",
        )
    return SampleFileError(
        f"The samples in {path.parent} cannot be written: {error.strerror or error}.",
        kept="the complete sessions",
        advice="see whether the state folder may be written to",
    )
