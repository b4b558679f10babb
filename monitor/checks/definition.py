"""The shape of a check's TOML file and of a workload's JSON lines.

`docs/writing_a_check.md` explains both.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from monitor.checks.scoring import number_in
from monitor.domain import ATTACHED_ENGINES, SERVED

SCHEMA = "mtp-monitor/check/1"

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Scalar = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str


def _finite(value: JsonValue) -> JsonValue:
    # TOML knows nan and inf, JSON does not: neither the digest nor a request could hold them.
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite", "finite numbers only")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(item)
    return value


Free = dict[str, Annotated[JsonValue, AfterValidator(_finite)]]
"""A table whose keys belong to somebody else: the engine, or the judging policy."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelTable(_Table):
    """`[model]` and `[draft_model]`."""

    name: Id
    kind: Literal["synthetic", "huggingface", "path", "served"]
    recipe: dict[str, Scalar] = {}
    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^[\w][\w./-]*$")] | None = None
    files: list[Text] = []
    sha256: dict[str, Sha256] = {}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed: dict[str, tuple[str, ...]] = {
            "synthetic": ("recipe",),
            "huggingface": ("repository", "revision"),
            "path": ("files",),
            SERVED: (),
        }
        own = {"recipe", "repository", "revision", "files"} | ({"sha256"} if self.kind == SERVED else set())
        missing = [key for key in needed[self.kind] if not getattr(self, key)]
        if missing:
            raise PydanticCustomError(
                "model_incomplete", f"a model of kind '{self.kind}' needs {' and '.join(missing)}"
            )
        allowed = {*needed[self.kind], *(("files",) if self.kind == "huggingface" else ())}
        foreign = sorted(key for key in own - allowed if getattr(self, key))
        if foreign:
            raise PydanticCustomError(
                "model_foreign", f"a model of kind '{self.kind}' has no {' and no '.join(foreign)}"
            )
        return self


class ArmTable(_Table):
    """`[arms.ngram]`, `[arms.draft_model]` and `[arms.synthetic]`."""

    draft_length: Positive | None = None
    serve: Free = {}
    model: ModelTable | None = None


class RequiresTable(_Table):
    """`[requires]`: what a host must have. Sizes in GiB."""

    gpu: bool = False
    gpu_memory_gib: Amount = 0
    memory_gib: Amount = 0
    disk_gib: Amount = 0
    compute_capability: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")] | None = None


class ExpectTable(_Table):
    """Limits that alarm from the first run."""

    min_speedup: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_acceptance: Fraction | None = None


class EstimateTable(_Table):
    """Minutes for one session of each arm, start-up included."""

    quick: Amount
    full: Amount


class Definition(_Table):
    """One check, after its matrix was expanded."""

    schema_: Annotated[Literal["mtp-monitor/check/1"], Field(alias="schema")]
    id: Id
    title: Text
    description: str = ""
    engine: Literal["xllamacpp", "llama-server", "llama-cpp-python", "vllm", "endpoint", "command"]
    projects: Annotated[list[Text], Field(min_length=1)]
    quantisation: Text
    draft_length: Positive
    concurrency: Positive = 1
    workloads: Annotated[list[Text], Field(min_length=1)]
    warmup_prompts: Count = 2
    repeats: Positive = 1
    quick_prompts_per_workload: Positive = 2
    step_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Weights that one step reads, in units of 10⁹ bytes."""
    lossless_exact: bool = False
    start_timeout_s: Seconds = 600.0
    request_timeout_s: Seconds = 300.0
    model: ModelTable
    draft_model: ModelTable | None = None
    sampling: Free
    serve: Free = {}
    serve_mtp: Free = {}
    requires: RequiresTable = RequiresTable()
    expect: ExpectTable = ExpectTable()
    estimate_minutes: EstimateTable
    judging: Free = {}
    arms: dict[Literal["draft_model", "ngram", "synthetic"], ArmTable] = {}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.model.kind == SERVED and self.engine not in ATTACHED_ENGINES:
            raise PydanticCustomError(
                "served_here",
                f"a model of kind '{SERVED}' is for servers of your own, engine "
                f"{' or '.join(ATTACHED_ENGINES)}; the engine {self.engine} has to be given its weights",
            )
        if self.draft_model is not None and self.draft_model.kind == SERVED:
            raise PydanticCustomError(
                "served_draft", f"`draft_model` of kind '{SERVED}' says nothing; leave it out"
            )
        if self.arms and self.engine in ATTACHED_ENGINES:
            raise PydanticCustomError("arms", f"`arms` are for engines that are started, not {self.engine}")
        for name, arm in self.arms.items():
            if (arm.model is None) == (name == "draft_model"):
                needs = "needs a" if name == "draft_model" else "has no"
                raise PydanticCustomError("arm_model", f"the arm {name} {needs} `model`")
        return self


class PromptLine(_Table):
    """One line of a workload file: `text` is sent as it is, `messages` through the chat template."""

    id: Id
    workload: Id
    max_tokens: Positive
    text: Text | None = None
    messages: list[dict[Literal["role", "content"], Text]] = []
    tools: list[dict[str, Any]] = []
    source: Text
    licence: Text
    answer: str = ""
    """The number that a right answer ends with; kept for scoring, never sent."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.answer and number_in(self.answer) is None:
            raise PydanticCustomError("answer", "the answer of a scored prompt should be a number")
        if (self.text is None) == (not self.messages):
            raise PydanticCustomError("prompt", "give either text or messages")
        return self
