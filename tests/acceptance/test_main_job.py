"""The real command on real releases: discovered, installed apart, measured, judged, exported, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import CHECK, House, engines_of

BUILDS = ("2026.5.9294", "2026.8.10229", "2026.10.11549")
"""Three builds, five months apart."""


@pytest.fixture(scope="session")
def runs(house: House) -> dict[str, Any]:
    """Run the check on each of the builds, each against the first."""
    first = house.json("run", CHECK, "--release", f"xllamacpp=={BUILDS[0]}", code=None)
    found = {BUILDS[0]: first}
    for version in BUILDS[1:]:
        found[version] = house.json(
            "run", CHECK, "--release", f"xllamacpp=={version}", "--against", BUILDS[0], code=None
        )
    return found


def overall(judgement: Any, metric: str) -> Any:
    return next(row for row in judgement["metrics"] if row["metric"] == metric and row["workload"] == "all")


def samples(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewritten(source: Path, target: Path, arm: str, change: Any) -> Path:
    """Write a copy of a sample file with the samples of one arm changed."""
    lines = []
    for line in samples(source):
        if line["kind"] == "sample" and line["arm"] == arm:
            change(line)
        lines.append(json.dumps(line))
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def test_the_real_index_tells_what_can_be_measured_and_why_the_rest_is_skipped(house: House) -> None:
    found = {item["version"]: item for item in house.json("releases")["releases"]}

    assert set(BUILDS) <= found.keys()
    assert all(found[version]["state"] == "aged" for version in BUILDS)
    assert all(len(item["sha256"]) == 64 for version in BUILDS for item in found[version]["artifacts"])
    assert found["2026.5.9093"]["state"] == "skipped"
    assert "MTP" in found["2026.5.9093"]["detail"]


def test_builds_months_apart_count_the_same_and_acceptance_is_called_unchanged(
    house: House, runs: dict[str, Any], tmp_path: Path
) -> None:
    counted = []
    for version, ended in runs.items():
        folder = tmp_path / version
        house.run("export", str(ended["run"]), "-o", str(folder))
        lines = samples(folder / "candidate.jsonl")
        counted.append(
            {
                (line["prompt"], line["n"], line["drafted"], line["accepted"], tuple(line["token_ids"]))
                for line in lines
                if line["kind"] == "sample" and line["arm"] == "mtp"
            }
        )
        baseline = {
            (line["prompt"], tuple(line["token_ids"]))
            for line in lines
            if line["kind"] == "sample" and line["arm"] == "baseline"
        }
        assert baseline == {(prompt, tokens) for prompt, *_, tokens in counted[-1]}
    assert counted[0] == counted[1] == counted[2]
    assert all(drafted > accepted > 0 for _, _, drafted, accepted, _ in counted[0])

    for version in BUILDS[1:]:
        row = overall(runs[version]["judgement"], "acceptance_length")
        assert (row["channel"], row["change_percent"], row["verdict"]) == ("exact", 0, "unchanged")


def test_quiet_releases_raise_no_alarm(runs: dict[str, Any]) -> None:
    for ended in runs.values():
        assert ended["state"] == "done"
        assert ended["judgement"]["confirmed"] is not True
        assert ended["judgement"]["lossless"]["verdict"] == "unchanged"


def test_judging_the_export_gives_the_stored_verdict(
    house: House, runs: dict[str, Any], tmp_path: Path
) -> None:
    for version in BUILDS[1:]:
        folder = tmp_path / version
        stored = runs[version]["judgement"]
        files = house.json("export", str(runs[version]["run"]), "-o", str(folder))["files"]
        names = {Path(name).stem for name in files}
        confirm: list[str] = []
        if "confirm-reference" in names:
            confirm = [
                "--confirm",
                str(folder / "confirm-reference.jsonl"),
                str(folder / "confirm-candidate.jsonl"),
            ]

        again = house.json(
            "judge", str(folder / "reference.jsonl"), str(folder / "candidate.jsonl"), *confirm, code=None
        )

        assert again == stored


def test_a_copy_with_a_faster_baseline_is_no_regression(
    house: House, runs: dict[str, Any], tmp_path: Path
) -> None:
    house.run("export", str(runs[BUILDS[1]]["run"]), "-o", str(tmp_path))
    original = tmp_path / "candidate.jsonl"

    def faster(line: Any) -> None:
        line["decode_s"] /= 1.05

    copy = rewritten(original, tmp_path / "faster.jsonl", "baseline", faster)
    found = house.json("judge", str(original), str(copy))

    assert found["signature"] == "baseline faster"
    assert all(row["verdict"] != "regressed" for row in found["metrics"])
    parts = found["attribution"]
    assert sum(part["change_log"] for part in parts.values()) == pytest.approx(
        overall(found, "speedup")["change_log"]
    )


def test_a_copy_without_counts_is_speculation_off(house: House, runs: dict[str, Any], tmp_path: Path) -> None:
    house.run("export", str(runs[BUILDS[1]]["run"]), "-o", str(tmp_path))
    original = tmp_path / "candidate.jsonl"

    def uncounted(line: Any) -> None:
        for name in ("drafted", "accepted", "steps", "accepted_per_position"):
            line[name] = None

    copy = rewritten(original, tmp_path / "off.jsonl", "mtp", uncounted)
    found = house.json("judge", str(original), str(copy), code=3)

    assert (found["verdict"], found["signature"]) == ("regressed", "speculation off")


def test_asking_again_returns_the_stored_result_and_measures_nothing(
    house: House, runs: dict[str, Any]
) -> None:
    again = house.json(
        "run", CHECK, "--release", f"xllamacpp=={BUILDS[1]}", "--against", BUILDS[0], code=None
    )

    assert again["reused"] is True
    assert again["judgement"] == runs[BUILDS[1]]["judgement"]
    assert again["attempts"] == runs[BUILDS[1]]["attempts"]


def test_the_report_names_both_releases_with_their_hashes(
    house: House, runs: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "report.html"
    house.run("report", str(runs[BUILDS[1]]["run"]), "-o", str(target))

    text = target.read_text(encoding="utf-8")
    for version in BUILDS[:2]:
        assert version in text
        assert runs[version]["artifact_sha256"] in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_no_engine_outlives_its_run(house: House, runs: dict[str, Any]) -> None:
    assert runs
    assert engines_of(house) == []
    assert list((house.state / "scratch").iterdir()) == []
    assert not list((house.state / "spool").rglob("*.jsonl*"))
