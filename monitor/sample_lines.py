"""The shape of each line of a sample file, for reading, writing and the JSON schema.

`monitor/sample_file.py` reads and writes the file, `docs/samples.md` explains every field.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from monitor.domain import Arm, Role

SCHEMA = "mtp-monitor/samples/1"


def _finite(value: JsonValue) -> JsonValue:
    """Refuse NaN and infinities anywhere inside free-form facts: JSON has no word for them."""
    pending: list[JsonValue] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("every number should be finite")
    return value


Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Facts = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class LineModel(BaseModel):
    """A line, or a part of one: unknown keys are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class HeaderLine(LineModel):
    """What every sample of the file has in common. Exactly one, on the first line."""

    kind: Literal["header"]
    schema_: Annotated[Literal["mtp-monitor/samples/1"], Field(alias="schema")]
    check: Name
    check_digest: Name
    project: Name
    version: Name
    artifact_sha256: Name | None = None
    host: Name | None = None
    hardware_class: Name | None = None
    draft_length: Count | None = None
    concurrency: Annotated[Count, Field(ge=1)] | None = None
    sampling: Facts | None = None
    judging: Facts | None = None
    calibration: Facts | None = None
    model_sha256: Name | None = None
    roofline_tokens_per_s: Amount | None = None


class MarginPart(LineModel):
    """The baseline model's margin at one place, inside a session line."""

    session: Count
    workload: Name
    prompt: Name
    repeat: Count
    position: Count
    expected: Count
    found: Count
    nats: Annotated[float, Field(allow_inf_nan=False)]
    at_least: bool = False


class SessionLine(LineModel):
    """One start of one engine server for one arm. Numbers are unique in a file."""

    kind: Literal["session"]
    session: Count
    arm: Arm
    block: Count | None = None
    order: Count | None = None
    role: Role | None = None
    started_at: AwareDatetime | None = None
    startup_s: Amount | None = None
    gpu_memory_bytes: Count | None = None
    energy_j: Amount | None = None
    effective: Facts | None = None
    gpu: Facts | None = None
    margins: tuple[MarginPart, ...] | None = None


class SampleLine(LineModel):
    """One prompt answered in one session."""

    kind: Literal["sample"]
    session: Count
    arm: Arm
    workload: Name
    prompt: Name
    repeat: Count | None = None
    n: Count
    n_first: Count | None = None
    ttft_s: Amount | None = None
    decode_s: Amount | None = None
    prompt_tokens: Count | None = None
    drafted: Count | None = None
    accepted: Count | None = None
    steps: Count | None = None
    accepted_per_position: tuple[Count, ...] | None = None
    stop: Literal["length", "stop"] | None = None
    server_decode_tps: Amount | None = None
    token_ids: tuple[Count, ...] | None = None
    tokens_sha256: Name | None = None
    correct: bool | None = None


Line = Annotated[HeaderLine | SessionLine | SampleLine, Field(discriminator="kind")]
LINE: TypeAdapter[HeaderLine | SessionLine | SampleLine] = TypeAdapter(Line)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of one line, as kept in `docs/samples.schema.json`."""
    schema = LINE.json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "One line of a sample file",
        "description": "docs/samples.md explains the fields.",
        **schema,
    }


def line_kinds() -> dict[str, tuple[str, ...]]:
    """Return kind of line → its field names in the order they are written."""
    return {
        get_args(model.model_fields["kind"].annotation)[0]: tuple(
            field.alias or name for name, field in model.model_fields.items()
        )
        for model in (HeaderLine, SessionLine, SampleLine)
    }
