"""The sample file: what a run measured, as JSON lines, so that anyone can judge it again.

One object a line: first a `header`, then `session` and `sample` lines in any order. An unknown field is
null, an absent key is the same as null, keys that are not known here are ignored. `docs/samples.md`
explains every field; `docs/samples.schema.json` is generated from the models of `monitor/sample_lines.py`.
`export` writes the format, `judge` reads it, and the spool keeps a running measurement in it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from monitor import disk
from monitor.domain import Header, Margin, Role, Sample, SampleSet, Session
from monitor.errors import DiskFullError, SampleFileError
from monitor.sample_lines import (
    LINE,
    SCHEMA,
    HeaderLine,
    LineModel,
    MarginPart,
    SampleLine,
    SessionLine,
    json_schema,
)

MAX_LINE_BYTES = 16 * 2**20
"""A sample of 100,000 tokens takes about 1 MB; a longer line is no sample."""

_SHOWN_INPUT = 60  # characters of a wrong value shown in the message
_KINDS: dict[type, tuple[str, type[LineModel]]] = {
    Header: ("header", HeaderLine),
    Session: ("session", SessionLine),
    Sample: ("sample", SampleLine),
}


# ---------------------------------------------------------------------------------------------
# Reading


def read(path: Path) -> SampleSet:
    """Read one sample file.

    Raises:
        SampleFileError: naming file, line, field and what is allowed, when anything in it is not as
            `docs/samples.md` says, or when the file cannot be read.

    """
    try:
        with path.open("rb") as file:
            return parse(_text_lines(file, str(path)), str(path))
    except OSError as error:
        raise SampleFileError(
            f"The sample file {path} cannot be read: {error.strerror or error}.",
            advice="check the name and the rights of the file",
        ) from error


def parse(lines: Iterable[str], name: str) -> SampleSet:
    """Turn the lines of a sample file into values; `name` stands for the file in messages.

    Raises:
        SampleFileError: as for `read`.

    """
    header: Header | None = None
    sessions: dict[int, Session] = {}
    samples: dict[tuple[int, str, str, int], tuple[int, Sample]] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        line = _line(text, name, number)
        if isinstance(line, HeaderLine) != (header is None):
            first = "the first line should be the header" if header is None else "there is a second header"
            raise _error(name, number, "kind", f"{first}; a file has exactly one, on its first line")
        if isinstance(line, HeaderLine):
            header = Header(**_values(line))
        elif isinstance(line, SessionLine):
            if line.session in sessions:
                raise _error(
                    name, number, "session", f"the number {line.session} is used twice; a number is one start"
                )
            sessions[line.session] = _session(line, order=len(sessions))
        else:
            _add_sample(samples, line, name, number)
    if header is None:
        raise _error(name, 1, "kind", "the file is empty; it should begin with a header line")
    _check_arms(sessions, samples.values(), name)
    return SampleSet(header, tuple(sessions.values()), tuple(sample for _, sample in samples.values()))


def _add_sample(
    samples: dict[tuple[int, str, str, int], tuple[int, Sample]], line: SampleLine, name: str, number: int
) -> None:
    sample = Sample(**_values(line) | {"repeat": line.repeat or 0})
    key = (sample.session, sample.workload, sample.prompt, sample.repeat)
    if key in samples:
        raise _error(
            name,
            number,
            "prompt",
            f"repeat {sample.repeat} of '{sample.prompt}' in session {sample.session} was already on "
            f"line {samples[key][0]}; a repeated prompt has a repeat number of its own",
        )
    samples[key] = (number, sample)


def _check_arms(sessions: dict[int, Session], samples: Iterable[tuple[int, Sample]], name: str) -> None:
    for number, sample in samples:
        session = sessions.get(sample.session)
        if session is not None and session.arm is not sample.arm:
            raise _error(
                name, number, "arm", f"is '{sample.arm}', but session {sample.session} served '{session.arm}'"
            )


def _text_lines(file: Any, name: str) -> Iterator[str]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise _error(name, number, None, f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if not raw.endswith(b"\n"):
                raise _truncated(name, number) from error
            raise _error(name, number, None, f"byte {error.start} is not UTF-8") from error


def _line(text: str, name: str, number: int) -> HeaderLine | SessionLine | SampleLine:
    try:
        return LINE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            # A writer ends each line with a newline, so only a cut line lacks one.
            if not text.endswith("\n"):
                raise _truncated(name, number) from None
            raise _error(name, number, None, f"is not JSON ({first['ctx']['error']})") from None
        raise _error(name, number, *_explain(first)) from None


def _explain(first: Any) -> tuple[str | None, str]:
    """Turn pydantic's error into the field and a phrase on what is allowed and what was found."""
    kind, message = first["type"], first["msg"]
    # Inside the union the first step of the place is the kind of the line.
    place = [str(step) for step in first["loc"][1:]]
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return "kind", "should be 'header', 'session' or 'sample'"
    if kind in {"model_attributes_type", "model_type", "dict_type"} and not place:
        return None, "should be a JSON object"
    if kind == "missing":
        return ".".join(place), "is missing, and the line means nothing without it"
    found = json.dumps(first["input"], default=str)
    shown = found if len(found) <= _SHOWN_INPUT else found[:_SHOWN_INPUT] + "…"
    reason = message.removeprefix("Value error, ").replace("Input should", "should").replace("Field", "field")
    return ".".join(place), f"{reason}, but is {shown}"


def _session(line: SessionLine, *, order: int) -> Session:
    # Without a block number there is nothing to pair by: all such sessions share block 0.
    known = {
        "block": 0 if line.block is None else line.block,
        "order": order if line.order is None else line.order,
        "role": line.role or Role.SCREEN,
        "started_at": line.started_at and line.started_at.astimezone(UTC),
        "margins": None if line.margins is None else tuple(map(_margin, line.margins)),
    }
    return Session(**_values(line) | known)


def _margin(part: MarginPart) -> Margin:
    return Margin(**part.model_dump())


def _values(line: LineModel) -> dict[str, Any]:
    # `schema` is the only alias, and it is no field of the domain's Header.
    return {name: getattr(line, name) for name in type(line).model_fields if name not in {"kind", "schema_"}}


def _error(name: str, number: int, field: str | None, text: str) -> SampleFileError:
    place = f"{name}, line {number}" + (f", field '{field}'" if field else "")
    return SampleFileError(f"{place}: {text}.", advice="see docs/samples.md for what each field may hold")


def _truncated(name: str, number: int) -> SampleFileError:
    return SampleFileError(
        f"{name}, line {number}: the file ends in the middle of a line, so it is truncated.",
        advice="copy or export the file again",
    )


# ---------------------------------------------------------------------------------------------
# Writing


def to_line(value: Header | Session | Sample) -> str:
    """Return `value` as one line of a sample file, without the newline; equal values give equal text.

    Raises:
        SampleFileError: when the value could not be read back (not finite, negative, not aware).

    """
    kind, model = _KINDS[type(value)]
    record: dict[str, Any] = {"kind": kind}
    if isinstance(value, Header):
        record["schema"] = SCHEMA
    for item in fields(value):
        record[item.name] = _plain(getattr(value, item.name))
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        _, reason = _explain(first | {"loc": (kind, *first["loc"])})
        raise SampleFileError(
            f"A {kind} cannot be written: field '{'.'.join(map(str, first['loc']))}' {reason}."
        ) from None
    except (TypeError, ValueError) as error:  # NaN, a lone surrogate, an object JSON has no word for
        raise SampleFileError(f"A {kind} cannot be written: {error}.") from error
    return text


def write(path: Path, sample_set: SampleSet) -> None:
    """Write `sample_set` to `path` in the order it holds, all or nothing: a reader never sees half of it.

    Raises:
        SampleFileError: when a value cannot be written, or the folder does not take the file.
        DiskFullError: when there is no room; the old file at `path`, if any, is untouched.

    """
    values: tuple[Header | Session | Sample, ...] = (
        sample_set.header,
        *sample_set.sessions,
        *sample_set.samples,
    )
    content = "".join(to_line(value) + "\n" for value in values)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if disk.says_full(error):
            raise DiskFullError(
                f"No room left on the disk for the sample file {path}.",
                kept="the measurements in the database, and a file that was there before",
                advice="free some space and export again",
            ) from error
        raise SampleFileError(
            f"The sample file {path} cannot be written: {error.strerror or error}.",
            advice="name a file in a folder that exists and may be written to",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        # A naive date keeps its missing zone, so that the model refuses it instead of guessing one.
        return value.isoformat() if value.tzinfo is None else _utc(value)
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, Margin):
        return asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":  # python -m monitor.sample_file > docs/samples.schema.json
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
