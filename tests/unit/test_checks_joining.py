"""Long prompts that are joined from others by rule."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from monitor.checks.loader import load_checks, read_workload
from monitor.domain import Workload
from monitor.errors import ConfigurationError

CELLS = ("gemma-4-31b-vllm-fp8-long16k", "qwen-3.6-27b-vllm-fp8-long16k")


def line(name: str, **other: Any) -> str:
    known = {"id": name, "workload": "w", "max_tokens": 64, "source": "self", "licence": "MIT"}
    return json.dumps(known | other)


def document(name: str, content: str) -> str:
    return line(name, messages=[{"role": "user", "content": content}])


def workload(folder: Path, **joins: Any) -> Workload:
    documents = [
        document("a", "Log of a.\n\nDay one.\n\nWhat happened in a?"),
        document("b", "Log of b.\n\nDay two.\n\nWhat happened in b?"),
        line("text", text="no message"),
    ]
    (folder / "long.jsonl").write_text("\n".join(documents), encoding="utf-8")
    wanted = {"file": "long.jsonl", "prompts": ["a", "b"]} | joins
    (folder / "joined.jsonl").write_text(line("ab", joins=wanted), encoding="utf-8")
    return read_workload(folder / "joined.jsonl")


def test_documents_come_before_the_last_one_whose_question_is_asked(tmp_path: Path) -> None:
    (prompt,) = workload(tmp_path).prompts
    assert prompt.messages == (
        {"role": "user", "content": "Log of a.\n\nDay one.\n\nLog of b.\n\nDay two.\n\nWhat happened in b?"},
    )
    assert (prompt.id, prompt.max_tokens) == ("ab", 64)


def test_the_same_documents_can_end_in_the_question_of_any(tmp_path: Path) -> None:
    (prompt,) = workload(tmp_path, asks="a").prompts
    assert (
        prompt.messages[0]["content"]
        == "Log of a.\n\nDay one.\n\nLog of b.\n\nDay two.\n\nWhat happened in a?"
    )


@pytest.mark.parametrize(
    ("joins", "says"),
    [
        ({"prompts": ["a", "c"]}, "names 'c', and long.jsonl has no such prompt"),
        ({"prompts": ["a", "text"]}, "names 'text', and long.jsonl has no such prompt of one message"),
        ({"prompts": ["a"]}, "in `joins`"),
        ({"asks": "c"}, "names 'c', and long.jsonl has no such prompt"),
        ({"file": "absent.jsonl"}, "absent.jsonl cannot be read"),
        ({"more": 1}, "in `joins`"),
    ],
)
def test_what_cannot_be_joined_is_named_with_its_line(
    tmp_path: Path, joins: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        workload(tmp_path, **joins)
    assert "joined.jsonl, line 1" in refused.value.what
    assert says in refused.value.what
    assert refused.value.advice


@pytest.mark.parametrize("cell", CELLS)
def test_the_long_context_cell_holds_about_sixteen_thousand_tokens(cell: str) -> None:
    prompts = load_checks()[cell].workloads[0].prompts
    assert len({prompt.messages[0]["content"][-200:] for prompt in prompts}) == 4
    for prompt in prompts:
        # English in these models' vocabularies: about four characters a token.
        assert 14_500 <= len(prompt.messages[0]["content"]) / 4 <= 17_000


def test_the_prompts_of_the_cell_are_what_they_were() -> None:
    """A change of the documents, or of the rule, begins a new series: it is made on purpose or not at all."""
    texts = [prompt.messages[0]["content"] for prompt in load_checks()[CELLS[0]].workloads[0].prompts]
    assert hashlib.sha256("\0".join(texts).encode()).hexdigest() == DIGEST


DIGEST = "edf200286e96b0d6af39919f4a83ef97b570911faf9664c408d324f41baa7878"
