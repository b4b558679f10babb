from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import keeper, proc
from monitor.domain import Role, Sample
from monitor.errors import (
    EngineCrashError,
    EngineHangError,
    EngineReplyError,
    EngineStartError,
    EngineStartTimeoutError,
    HostError,
)
from standins.engine import measure, tagged_by, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nothing_outlives_a_session(tmp_path: Path) -> Iterator[None]:
    yield
    assert tagged_by(os.getpid()) == []
    scratch = tmp_path / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_a_session_holds_each_prompt_once_a_repeat_without_the_warm_up(tmp_path: Path) -> None:
    told: list[Sample] = []
    session, samples = measure(tmp_path, "none", repeats=2, on_sample=told.append)
    assert [(s.prompt, s.repeat) for s in samples] == [("p0", 0), ("p1", 0), ("p0", 1), ("p1", 1)]
    assert told == list(samples)
    assert (session.session, session.block, session.order, session.role) == (4, 2, 1, Role.CONFIRM)
    for sample in samples:
        assert (sample.n, sample.n_first, sample.drafted, sample.accepted, sample.steps) == (8, 1, 9, 4, 3)
        assert sample.accepted_per_position == (3, 1)
        assert (sample.stop, sample.prompt_tokens, sample.token_ids) == ("length", 5, tuple(range(10, 18)))
        assert sample.server_decode_tps == pytest.approx(1000.0)
        assert sample.ttft_s is not None
        assert sample.ttft_s > 0
    assert session.effective is not None
    assert session.effective["n_ctx"] == 64
    # Four answers: the warm-up is not among them.
    assert session.effective["counter.drafts"] == 12
    assert session.effective["counter.accepted.0"] == 12


def test_streams_at_the_same_time_have_counts_of_their_own_but_no_counters_of_the_server(
    tmp_path: Path,
) -> None:
    session, samples = measure(tmp_path, "none", concurrency=2)
    assert [(s.prompt, s.accepted, s.accepted_per_position) for s in samples] == [
        ("p0", 4, None),
        ("p1", 4, None),
    ]
    assert session.effective is not None
    assert session.effective["counter.accepted"] == 8


def test_an_engine_that_does_not_draft_is_measured_and_shows_it(tmp_path: Path) -> None:
    _, samples = measure(tmp_path, "does-not-draft")
    assert [(s.drafted, s.accepted, s.steps) for s in samples] == [(0, 0, 7), (0, 0, 7)]


def test_an_answer_that_was_read_late_is_asked_again_and_counted_once(tmp_path: Path) -> None:
    session, samples = measure(tmp_path, "other-clock")
    assert [(s.prompt, s.accepted, s.accepted_per_position) for s in samples] == [
        ("p0", 4, (3, 1)),
        ("p1", 4, (3, 1)),
    ]
    assert session.effective is not None
    assert session.effective["counter.asked_again"] == 4
    assert session.effective["counter.accepted"] == 8


def test_an_engine_that_dies_at_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError) as caught:
        measure(tmp_path, "dies-at-start")
    assert "exit status 7" in caught.value.what
    assert "no such tensor: blk.4" in caught.value.what
    assert caught.value.log_tail.splitlines()[0] == "standin started"
    assert "\x1b" not in str(caught.value) + caught.value.log_tail
    assert "\x00" not in str(caught.value) + caught.value.log_tail


def test_an_engine_that_is_never_ready_is_given_up_at_its_deadline(tmp_path: Path) -> None:
    with pytest.raises(EngineStartTimeoutError, match=r"within 1\.5 s"):
        measure(tmp_path, "never-ready", start_timeout_s=1.5)


def test_a_request_that_hangs_is_given_up_at_its_deadline_and_named(tmp_path: Path) -> None:
    with pytest.raises(EngineHangError, match="prompt 'p0' of 'code'"):
        measure(tmp_path, "hangs", request_timeout_s=1.5)


def test_an_engine_that_crashes_inside_an_answer_is_a_crash_with_its_signal(tmp_path: Path) -> None:
    with pytest.raises(EngineCrashError, match="SIGSEGV") as caught:
        measure(tmp_path, "crashes")
    assert not caught.value.permanent
    assert "standin started" in caught.value.log_tail


def test_an_engine_that_is_killed_while_it_works_leaves_the_samples_before(tmp_path: Path) -> None:
    told: list[Sample] = []

    def kill_the_server(sample: Sample) -> None:
        told.append(sample)
        servers = [pid for pid in tagged_by(os.getpid()) if b"engine_server" in _command(pid)]
        keeper.send(servers, signal.SIGKILL)

    with pytest.raises(EngineCrashError, match="SIGKILL"):
        measure(tmp_path, "none", on_sample=kill_the_server)
    assert [sample.prompt for sample in told] == ["p0"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("garbage", "neither an event stream nor a JSON object"),
        ("status-500", "status 500"),
        ("error-with-200", "no memory"),
        ("no-last-event", "no last event"),
        ("too-few-tokens", "5 of 8 tokens"),
        ("not-a-number", "NaN"),
        ("negative-count", "`draft_n_accepted` should be a count, but is -4"),
        ("accepts-more-than-it-drafts", "4 draft tokens accepted of 3"),
        ("counters-reset", "went down"),
    ],
)
def test_an_unsound_answer_is_refused_and_says_what_is_wrong_with_it(
    tmp_path: Path, fault: str, reason: str
) -> None:
    with pytest.raises(EngineReplyError) as caught:
        measure(tmp_path, fault)
    assert reason in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_flood_of_log_lines_stays_bounded_and_keeps_both_ends(tmp_path: Path) -> None:
    measure(tmp_path, "floods")
    log = tmp_path / "logs" / "engine.log"
    content = log.read_bytes()
    assert len(content) < proc.LOG_HEAD_BYTES + 2 * proc.LOG_TAIL_BYTES + 200
    assert content.startswith(b"standin started")
    assert b"bytes of the log were left out here" in content
    assert "the very end" in proc.tail(log, max_bytes=proc.LOG_TAIL_BYTES)


@pytest.mark.parametrize("fault", ["ignores-term", "leaves-grandchildren"])
def test_processes_that_will_not_leave_are_made_to(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.bench.server.STOP_GRACE_S", 0.2)
    seen: set[int] = set()

    def look(_: Sample) -> None:
        for pid in tagged_by(os.getpid()):
            seen.update([pid, *keeper.descendants(pid)])

    measure(tmp_path, fault, on_sample=look)
    assert len(seen) == (3 if fault == "leaves-grandchildren" else 2)
    assert not any((row := keeper.process_of(pid)) is not None and row.alive for pid in seen)


MONITOR = """
    import sys
    from pathlib import Path
    from tests.standins.engine import measure
    measure(Path(sys.argv[1]), sys.argv[2])
"""


def _monitor(folder: Path, fault: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(MONITOR), str(folder), fault]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, start_new_session=True
    )


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _in_the_middle_of_a_request(log: Path) -> bool:
    return log.exists() and b"request" in log.read_bytes()


def test_when_the_monitor_is_killed_inside_a_request_its_engine_goes_too(tmp_path: Path) -> None:
    with _monitor(tmp_path, "hangs") as monitor:
        until(lambda: _in_the_middle_of_a_request(tmp_path / "logs" / "engine.log"))
        started = tagged_by(monitor.pid)
        assert len(started) == 2
        monitor.kill()
        monitor.wait()
        until(lambda: tagged_by(monitor.pid) == [])
    for folder in (tmp_path / "scratch").iterdir():  # what a killed monitor cannot remove
        assert folder.name.startswith("session-")
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        folder.rmdir()


def test_ctrl_c_inside_a_request_ends_the_engine_before_the_monitor(tmp_path: Path) -> None:
    with _monitor(tmp_path, "hangs") as monitor:
        until(lambda: _in_the_middle_of_a_request(tmp_path / "logs" / "engine.log"))
        monitor.send_signal(signal.SIGINT)
        assert monitor.stderr is not None
        trace = monitor.stderr.read()
        monitor.wait()
    assert b"KeyboardInterrupt" in trace
    assert tagged_by(monitor.pid) == []


def test_a_scratch_folder_that_cannot_be_made_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be prepared"):
        measure(tmp_path / "file", "none")
