from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from monitor import keeper, proc
from monitor.errors import EngineStartError
from tests.standins.engine import until

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
GRANDCHILD = f"""
import subprocess, time
print(subprocess.Popen({SLEEP!r}, start_new_session=True).pid, flush=True)
"""
WITH_GRANDCHILD = GRANDCHILD + "time.sleep(600)"


def alive(pid: int) -> bool:
    process = keeper.process_of(pid)
    return process is not None and process.alive


def start(folder: Path, argv: list[str], **sizes: int) -> proc.Supervised:
    environment = proc.engine_environment(folder, extra={"WANTED": "by the check"})
    return proc.Supervised(argv, environment=environment, folder=folder, log=folder / "log", **sizes)


def test_an_engine_sees_nothing_of_our_environment_but_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    monkeypatch.setenv("MTP_MONITOR_STORE__URL", "sqlite:///canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://canary.example")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    with start(tmp_path, [sys.executable, "-I", "-c", script]) as process:
        until(process.poll)
    seen = json.loads(proc.tail(tmp_path / "log"))
    assert "canary" not in str(seen)
    assert seen["CUDA_VISIBLE_DEVICES"] == "1"
    assert seen["WANTED"] == "by the check"
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert Path(seen["HOME"]).is_relative_to(tmp_path)
    assert Path(seen["TMPDIR"]).is_relative_to(tmp_path)
    assert seen[keeper.TAG].split(":")[1] == str(os.getpid())


def test_how_an_engine_ended_is_told_apart(tmp_path: Path) -> None:
    with start(tmp_path, [sys.executable, "-c", "raise SystemExit(3)"]) as process:
        assert str(until(process.poll)) == "exit status 3"
    with start(tmp_path, [sys.executable, "-c", "import os; os.abort()"]) as process:
        assert str(until(process.poll)) == "signal SIGABRT"
    with start(tmp_path, SLEEP) as process:
        assert process.poll() is None
        assert str(process.stop(30.0)) == "signal SIGTERM"
        assert process.stop(30.0) == process.poll()


def test_a_program_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match="no-such-program"):
        start(tmp_path, [str(tmp_path / "no-such-program")])


def test_what_the_first_process_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    with start(tmp_path, [sys.executable, "-c", GRANDCHILD]) as process:
        assert str(until(process.poll)) == "exit status 0"
        assert not alive(int(proc.tail(tmp_path / "log")))


def test_when_the_keeper_is_killed_its_engine_goes_too(tmp_path: Path) -> None:
    with start(tmp_path, [sys.executable, "-c", WITH_GRANDCHILD]) as process:
        grandchild = int(until(lambda: proc.tail(tmp_path / "log")))
        process._keeper.kill()
        ending = until(process.poll)
    assert (ending.code, ending.signal) == (None, None)
    assert not alive(process.pid)
    assert not alive(grandchild)


def test_strays_of_a_dead_monitor_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    # The monitor and its keeper are killed at once; only a grandchild with a session of its own survives.
    script = textwrap.dedent("""
        import subprocess, sys, time
        from pathlib import Path
        from tests.integration.test_proc import WITH_GRANDCHILD, start
        process = start(Path(sys.argv[1]), [sys.executable, "-c", WITH_GRANDCHILD])
        print(process._keeper.pid, flush=True)
        time.sleep(600)
    """)
    ours = start(tmp_path, SLEEP)
    (tmp_path / "dead").mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "dead")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ours, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as monitor:
        assert monitor.stdout is not None
        watcher = int(monitor.stdout.readline())
        grandchild = int(until(lambda: proc.tail(tmp_path / "dead" / "log")))
        os.kill(watcher, signal.SIGSTOP)
        monitor.kill()
        os.kill(watcher, signal.SIGKILL)
        monitor.wait()
        until(lambda: not alive(watcher))
        assert alive(grandchild)
        assert grandchild in proc.sweep_strays()
        assert not alive(grandchild)
        assert ours.poll() is None


def test_a_log_keeps_its_head_and_its_tail_and_says_what_is_missing(tmp_path: Path) -> None:
    script = "import os\nfor i in range(3000): os.write(1, b'%06d\\n' % i)"
    with start(tmp_path, [sys.executable, "-c", script], log_head_bytes=70, log_tail_bytes=700) as process:
        until(process.poll)
    text = (tmp_path / "log").read_text()
    lines = text.splitlines()
    assert len(text) <= 70 + 2 * 700 + 200
    assert lines[0] == "000000"
    assert lines[-1] == "002999"
    assert len([line for line in lines if "left out here" in line]) == 1


def test_the_end_of_a_log_is_harmless_in_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"lost\n" * 9 + b"\x1b[31mred\x1b[0m \x1b]0;title\x07\xff\x00\rover\xe2\x80\xae\nend\n")
    shown = proc.tail(log, lines=3)
    assert shown == "red \ufffd\ufffd\nover\ufffd\nend"
    assert proc.tail(tmp_path / "none") == ""
    assert proc.one_line("a\nb " + "c" * 500, limit=8) == "a b ccc…"
