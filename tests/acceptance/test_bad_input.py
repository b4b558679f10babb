"""Wrong input: a clear message, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from acceptance.command import CHECK, House
from standins.index import Fault, IndexServer

RELEASE = "xllamacpp==2026.9.11063"


@pytest.fixture
def fresh(tmp_path: Path) -> House:
    return House.build(tmp_path / "house")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", CHECK, "--release", "xllamacpp==1999.1.1"), 2, "No release xllamacpp==1999.1.1"),
        (("run", "smal", "--release", RELEASE), 2, "'small'"),
        (("run", CHECK, "--release", "xllamacpp"), 2, "PROJECT==VERSION"),
        (("run", CHECK, "--release", f"{RELEASE}@ffff"), 2, "begins with ffff"),
        (("run", CHECK, "--release", "vllm==0.29.0"), 2, "not vllm"),
        (("run", "gemma-4-31b-llama-q8.n4", "--release", "llama-cpp-python==0.3.36"), 1, "GPU"),
        (("export", "999"), 2, "no run 999"),
        (("report", "999", "-o", "r.html"), 2, "no run 999"),
        (("releases", "xlamacpp"), 2, "'xllamacpp'"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_names_that_do_not_exist_are_told_with_the_nearest_that_do(
    house: House, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = house.run(*arguments, code=code)

    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_an_unreachable_index_keeps_what_is_known(house: House) -> None:
    before = house.json("releases")["releases"]

    ended = house.run("releases", "--refresh", code=1, UV_DEFAULT_INDEX="http://127.0.0.1:9/simple")

    assert "127.0.0.1:9" in ended.stderr
    assert house.json("releases")["releases"] == before


def test_an_index_that_lies_deletes_nothing(house: House) -> None:
    before = {item["version"]: item["state"] for item in house.json("releases")["releases"]}
    with IndexServer() as index:
        index.fault = Fault.PORTAL
        ended = house.run("releases", "--refresh", code=1, UV_DEFAULT_INDEX=index.url)

    assert "Traceback" not in ended.stderr
    assert {item["version"]: item["state"] for item in house.json("releases")["releases"]} == before


def test_a_release_that_does_not_install_fails_with_the_reason(fresh: House) -> None:
    with IndexServer() as index:
        filename = "xllamacpp-2026.11.12000-py3-none-any.whl"
        index.add("xllamacpp", filename, b"this is no wheel")
        ended = fresh.run(
            "run", CHECK, "--release", "xllamacpp==2026.11.12000", code=5, UV_DEFAULT_INDEX=index.url
        )

    assert "does not install" in ended.stderr
    assert "failed" in ended.stderr
    assert not [
        path for path in (fresh.state / "environments").iterdir() if path.name.startswith(".building")
    ]


def test_an_altered_model_is_refused_before_anything_is_measured(fresh: House) -> None:
    fresh.run("releases", "--refresh")
    fresh.run("models", "fetch", "small")
    model = next((fresh.state / "models").rglob("*.gguf"))
    with model.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(b"\0" * 100)

    ended = fresh.run("run", CHECK, "--release", RELEASE, code=1)

    assert "altered" in ended.stderr
    assert "models fetch small" in ended.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("not json\n", "line 1"),
        ('{"kind":"header","schema":"mtp-monitor/samples/1","check":"c","check_digest":"d",', "truncated"),
        ('{"kind":"header","schema":"mtp-monitor/samples/2","check":"c"}\n', "schema"),
    ],
)
def test_sample_files_that_are_none_are_told_by_line(
    house: House, tmp_path: Path, content: str, said: str
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(content)

    ended = house.run("judge", str(broken), str(broken), code=2)

    assert said in ended.stderr
    assert "broken.jsonl" in ended.stderr


def test_samples_of_another_check_are_not_compared(house: House, tmp_path: Path) -> None:
    paths = []
    for digest in ("a", "b"):
        header = {
            "kind": "header",
            "schema": "mtp-monitor/samples/1",
            "check": "c",
            "check_digest": digest * 64,
            "project": "p",
            "version": "1",
        }
        path = tmp_path / f"{digest}.jsonl"
        path.write_text(json.dumps(header) + "\n")
        paths.append(str(path))

    assert "different checks" in house.run("judge", *paths, code=2).stderr


def test_a_newer_database_is_left_alone(fresh: House) -> None:
    fresh.run("releases", "--refresh")
    file = fresh.state / "monitor.sqlite3"
    with sqlite3.connect(file) as database:
        database.execute("update alembic_version set version_num = 'f00d'")
    database.close()
    before = file.read_bytes()

    ended = fresh.run("releases", code=1)

    assert "newer" in ended.stderr
    assert file.read_bytes() == before


def test_an_unknown_key_in_the_configuration_is_named_with_its_file(fresh: House) -> None:
    file = fresh.folder / "mtp-monitor.toml"
    file.write_text(file.read_text().replace("check_dirs", "chek_dirs"))

    ended = fresh.run("checks", code=1)

    assert "chek_dirs" in ended.stderr
    assert "check_dirs" in ended.stderr
    assert "mtp-monitor.toml" in ended.stderr
