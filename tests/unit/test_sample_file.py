"""The sample file: what is written is read back, and nothing broken is taken for a measurement."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import sample_file, sample_lines
from monitor.domain import Arm, Header, Margin, Role, Sample, SampleSet, Session
from monitor.errors import DiskFullError, SampleFileError

DOCS = Path(__file__).resolve().parents[2] / "docs"

HEADER = Header(
    check="c",
    check_digest="d" * 64,
    project="xllamacpp",
    version="1.2+ü",
    artifact_sha256="a" * 64,
    host="h",
    hardware_class="cpu-some-2",
    draft_length=3,
    concurrency=1,
    sampling={"temperature": 0, "seed": 1},
    judging={"noise_floor": "measured"},
    calibration=None,
    model_sha256="b" * 64,
)
MARGIN = Margin(0, "code", "code-1", 1, 3, 7, 8, 0.1 + 0.2)
SESSION = Session(
    session=4,
    arm=Arm.MTP,
    block=2,
    order=1,
    role=Role.CONFIRM,
    started_at=datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
    startup_s=1.25,
    gpu_memory_bytes=2**40,
    energy_j=0.1,
    effective={"build": "b123", "counter.drafted": 7, "flags": ["-a", None, {"x": 1.5}]},
    margins=(MARGIN, replace(MARGIN, nats=-8.5, at_least=True)),
)
SAMPLE = Sample(
    session=4,
    arm=Arm.MTP,
    workload="code",
    prompt="code-1",
    repeat=1,
    n=20,
    n_first=1,
    ttft_s=0.1 + 0.2,
    decode_s=1e-9,
    prompt_tokens=12,
    drafted=18,
    accepted=9,
    steps=10,
    accepted_per_position=(5, 3, 1),
    stop="length",
    server_decode_tps=33.3,
    token_ids=(1, 2, 3),
    tokens_sha256="c" * 64,
    correct=True,
)
WHOLE = SampleSet(HEADER, (SESSION,), (SAMPLE, replace(SAMPLE, repeat=0, token_ids=None)))
LINES = [sample_file.to_line(item) + "\n" for item in (HEADER, SESSION, *WHOLE.samples)]


def changed(number: int, **values: Any) -> list[str]:
    """Return the lines with some fields of one of them changed (DROP removes one)."""
    record = json.loads(LINES[number]) | values
    kept = {key: value for key, value in record.items() if value is not DROP}
    return [*LINES[:number], json.dumps(kept) + "\n", *LINES[number + 1 :]]


DROP = object()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    sample_file.write(file, WHOLE)
    assert sample_file.read(file) == WHOLE
    first = file.read_bytes()
    sample_file.write(file, sample_file.read(file))
    assert file.read_bytes() == first
    assert [item.name for item in tmp_path.iterdir()] == ["s.jsonl"]


counts = st.none() | st.integers(0, 2**53)
amounts = st.none() | st.floats(0, allow_infinity=False)


samples = st.builds(
    replace,
    st.just(SAMPLE),
    n=st.integers(0, 2**53),
    n_first=counts,
    ttft_s=amounts,
    decode_s=amounts,
    accepted=counts,
    accepted_per_position=st.none() | st.tuples(st.integers(0, 9)),
    prompt=st.text(min_size=1).filter(str.isprintable),
)


@given(samples)
def test_every_value_a_measurement_can_have_survives(sample: Sample) -> None:
    text = [LINES[0], sample_file.to_line(sample) + "\n"]
    assert sample_file.parse(text, "f").samples == (sample,)


def test_absent_is_the_same_as_null_and_unknown_keys_are_passed_over() -> None:
    header = (
        '{"kind":"header","schema":"mtp-monitor/samples/1","check":"c","check_digest":"d",'
        '"project":"p","version":"1","invented":true}\n'
    )
    bare = [
        header,
        '{"kind":"session","session":0,"arm":"mtp"}\n',
        "\n",
        '{"kind":"sample","session":0,"arm":"mtp","workload":"w","prompt":"p","n":5}\n',
    ]
    read = sample_file.parse(bare, "f")
    assert read.header.draft_length is None
    assert (read.sessions[0].block, read.sessions[0].order, read.sessions[0].role) == (0, 0, Role.SCREEN)
    assert (read.samples[0].repeat, read.samples[0].accepted, read.samples[0].n_first) == (0, None, None)


def test_samples_may_come_before_or_without_their_session() -> None:
    assert sample_file.parse([LINES[0], LINES[2], LINES[1]], "f").sessions == (SESSION,)
    assert sample_file.parse([LINES[0], LINES[2]], "f").samples == (SAMPLE,)


@pytest.mark.parametrize(
    ("lines", "place", "says"),
    [
        ([], "line 1", "empty"),
        (LINES[1:], "line 1", "first line should be the header"),
        ([*LINES, LINES[0]], "line 5", "second header"),
        ([*LINES, LINES[1]], "line 5", "number 4 is used twice"),
        ([*LINES, LINES[2]], "line 5", "already on line 3"),
        ([*LINES[:3], LINES[3][:-20]], "line 4", "truncated"),
        ([*LINES[:3], "{oops}\n"], "line 4", "not JSON"),
        ([*LINES[:3], "[1]\n"], "line 4", "JSON object"),
        ([*LINES[:3], '{"kind":"verdict"}\n'], "line 4", "'header', 'session' or 'sample'"),
        (changed(0, schema="mtp-monitor/samples/2"), "line 1", "mtp-monitor/samples/1"),
        (changed(0, check_digest=DROP), "line 1, field 'check_digest'", "is missing"),
        (changed(0, concurrency=0), "line 1, field 'concurrency'", "greater than or equal to 1"),
        (changed(1, arm="draft"), "line 2", "'baseline', 'mtp', 'draft_model', 'ngram' or 'synthetic'"),
        (changed(1, started_at="2026-01-02T03:04:05"), "line 2, field 'started_at'", "timezone"),
        (changed(2, arm="baseline"), "line 3, field 'arm'", "session 4 served 'mtp'"),
        (changed(2, n=-1), "line 3, field 'n'", "greater than or equal to 0"),
        (changed(2, n="20"), "line 3, field 'n'", "valid integer"),
        (changed(2, n=1.5), "line 3, field 'n'", "integer"),
        (changed(2, n=True), "line 3, field 'n'", "valid integer"),
        (changed(2, decode_s=math.nan), "line 3, field 'decode_s'", "finite"),
        (changed(2, decode_s=math.inf), "line 3, field 'decode_s'", "finite"),
        (changed(1, effective={"a": [math.nan]}), "line 2, field 'effective'", "finite"),
        (changed(2, accepted_per_position=[1, -1]), "line 3, field 'accepted_per_position.1'", "equal to 0"),
        (changed(2, stop="abort"), "line 3, field 'stop'", "'length' or 'stop'"),
        (changed(2, token_ids="1" * 1000), "line 3, field 'token_ids'", "…"),
        (changed(2, correct=1), "line 3, field 'correct'", "valid boolean"),
        (changed(1, margins=[{"session": 0}]), "line 2, field 'margins.0.workload'", "is missing"),
    ],
)
def test_a_wrong_line_is_named_with_its_field_and_what_is_allowed(
    lines: list[str], place: str, says: str
) -> None:
    with pytest.raises(SampleFileError) as caught:
        sample_file.parse(lines, "reference.jsonl")
    assert f"reference.jsonl, {place}" in caught.value.what
    assert says in caught.value.what
    assert len(str(caught.value)) < 500
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("".join(LINES).encode()[:-1], None),
        ("".join(LINES).encode("utf-8-sig"), None),
        ("".join(LINES).encode()[:-30], "truncated"),
        ("".join(LINES[:1]).encode() + b'{"kind":"\xff"}\n', "byte 9 is not UTF-8"),
        ("".join(LINES).encode() + '{"kind":"ü'.encode()[:-1], "truncated"),
        (b"\x1f\x8b\x08\x00garbage\n", "UTF-8"),
        (b"", "empty"),
        ("".join(LINES[:1]).encode() + b'{"x":"' + b"a" * sample_file.MAX_LINE_BYTES, "longer than 16 MiB"),
        ("".join(LINES[:1]).encode() + b"[" * 100_000 + b"\n", "line 2"),
    ],
    ids=[
        "no last newline",
        "byte order mark",
        "cut",
        "bytes",
        "cut in a letter",
        "gzip",
        "empty",
        "huge",
        "deep",
    ],
)
def test_bytes_of_any_kind_are_read_or_refused_with_the_place(
    content: bytes, says: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(content)
    if says is None:
        assert sample_file.read(file) == WHOLE
    else:
        with pytest.raises(SampleFileError, match=says):
            sample_file.read(file)


@given(st.binary(max_size=300))
def test_garbage_never_becomes_anything_but_a_named_error(garbage: bytes) -> None:
    text = garbage.decode("utf-8", errors="surrogateescape")
    with pytest.raises(SampleFileError, match="f, line"):
        sample_file.parse(text.splitlines(keepends=True), "f")


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SampleFileError, match="cannot be read: No such file"):
        sample_file.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "value",
    [
        replace(SAMPLE, decode_s=math.nan),
        replace(SAMPLE, n=-1),
        replace(SAMPLE, prompt=""),
        replace(SAMPLE, prompt="\ud800"),
        replace(SESSION, started_at=datetime(2026, 1, 1)),  # noqa: DTZ001  # what is refused
        replace(SESSION, effective={"a": math.inf}),
        replace(SESSION, margins=(replace(MARGIN, nats=math.nan),)),
        replace(SESSION, effective={"a": object()}),
    ],
)
def test_what_could_not_be_read_back_is_not_written(value: Session | Sample, tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    sample_file.write(file, WHOLE)
    parts = {"sessions": (value,)} if isinstance(value, Session) else {"samples": (value,)}
    with pytest.raises(SampleFileError, match="cannot be written"):
        sample_file.write(file, replace(WHOLE, **parts))
    assert sample_file.read(file) == WHOLE
    assert [item.name for item in tmp_path.iterdir()] == ["s.jsonl"]


def test_dates_are_written_in_utc() -> None:
    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert '"2025-12-31T23:00:00Z"' in sample_file.to_line(replace(SESSION, started_at=local))


def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.jsonl"
    sample_file.write(file, WHOLE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        sample_file.write(file, replace(WHOLE, samples=()))
    monkeypatch.undo()
    assert sample_file.read(file) == WHOLE
    assert [item.name for item in tmp_path.iterdir()] == ["s.jsonl"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampleFileError, match="cannot be written"):
        sample_file.write(tmp_path / "none" / "s.jsonl", WHOLE)


# ---------------------------------------------------------------------------------------------
# The documents


def test_the_schema_in_docs_is_the_one_generated_and_fits_what_is_written() -> None:
    kept = json.loads((DOCS / "samples.schema.json").read_text(encoding="utf-8"))
    assert kept == sample_lines.json_schema(), (
        "write it again: python -m monitor.sample_file > docs/samples.schema.json"
    )
    validator = jsonschema.Draft202012Validator(kept)
    for line in LINES:
        validator.validate(json.loads(line))
    assert not validator.is_valid(json.loads(changed(2, n=-1)[2]))


def test_the_page_names_every_field_of_every_kind_in_order() -> None:
    page = (DOCS / "samples.md").read_text(encoding="utf-8")
    for kind, names in sample_lines.line_kinds().items():
        section = page.partition(f"## `{kind}`")[2].partition("\n## ")[0]
        assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == names


def test_the_example_on_the_page_is_a_sample_file() -> None:
    page = (DOCS / "samples.md").read_text(encoding="utf-8")
    example = page.partition("```json\n")[2].partition("```")[0]
    read = sample_file.parse(example.splitlines(keepends=True), "example")
    assert [sample.arm for sample in read.samples] == [Arm.BASELINE, Arm.MTP]
    mtp = read.samples[1]
    assert mtp.steps == mtp.n - (mtp.n_first or 0) - (mtp.accepted or 0)
