from __future__ import annotations

import io
from pathlib import Path

import pytest

from monitor import sample_file
from monitor.bench.spool import Spool
from monitor.domain import Arm, Header, Role, Sample, SampleSet, Session
from monitor.errors import DiskFullError, SampleFileError

HEADER = Header(check="c", check_digest="d" * 64, project="xllamacpp", version="1.0")


def session(number: int) -> Session:
    return Session(session=number, arm=Arm.MTP, block=1, order=0, role=Role.CONFIRM, startup_s=0.5)


def sample(number: int, prompt: str) -> Sample:
    return Sample(number, Arm.MTP, "code", prompt, 0, 8, 1, 0.1, 0.2, accepted=4, token_ids=(1, 2, 3))


def measured(spool: Spool, number: int) -> SampleSet:
    with spool.begin(HEADER, number) as writer:
        for prompt in ("p0", "p1"):
            writer.sample(sample(number, prompt))
        return writer.complete(session(number))


def test_complete_sessions_come_back_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    written = [measured(spool, number) for number in (10, 9)]
    assert spool.complete() == list(reversed(written))
    assert written[0] == SampleSet(HEADER, (session(10),), (sample(10, "p0"), sample(10, "p1")))
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["10.jsonl", "9.jsonl"]


def test_a_cut_session_keeps_its_samples_on_disk_and_never_counts_as_complete(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    measured(spool, 0)
    writer = spool.begin(HEADER, 1)
    writer.sample(sample(1, "p0"))
    # Read behind the writer's back: as after a kill, nothing may still sit in its buffer.
    part = (tmp_path / "1.jsonl.part").read_text().splitlines()
    assert part == [sample_file.to_line(HEADER), sample_file.to_line(sample(1, "p0"))]
    assert [found.sessions[0].session for found in spool.complete()] == [0]
    (tmp_path / ".2.jsonl.77.part").write_text("half of a")
    assert spool.discard_cut() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["0.jsonl"]
    writer.abandon()


def test_a_session_that_fails_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(ZeroDivisionError), spool.begin(HEADER, 0) as writer:
        writer.sample(sample(0, str(1 / 0)))
    assert list(tmp_path.iterdir()) == []


def test_a_complete_session_is_never_written_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    kept = measured(spool, 3)
    with pytest.raises(SampleFileError, match="Session 3 is already complete"):
        spool.begin(HEADER, 3)
    assert spool.complete() == [kept]


def test_a_session_file_that_was_changed_is_an_error_that_names_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    measured(spool, 0)
    file = tmp_path / "0.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SampleFileError, match=r"0\.jsonl, line 4"):
        spool.complete()


def test_a_full_disk_is_said_and_leaves_the_complete_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    kept = measured(spool, 0)
    writer = spool.begin(HEADER, 1)
    # The device whose every write fails as on a full disk; unbuffered, so that closing it writes nothing.
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        io.TextIOWrapper(full, write_through=True) as file,
    ):
        monkeypatch.setattr(writer, "_file", file)
        with pytest.raises(DiskFullError, match="No room left"):
            writer.sample(sample(1, "p0"))
    monkeypatch.undo()
    writer.abandon()
    assert spool.complete() == [kept]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SampleFileError, match="cannot be written"):
        Spool(tmp_path / "file" / "spool").begin(HEADER, 0)


def test_an_empty_or_removed_spool_holds_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert (spool.complete(), spool.discard_cut()) == ([], 0)
    measured(spool, 0)
    spool.remove()
    spool.remove()
    assert not (tmp_path / "spool").exists()
