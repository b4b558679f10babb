"""Joins the documents of several prompts into one, so that a long context needs no copy of their text.

A line of a workload with `"joins": {"file": "long.jsonl", "prompts": ["a", "b", "c"]}` asks what `c` asks,
with the documents of `a` and `b` before it. A document's question is its last paragraph; those of `a` and `b`
are left out. With `"asks": "a"` the same documents end in the question of `a`: they share all but the
end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor import validation
from monitor.checks.definition import Id, Text
from monitor.errors import ConfigurationError

_KEY = "joins"
_ADVICE = "docs/writing_a_check.md explains how prompts are joined"


class _Joins(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: Text
    """Workload file beside the one that holds the line."""
    prompts: Annotated[list[Id], Field(min_length=2)]
    asks: Id | None = None
    """Whose question is asked at the end; that of the last one where it is not given."""


def joined(text: str, file: Path, place: str) -> str:
    """Return a line of the workload `file` as it reads with its documents in it; any other line as it is.

    Raises:
        ConfigurationError: naming `place` and what it joins that is not there.

    """
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return text  # whoever reads the prompt says what is wrong with it
    if not isinstance(line, dict) or _KEY not in line:
        return text
    try:
        joins = _Joins.model_validate(line.pop(_KEY))
    except ValidationError as error:
        wrong = validation.explain(error, _Joins)
        sentences = [f"{place}: in `{_KEY}`: {sentence}." for _, sentence in wrong]
        raise ConfigurationError("\n".join(sentences), advice=_ADVICE) from None
    documents = _documents(file.parent / joins.file, place)
    asked = joins.asks or joins.prompts[-1]
    for name in (*joins.prompts, asked):
        if name not in documents:
            raise ConfigurationError(
                f"{place}: `{_KEY}` names {name!r}, and {joins.file} has no such prompt of one message.",
                advice=validation.nearest(name, documents),
            )
    texts = [_document_and_question(documents[name])[0] for name in joins.prompts]
    content = "\n\n".join([*texts, _document_and_question(documents[asked])[1]])
    return json.dumps(line | {"messages": [{"role": "user", "content": content}]})


def _documents(file: Path, place: str) -> dict[str, str]:
    """Return id → text of the prompts that are one message."""
    try:
        lines = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{place}: {file} cannot be read: {error}.", advice=_ADVICE) from error
    return {line["id"]: line["messages"][0]["content"] for line in lines if _is_document(line)}


def _is_document(line: Any) -> bool:
    messages = line.get("messages") if isinstance(line, dict) else None
    if not isinstance(messages, list) or len(messages) != 1 or "id" not in line:
        return False
    return isinstance(messages[0], dict) and isinstance(messages[0].get("content"), str)


def _document_and_question(text: str) -> tuple[str, str]:
    document, _, question = text.rpartition("\n\n")
    return document, question
