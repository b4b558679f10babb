from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.domain import Artifact, Release, ReleaseState, SkipReason
from monitor.releases.assets import AssetPatterns
from monitor.releases.policy import Decision, coalesce, decide
from monitor.releases.projects import PROJECTS, build_number
from monitor.settings_tables import SourceSettings

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
LINUX = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")
ABI3 = "cp310-abi3-manylinux2014_x86_64"


def file(
    version: str,
    tags: str = ABI3,
    *,
    at: datetime | None = LONG_AGO,
    yanked: str | None = None,
    python: str | None = None,
    project: str = "engine",
) -> Artifact:
    name = f"{project}-{version}.tar.gz" if tags == "sdist" else f"{project}-{version}-{tags}.whl"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    url = f"https://files.example/{name}"
    return Artifact(project, version, name, sha256, url, 1, python, at, yanked)


def release(version: str, *files: Artifact) -> Release:
    moments = [item.uploaded_at for item in files if item.uploaded_at]
    return Release("engine", version, "stable", files, min(moments, default=None))


def one(found: Release, *, python: str = "3.11.7", first_mtp: str | None = None, **settings: Any) -> Decision:
    source = SourceSettings(project="engine", **settings)
    (decision,) = decide(
        [found], source, now=NOW, python_version=python, first_mtp_version=first_mtp, platforms=LINUX
    )
    return decision


def skipped(decision: Decision) -> SkipReason | None:
    assert decision.artifact is None
    assert decision.state is ReleaseState.SKIPPED
    assert decision.detail
    return decision.reason


# ---------------------------------------------------------------------------------------------
# Which file


@pytest.mark.parametrize(
    ("tags", "best"),
    [
        (("cp310-abi3-win_amd64", ABI3, "cp310-abi3-macosx_13_0_arm64"), ABI3),
        (("cp311-cp311-manylinux_2_28_x86_64", ABI3), "cp311-cp311-manylinux_2_28_x86_64"),
        (("cp312-cp312-manylinux_2_28_x86_64", "py3-none-any"), "py3-none-any"),
        (("cp314-cp314t-manylinux2014_x86_64", ABI3, "sdist"), ABI3),
        ((f"1-{ABI3}", f"10-{ABI3}", f"9-{ABI3}", ABI3), f"10-{ABI3}"),
    ],
)
def test_the_artifact_is_the_wheel_that_fits_this_machine_best(tags: tuple[str, ...], best: str) -> None:
    decision = one(release("1.0", *(file("1.0", item) for item in tags)))

    assert decision.state is ReleaseState.AGED
    assert decision.artifact == file("1.0", best)


def test_a_release_without_a_wheel_for_this_machine_says_what_is_missing() -> None:
    foreign = one(release("1.0", file("1.0", "cp310-abi3-win_amd64"), file("1.0", "sdist")))
    source_only = one(release("1.0", file("1.0", "sdist")))
    newer_python = one(release("1.0", file("1.0", python=">=3.12")), python="3.11.7")
    unwanted = one(release("1.0", file("1.0")), wanted=["*cuda*"])

    for decision in (foreign, source_only, newer_python, unwanted):
        assert skipped(decision) is SkipReason.NO_ARTIFACT
    assert "no wheel for this machine" in foreign.detail
    assert "source only" in source_only.detail
    assert ">=3.12" in newer_python.detail
    assert "3.11.7" in newer_python.detail
    assert "*cuda*" in unwanted.detail


def test_the_python_limit_is_held_against_the_full_version_and_nonsense_limits_nothing() -> None:
    assert one(release("1.0", file("1.0", python=">=3.11.4")), python="3.11.3").artifact is None
    assert one(release("1.0", file("1.0", python=">=3.11.4")), python="3.11.4").artifact
    assert one(release("1.0", file("1.0", python=">=3.8.*, banana"))).artifact


def test_a_release_without_any_file_is_incomplete() -> None:
    assert skipped(one(release("1.0"))) is SkipReason.INCOMPLETE


def test_a_pattern_chooses_among_files_that_all_install() -> None:
    cpu, cuda = file("1.0", f"1cpu-{ABI3}"), file("1.0", f"2cuda-{ABI3}")

    assert one(release("1.0", cpu, cuda), wanted=["*-1cpu-*"]).artifact == cpu


# ---------------------------------------------------------------------------------------------
# Yanked


def test_a_yank_skips_a_release_only_when_nothing_that_installs_here_is_left() -> None:
    best = file("1.0", "cp311-cp311-manylinux_2_28_x86_64", yanked="broken")
    other = file("1.0")
    windows = file("1.0", "cp310-abi3-win_amd64")

    assert one(release("1.0", best, other)).artifact == other
    decision = one(release("1.0", best, windows))
    assert skipped(decision) is SkipReason.YANKED
    assert decision.detail == "broken"
    assert one(release("1.0", file("1.0", yanked=""))).reason is SkipReason.YANKED


# ---------------------------------------------------------------------------------------------
# Versions


@pytest.mark.parametrize(
    ("version", "settings", "reason"),
    [
        ("2004d", {}, SkipReason.ODD_VERSION),
        ("1.0rc1", {}, SkipReason.ODD_VERSION),
        ("1.0.dev3", {}, SkipReason.ODD_VERSION),
        ("1.0rc1", {"include_prereleases": True}, None),
        ("1.0.dev3+g1234", {"channel": "nightly"}, None),
        ("0.8.5.post1", {}, None),
        ("0.10.1.1.post2", {}, None),
        ("2026.10.11549+planted.worse.head", {}, None),
        ("0.19.9", {"versions": ">=0.20"}, SkipReason.TOO_OLD),
        ("0.20", {"versions": ">=0.20"}, None),
        ("0.20+mine", {"versions": "==0.20"}, None),
    ],
)
def test_versions_are_followed_unless_odd_or_outside_the_limits(
    version: str, settings: dict[str, Any], reason: SkipReason | None
) -> None:
    decision = one(release(version, file(version)), **settings)

    assert decision.reason is reason
    assert (decision.artifact is not None) is (reason is None)


def test_releases_from_before_mtp_are_too_old() -> None:
    first = PROJECTS["xllamacpp"].first_mtp_version

    assert one(release("2026.5.9093", file("2026.5.9093")), first_mtp=first).reason is SkipReason.TOO_OLD
    assert one(release("2026.5.9294", file("2026.5.9294")), first_mtp=first).reason is None


def test_the_build_of_llama_cpp_is_read_from_the_version() -> None:
    assert build_number("xllamacpp", "2026.10.11549") == 11549
    assert build_number("xllamacpp", "2026.10.11549+planted.worse.head") == 11549
    assert build_number("xllamacpp", "2026.4.8672.1") == 8672
    assert build_number("xllamacpp", "0.1.19") is None
    assert build_number("xllamacpp", "weird") is None
    assert build_number("vllm", "0.33.0") is None


# ---------------------------------------------------------------------------------------------
# Age


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("at", "settings", "state"),
    [
        (minutes_ago(29), {}, ReleaseState.SETTLING),
        (minutes_ago(30), {}, ReleaseState.AGED),
        (minutes_ago(1), {"settle_minutes": 0}, ReleaseState.AGED),
        (minutes_ago(23 * 60), {"minimum_age_hours": 24}, ReleaseState.SETTLING),
        (minutes_ago(24 * 60), {"minimum_age_hours": 24}, ReleaseState.AGED),
        # A clock that jumped, or an index that lies: no age is proven.
        (minutes_ago(-60 * 24), {}, ReleaseState.SETTLING),
        (minutes_ago(-1), {"settle_minutes": 0}, ReleaseState.SETTLING),
        (None, {}, ReleaseState.SETTLING),
        (None, {"settle_minutes": 0, "minimum_age_hours": 1}, ReleaseState.SETTLING),
        (None, {"settle_minutes": 0}, ReleaseState.AGED),
    ],
)
def test_a_release_ages_from_its_upload_and_never_on_faith(
    at: datetime | None, settings: dict[str, Any], state: ReleaseState
) -> None:
    decision = one(release("1.0", file("1.0", at=at)), **settings)

    assert decision.state is state
    assert decision.reason is None
    assert decision.artifact is not None
    assert bool(decision.detail) is (state is ReleaseState.SETTLING)
    assert ("in the future" in decision.detail) is (at is not None and at > NOW)


def test_settling_begins_anew_with_each_wanted_file_and_with_no_other() -> None:
    linux, late = file("1.0"), file("1.0", "cp310-abi3-win_amd64", at=minutes_ago(5))
    late_too = file("1.0", f"2-{ABI3}", at=minutes_ago(5))

    assert one(release("1.0", linux, late)).state is ReleaseState.AGED
    assert one(release("1.0", linux, late_too)).state is ReleaseState.SETTLING
    assert one(release("1.0", linux, late), wanted=["*.whl"]).state is ReleaseState.SETTLING


def test_an_upload_in_progress_settles_and_a_late_wheel_is_picked_up() -> None:
    windows = file("1.0", "cp310-abi3-win_amd64", at=minutes_ago(3))
    alone = one(release("1.0", windows))
    assert (alone.state, alone.artifact) == (ReleaseState.SETTLING, None)

    old = file("1.0", "cp310-abi3-win_amd64")
    assert one(release("1.0", old)).reason is SkipReason.NO_ARTIFACT
    assert one(release("1.0", old, file("1.0", at=minutes_ago(40)))).state is ReleaseState.AGED


# ---------------------------------------------------------------------------------------------
# Many


def test_an_older_version_published_after_a_newer_one_is_news_like_any_other() -> None:
    before = [release("1.0", file("1.0")), release("3.0", file("3.0"))]
    after = [before[0], release("2.0", file("2.0", at=minutes_ago(60))), before[1]]
    source = SourceSettings(project="engine")

    decisions = decide(after, source, now=NOW, python_version="3.11", platforms=LINUX)

    known = {item.version for item in before}
    news = [item for item in decisions if item.release.version not in known]
    assert [(item.release.version, item.state) for item in news] == [("2.0", ReleaseState.AGED)]
    assert [item.release.version for item in decisions] == ["1.0", "2.0", "3.0"]


def test_only_the_newest_aged_releases_are_kept_and_the_rest_says_for_which() -> None:
    releases = [
        release("1.0", file("1.0")),
        release("2.0", file("2.0")),
        release("3.0", file("3.0", yanked="")),
        release("4.0", file("4.0")),
        release("5.0", file("5.0", at=minutes_ago(1))),
    ]
    source = SourceSettings(project="engine")
    decisions = decide(releases, source, now=NOW, python_version="3.11", platforms=LINUX)

    states = [(item.state, item.reason) for item in coalesce(decisions, 1)]

    assert states == [
        (ReleaseState.SKIPPED, SkipReason.COALESCED),
        (ReleaseState.SKIPPED, SkipReason.COALESCED),
        (ReleaseState.SKIPPED, SkipReason.YANKED),
        (ReleaseState.AGED, None),
        (ReleaseState.SETTLING, None),
    ]
    passed = coalesce(decisions, 1)[0]
    assert passed.detail == "4.0 is newer"
    assert passed.artifact == file("1.0")
    assert [item.state for item in coalesce(decisions, 0)].count(ReleaseState.AGED) == 0
    assert coalesce(decisions, 9) == decisions
    assert coalesce([], 1) == []


def test_a_source_archive_is_measured_where_the_monitor_can_compile_it_and_no_wheel_installs() -> None:
    source = file("0.3.36", "sdist", project="llama_cpp_python")
    wheel = file("0.3.36", "py3-none-any", project="llama_cpp_python")
    assert one(release("0.3.36", source)).artifact == source
    assert one(release("0.3.36", source, wheel)).artifact == wheel
    assert one(release("0.3.36", source, wheel), wanted=("*.tar.gz",)).artifact == source
    unknown = one(release("1.0", file("1.0", "sdist")))
    assert unknown.artifact is None
    assert "nothing that is compiled here" in unknown.detail


# ---------------------------------------------------------------------------------------------
# Files of a GitHub release


def build(*names: str, published_at: datetime = LONG_AGO, at: datetime = LONG_AGO) -> Release:
    files = tuple(
        Artifact("llama.cpp", "9300", name, "a" * 64, "https://x.example/", 1, uploaded_at=at)
        for name in names
    )
    return Release("llama.cpp", "9300", "nightly", files, published_at)


def on_github(found: Release, *, driver: str | None = None, **settings: Any) -> Decision:
    source = SourceSettings(project="llama.cpp", kind="github", channel="nightly", **settings)
    (decision,) = decide([found], source, now=NOW, python_version="3.11", driver=driver)
    return decision


CPU = "llama-b9300-bin-ubuntu-x64.tar.gz"
CUDA_12, CUDA_13 = (f"llama-b9300-bin-ubuntu-cuda-{label}-x64.tar.gz" for label in ("12.8", "13.4"))


@pytest.mark.parametrize(
    ("driver", "wanted", "best"),
    [
        (None, (), CPU),
        ("580.95.05", (), CUDA_13),
        ("575.57.08", (), CUDA_12),
        ("580.95.05", ("*cuda-12*",), CUDA_12),
        ("580.95.05", ("*vulkan*", "*cuda-*"), CUDA_13),
    ],
)
def test_the_asset_is_the_one_for_this_machine(
    driver: str | None, wanted: tuple[str, ...], best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    decision = on_github(build(CPU, CUDA_12, CUDA_13), driver=driver, wanted=wanted)
    assert decision.state is ReleaseState.AGED
    assert decision.artifact is not None
    assert decision.artifact.filename == best


def test_of_two_toolkits_the_higher_number_wins_and_not_the_later_letter() -> None:
    patterns = AssetPatterns(("*cuda-*",), ("cudart-*",))
    names = ["llama-cuda-12.8.tar.gz", "llama-cuda-12.10.tar.gz"]
    assert max(names, key=lambda name: patterns.rank(name) or ()) == names[1]
    beside = [f"cudart-{name}" for name in names]
    assert patterns.beside_of(names[1], beside) == (beside[1],)


def test_a_young_release_without_its_files_settles_and_an_old_one_is_incomplete() -> None:
    young = on_github(build(published_at=NOW - timedelta(minutes=29)))
    assert young.state is ReleaseState.SETTLING
    assert "still being uploaded" in young.detail
    assert skipped(on_github(build(published_at=NOW - timedelta(minutes=31)))) is SkipReason.INCOMPLETE


def test_what_goes_beside_a_file_has_to_settle_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    old = build(CUDA_13, f"cudart-{CUDA_12}")
    late = replace(old.artifacts[0], filename=f"cudart-{CUDA_13}", uploaded_at=NOW - timedelta(minutes=5))
    found = replace(old, artifacts=(*old.artifacts, late))
    assert on_github(found, driver="580").state is ReleaseState.SETTLING
    assert on_github(old, driver="580").state is ReleaseState.AGED
