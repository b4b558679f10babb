"""Whether an answer is right, by its final number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.checks.digest import digest_of
from monitor.checks.loader import load_checks, read_workload
from monitor.checks.scoring import is_right
from monitor.domain import Workload
from monitor.errors import ConfigurationError
from standins.engine import standin_check

LINE: dict[str, Any] = {
    "id": "math-1",
    "workload": "math",
    "max_tokens": 64,
    "text": "2 + 2?",
    "source": "self",
    "licence": "MIT",
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("16 - 3 - 4 = 9\n#### 18", "18"),
        ("#### 18", "18"),
        ("She makes 9 * 2 = $18.\n\n#### $18", "18"),
        ("#### **18**", "18"),
        (r"#### \boxed{18}", "18"),
        ("#### 18 dollars a day, 7 days a week", "18"),
        ("#### 5\nNo, wait.\n#### 18", "18"),
        ("#### Step 2: subtract\n9 - 3 = 6\n#### 18", "18"),
        ("#### 1,234", "1234"),
        ("#### 1234.00", "1,234"),
        ("#### -7", "-7"),
        ("#### 0.5", "0.5"),
        ("So the answer is 18.", "18"),
        ("#### Final answer\nIt is 12 + 6 = 18", "18"),
    ],
)
def test_an_answer_is_right_by_its_final_number(text: str, answer: str) -> None:
    assert is_right(text, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "18"),
        ("I do not know.", "18"),
        ("#### 19", "18"),
        ("#### 180", "18"),
        ("#### 18.5", "18"),
        ("#### 7", "-7"),
        ("First 18, and then 3 more", "18"),
        ("18 is close\n#### 17", "18"),
        ("#### 12,34", "1234"),
    ],
)
def test_any_other_answer_is_wrong(text: str, answer: str) -> None:
    assert not is_right(text, answer)


def test_the_answer_of_a_workload_comes_with_its_prompts_and_has_to_be_a_number(tmp_path: Path) -> None:
    file = tmp_path / "math.jsonl"
    file.write_text(json.dumps({**LINE, "answer": "1,800"}))
    assert read_workload(file).prompts[0].answer == "1,800"
    file.write_text(json.dumps({**LINE, "answer": "four"}))
    with pytest.raises(ConfigurationError, match=r"math\.jsonl, line 1.*should be a number"):
        read_workload(file)


def test_what_counts_as_right_is_part_of_the_digest_and_no_answer_is_not() -> None:
    check = standin_check()

    def with_answer(answer: str) -> str:
        prompts = tuple(replace(prompt, answer=answer) for prompt in check.workloads[0].prompts)
        return digest_of(replace(check, workloads=(Workload("code", prompts, "0" * 64),)))

    assert len({digest_of(check), with_answer("4"), with_answer("5")}) == 3
    assert with_answer("") == digest_of(check)


def test_the_checks_for_real_models_are_scored_and_the_synthetic_ones_are_not() -> None:
    for check in load_checks().values():
        scored = [prompt for workload in check.workloads for prompt in workload.prompts if prompt.answer]
        long = any(workload.name in {"long", "long16k", "shared16k"} for workload in check.workloads[:1])
        real = check.model.kind != "synthetic" and not long
        assert (len(scored) >= 10) is real, check.id
