from __future__ import annotations

import pytest

from monitor.domain import Package
from monitor.domain.llama_builds import LlamaBuild, build_number_in, said_by_version, vendored


@pytest.mark.parametrize(
    ("said", "build"),
    [
        ("version: 9235 (d14ce3dab)\nbuilt with GNU 12.2.0 for Linux x86_64", LlamaBuild(9235, "d14ce3dab")),
        ("version: 0.5.0-dev (build 11312, commit 0c1e57098)\nbuilt with", LlamaBuild(11312, "0c1e57098")),
        ("version: 0 (unknown)", LlamaBuild(None, None)),
        ("version: 0.5.0-dev (build 0, commit unknown)", LlamaBuild(None, None)),
        ("load_backend: loaded\nversion: 10454 (4df29be4f)", LlamaBuild(10454, "4df29be4f")),
        ("llama-server 1.0", None),
        ("", None),
    ],
)
def test_a_build_is_read_from_both_forms_that_llama_server_prints(
    said: str, build: LlamaBuild | None
) -> None:
    assert said_by_version(said) == build


def test_the_build_in_a_source_archive_is_the_one_it_names_itself() -> None:
    assert vendored("0.3.36") == vendored("0.3.36", "0c1e57098") == LlamaBuild(11312, "0c1e57098")
    # Packaged again with another llama.cpp, or newer than the table: no number is made up.
    assert vendored("0.3.36", "fffffffff") == LlamaBuild(None, "fffffffff")
    assert vendored("0.9.0", "e3546c794") == LlamaBuild(9976, "e3546c794")
    assert vendored("0.3.23", "7d442abf") == LlamaBuild(9102, "7d442abf5")
    assert vendored("0.9.0") == LlamaBuild(None, None)


def test_an_environment_tells_its_build_as_far_as_it_is_known() -> None:
    assert str(LlamaBuild(11312, "0c1e57098")) == "b11312-0c1e57098"
    for build in (LlamaBuild(11312, "0c1e57098"), LlamaBuild(None, "0c1e57098"), LlamaBuild(None, None)):
        packages = [Package("numpy", "2.0"), Package("llama.cpp build", str(build))]
        assert build_number_in(packages) == build.number
    assert build_number_in([Package("numpy", "2.0")]) is None
