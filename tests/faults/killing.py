"""A house whose monitor is killed again and again, and what must hold of it afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import House, engines_of
from acceptance.service import SECRET, configuration
from monitor.domain import Action, Incident, IncidentState, MessageType, Role, RunState, Verdict
from monitor.planted.wheels import Fault, plant
from monitor.store import Store, Subject
from monitor.store.models import StoredDelivery
from monitor.store.queries import attempts, incidents, judgements, outbox, releases, runs, sessions
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED
from standins.index import IndexServer
from standins.receivers import WebhookReceiver

KILLED_AT = Path(__file__).with_name("killed_at.py")
PATIENCE_S = 300.0  # only ends a test that has failed
_CYCLE_S = 600.0
_OF_BAD_RUNS = (Action.OPENED, Action.SEEN_AGAIN, Action.WORSE)
_MOST_ROUNDS = 3


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {patience_s:.0f} s")
        time.sleep(0.05)
    return found


def begun_sessions(house: House) -> list[Path]:
    return list((house.state / "spool").rglob("*.jsonl.part"))


def complete_sessions(house: House) -> list[Path]:
    return list((house.state / "spool").rglob("*.jsonl"))


@contextmanager
def store_of(house: House) -> Iterator[Store]:
    with Store.open(f"sqlite:///{house.state / 'monitor.sqlite3'}") as store:
        yield store


@dataclass(frozen=True)
class Serving:
    """A running `mtp-monitor serve`."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self, text: str) -> bool:
        return text in self.log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@dataclass
class Yard:
    """A house on a local index, with a copy of its state to put back.

    The state comes back at the same path, because environments hold absolute ones.
    """

    house: House
    index: IndexServer
    wheel: Path
    folder: Path
    quiet: str = ""
    """The version that was measured already."""
    _listed: dict[str, str] = field(default_factory=dict)
    """Version → file on the index."""

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, wheel: Path, *, extra: str = "") -> Iterator[Yard]:
        with IndexServer() as index:
            destinations, variables = configuration("http://127.0.0.1:9/")
            house = House.build(folder / "house", index=index.url, extra=f"{destinations}\n{extra}")
            house.environment |= variables
            made = cls(house, index, wheel, folder)
            made.quiet = made.publish(Fault.QUIET)
            made.measured(made.quiet)
            shutil.copytree(house.state, folder / "template", symlinks=True)
            yield made

    def put_back(self) -> None:
        """Make the state what it was when only the quiet release had been measured, and the index too."""
        assert engines_of(self.house) == []
        shutil.rmtree(self.house.state, ignore_errors=True)
        shutil.copytree(self.folder / "template", self.house.state, symlinks=True)
        for version in self._listed.keys() - {self.quiet}:
            self.index.remove("xllamacpp", self._listed.pop(version))

    @contextmanager
    def told(self) -> Iterator[WebhookReceiver]:
        """Receive what the monitor tells."""
        with WebhookReceiver(SECRET) as webhook:
            self.house.environment |= configuration(webhook.url)[1]
            yield webhook

    def publish(self, fault: Fault, edition: int = 1) -> str:
        made = plant(self.wheel, fault, self.folder / "planted", edition=edition)
        self.index.add("xllamacpp", made.name, made.read_bytes())
        version = made.name.split("-")[1]
        self._listed[version] = made.name
        return version

    def measured(self, version: str) -> None:
        """Have a release measured that is on the index, and see that nothing is wrong with it."""
        document = self.house.json("watch", "--once")
        ended = {run["version"]: (run["state"], run["verdict"]) for run in document["runs"]}
        assert ended.get(version) == ("done", "unchanged"), document

    def kill_at(self, point: str, *arguments: str) -> None:
        """Run the command until it kills itself at `point`, and see that it came there."""
        command = [sys.executable, str(KILLED_AT), point, "--", *(arguments or ("watch", "--once"))]
        done = subprocess.run(
            command,
            cwd=self.house.folder,
            env=_without_ours() | self.house.environment,
            capture_output=True,
            text=True,
            timeout=_CYCLE_S,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, f"it never came to {point!r}\n{done.stdout}\n{done.stderr}"
        self.deserted()

    def kill_after(self, seconds: float, *arguments: str) -> bool:
        """Kill the command after a time, and return whether it was still at work."""
        monitor = self.house.start(*(arguments or ("watch", "--once")))
        try:
            monitor.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            monitor.send_signal(signal.SIGKILL)
            monitor.communicate()
        self.deserted()
        return monitor.returncode == -signal.SIGKILL

    @contextmanager
    def serving(self) -> Iterator[Serving]:
        """Run the service until the test has ended it; one that still runs is killed."""
        log = self.folder / f"serve-{time.monotonic_ns()}.log"
        with log.open("w") as lines:
            command = [sys.executable, "-m", "monitor", "serve"]
            process = subprocess.Popen(
                command,
                cwd=self.house.folder,
                env=_without_ours() | self.house.environment,
                stdout=subprocess.DEVNULL,
                stderr=lines,
            )
        try:
            yield Serving(process, log)
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def owner(self, before: str, after: str) -> Iterator[Callable[[], list[str]]]:
        """Let the machine have an owner with shell commands, whose `note WORD` is returned as words."""
        configuration_file = self.house.folder / "mtp-monitor.toml"
        usual = configuration_file.read_text()
        notes = self.folder / "notes"
        notes.write_text("")
        shell = f'note() {{ echo "$1" >> {shlex.quote(str(notes))}; }}; '
        commands = {"before": ["sh", "-c", shell + before], "after": ["sh", "-c", shell + after]}
        lines = [f"{name} = {json.dumps(command)}" for name, command in commands.items()]
        configuration_file.write_text("\n".join([usual, "[host]", *lines, ""]))
        try:
            yield lambda: notes.read_text().split()
        finally:
            configuration_file.write_text(usual)

    def run_of(self, version: str) -> Run | None:
        with store_of(self.house) as store, store.read() as db:
            return next((run for run in runs.recent(db, 500) if run.version == version), None)

    def deserted(self) -> None:
        """Wait until every process of a monitor that was killed has ended by itself."""
        wait_until(lambda: not engines_of(self.house), "the end of all processes of a killed monitor", 60)

    def until_done(self) -> None:
        """Repeat the cycle until nothing is left to do, a few times at most."""
        for _ in range(_MOST_ROUNDS):
            document = self.house.json("watch", "--once")
            if not document["waiting"] and not document["undelivered"]:
                return
            self._wait_for_turn()
        pytest.fail(f"something is left to do after {_MOST_ROUNDS} cycles: {document}")

    def _wait_for_turn(self) -> None:
        """Wait until what is put off, or claimed by a process that is gone, may be taken up again."""
        with store_of(self.house) as store, store.read() as db:
            turns = [run.due_at for run in runs.recent(db) if run.state not in ENDED]
            for delivery in outbox.deliveries(db):
                row = db.get_one(StoredDelivery, delivery.id)
                turns += [row.leased_until] if delivery.delivered_at is None else []
        latest = max((turn for turn in turns if turn is not None), default=datetime.now(UTC))
        time.sleep(max(0.0, (latest - datetime.now(UTC)) / timedelta(seconds=1)) + 0.1)

    # -----------------------------------------------------------------------------------------
    # What must hold

    def nothing_is_left(self) -> None:
        """See that no process, half environment, cut session or lock is left, and the database is whole."""
        state = self.house.state
        assert engines_of(self.house) == []
        half = [path for path in (state / "environments").iterdir() if path.name.startswith((".b", ".r"))]
        assert half == []
        assert list(state.rglob("*.part")) == []
        for place in ("spool", "scratch"):
            assert not (state / place).exists() or list((state / place).iterdir()) == []
        assert not (state / "borrowed.json").exists()
        for lock in [*state.glob("*.lock"), *(state / "environments").glob(".lock-*")]:
            with lock.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_whole(state / "monitor.sqlite3")

    def every_release_is_accounted_for(self, versions: list[str]) -> dict[str, Run]:
        """See that each version was planned and has exactly one run, which has ended; return the runs."""
        with store_of(self.house) as store, store.read() as db:
            known = {row.release.version: row for row in releases.all_of(db, "xllamacpp")}
            found = runs.recent(db, 500)
            tries = {run.id: attempts.all_of(db, run.id) for run in found}
        assert {version: row.state for version, row in known.items()} == dict.fromkeys(versions, "planned")
        assert Counter(run.version for run in found) == Counter(versions)
        for run in found:
            assert run.state in ENDED, run
            assert run.announced_at is not None, run
            assert len(tries[run.id]) == run.attempts
            assert all(attempt.ended_at for attempt in tries[run.id]), tries[run.id]
        return {run.version: run for run in found}

    def regressed_and_confirmed(self, run: Run) -> None:
        """See that the run is done on whole sessions, each once, and that its loss is confirmed."""
        with store_of(self.house) as store, store.read() as db:
            judgement = judgements.get(db, run.id)
            measured = [
                found
                for subject in Subject
                for role in Role
                if (found := sessions.load(db, run.id, subject, role)) is not None
            ]
        assert run.state is RunState.DONE
        assert judgement is not None
        assert (judgement.verdict, judgement.confirmed) == (Verdict.REGRESSED, True)
        assert [len(found.sessions) for found in measured] == [4, 4, 4]
        for found in measured:
            assert len({session.session for session in found.sessions}) == len(found.sessions)
            assert set(Counter(sample.session for sample in found.samples).values()) == {4}

    def opened_once_and_told(self, bad: list[Run], webhook: WebhookReceiver) -> list[Incident]:
        """See that each bad run moved one incident once, and each incident was posted under one id."""
        with store_of(self.house) as store, store.read() as db:
            found = sorted(incidents.in_state(db), key=lambda item: item.id)
            logs = {item.id: incidents.log(db, item.id) for item in found}
            written = [m for m in outbox.messages(db, 500) if m.type is MessageType.INCIDENT_OPENED]
        steps = [step for log in logs.values() for step in log if step.action in _OF_BAD_RUNS]
        assert Counter(step.run_ids[0] for step in steps) == Counter(run.id for run in bad)
        posted: dict[int, set[str]] = {}
        for post in webhook.posts:
            if post.json["type"] == "incident.opened":
                for item in post.json["data"]["incidents"]:
                    posted.setdefault(item["id"], set()).add(post.headers["webhook-id"])
        for item in found:
            assert [step.action for step in logs[item.id]].count(Action.OPENED) == 1
            assert len(posted.get(item.id, ())) == 1, (item, posted)
        assert {one for ids in posted.values() for one in ids} == {message.id for message in written}
        assert len(written) == len(found)
        return found

    def converged_on_the_loss(self, worse: str, webhook: WebhookReceiver) -> None:
        """See that all holds that must once the worse release has been measured and told of."""
        self.nothing_is_left()
        ended = self.every_release_is_accounted_for([self.quiet, worse])
        self.regressed_and_confirmed(ended[worse])
        (incident,) = self.opened_once_and_told([ended[worse]], webhook)
        assert incident.state is IncidentState.OPEN


def _without_ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MTP_MONITOR")}


def is_whole(database: Path) -> None:
    """See that SQLite finds nothing wrong with its file."""
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
