"""Check definitions: what a file expands to, and what a mistake in one is answered with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from monitor.checks import loader
from monitor.domain import Tier
from monitor.errors import ConfigurationError, UnknownNameError

TEXT = """
schema = "mtp-monitor/check/1"
id = "mine"
title = "Mine"
engine = "vllm"
projects = ["vllm"]
quantisation = "FP8"
draft_length = 3
workloads = ["code.jsonl"]

[model]
name = "m"
kind = "huggingface"
repository = "org/m"
revision = "0123456789abcdef0123456789abcdef01234567"

[sampling]
temperature = 0

[estimate_minutes]
quick = 1
full = 2
"""


def prompt(number: int, **other: object) -> str:
    line = {
        "id": f"p{number}",
        "workload": "code",
        "max_tokens": 64,
        "text": f"question {number}",
        "source": "self",
        "licence": "MIT",
    }
    return json.dumps(line | other)


def folder(tmp_path: Path, text: str = TEXT, lines: list[str] | None = None) -> Path:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    content = "\n".join(lines if lines is not None else [prompt(number) for number in range(5)])
    (tmp_path / "code.jsonl").write_text(content, encoding="utf-8")
    return tmp_path


def refusal(tmp_path: Path, text: str = TEXT, lines: list[str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loader.load_checks([folder(tmp_path, text, lines)])
    return str(caught.value)


def test_an_own_check_stands_beside_those_that_ship(tmp_path: Path) -> None:
    checks = loader.load_checks([folder(tmp_path)])
    assert "synthetic-qwen35-cpu" in checks
    assert checks["mine"].projects == ("vllm",)
    assert checks["mine"].draft_length == 3
    assert list(checks) == sorted(checks)


def test_the_quick_tier_is_the_beginning_of_each_workload(tmp_path: Path) -> None:
    check = loader.load_check("mine", [folder(tmp_path)])
    quick = loader.select_prompts(check, Tier.QUICK)
    full = loader.select_prompts(check, Tier.FULL)
    assert [one.id for one in quick] == ["p0", "p1"]
    assert [one.id for one in full] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_matrix_expands_to_checks_of_their_own(tmp_path: Path) -> None:
    text = TEXT.replace("draft_length = 3\n", "")
    text += '[matrix]\ndraft_length = [2, 4]\n"sampling.temperature" = [0, 0.7]\n'
    text += "[expect]\nmin_speedup = 1.1\n[expect.n4]\nmin_speedup = 1.5\n"
    checks = loader.load_checks([folder(tmp_path, text)])
    mine = {name: check for name, check in checks.items() if name.startswith("mine")}
    assert list(mine) == [
        "mine.n2.temperature-0",
        "mine.n2.temperature-0.7",
        "mine.n4.temperature-0",
        "mine.n4.temperature-0.7",
    ]
    hot = mine["mine.n4.temperature-0.7"]
    assert (hot.draft_length, hot.sampling) == (4, {"temperature": 0.7})
    assert {name: check.expect.min_speedup for name, check in mine.items()} == {
        "mine.n2.temperature-0": 1.1,
        "mine.n2.temperature-0.7": 1.1,
        "mine.n4.temperature-0": 1.5,
        "mine.n4.temperature-0.7": 1.5,
    }
    assert len({check.digest for check in mine.values()}) == 4


def test_estimates_can_be_those_of_one_combination(tmp_path: Path) -> None:
    text = TEXT.replace("draft_length = 3\n", "") + "[estimate_minutes.n4]\nfull = 3\n"
    checks = loader.load_checks([folder(tmp_path, text + "[matrix]\ndraft_length = [2, 4]\n")])
    assert checks["mine.n2"].estimate_minutes == {"quick": 1, "full": 2}
    assert checks["mine.n4"].estimate_minutes == {"quick": 1, "full": 3}
    assert "`estimate_minutes.n4` fits no combination" in refusal(
        tmp_path, text + "[matrix]\nrepeats = [1]\n"
    )


STREAMS = TEXT.replace("draft_length = 3\n", "draft_length = 3\nconcurrency = 2\n")


def test_a_tier_with_too_few_prompts_for_its_streams_is_refused_with_what_to_do(tmp_path: Path) -> None:
    text = refusal(tmp_path, STREAMS)
    assert "the quick tier of mine has 2 answers for 2 streams" in text
    assert "fewer than 4" in text
    assert "raise `quick_prompts_per_workload` or `repeats`" in text
    text = refusal(
        tmp_path, STREAMS.replace("[model]", "quick_prompts_per_workload = 9\n[model]", 1), [prompt(0)]
    )
    assert "the quick tier of mine has 1 answers" in text


@pytest.mark.parametrize("added", ["quick_prompts_per_workload = 4", "repeats = 2"])
def test_twice_as_many_answers_as_streams_are_enough(tmp_path: Path, added: str) -> None:
    text = STREAMS.replace("[model]", f"{added}\n[model]", 1)
    assert loader.load_check("mine", [folder(tmp_path, text)]).concurrency == 2


def test_one_stream_takes_any_number_of_prompts(tmp_path: Path) -> None:
    text = TEXT.replace("[model]", "quick_prompts_per_workload = 1\n[model]", 1)
    assert loader.load_check("mine", [folder(tmp_path, text, [prompt(0)])]).concurrency == 1


def test_an_unknown_check_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'synthetic-qwen35-cpu'"):
        loader.load_check("synthetic-qwen-cpu")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("draft_length = 3", "draft_lenght = 3", ["`draft_lenght` is unknown", "'draft_length'"]),
        ("draft_length = 3", "draft_length = 0", ["`draft_length` is 0", "greater than or equal to 1"]),
        ("draft_length = 3", 'draft_length = "3"', ["`draft_length` is '3'", "integer"]),
        ("draft_length = 3", "", ["`draft_length` is missing"]),
        ('engine = "vllm"', 'engine = "vlm"', ["`engine` is 'vlm'", "'vllm'"]),
        ("check/1", "check/2", ["`schema` is 'mtp-monitor/check/2'", "'mtp-monitor/check/1'"]),
        ('id = "mine"', 'id = "My Check"', ["`id` is 'My Check'"]),
        ("code.jsonl", "none.jsonl", ["none.jsonl", "cannot be read"]),
        ('kind = "huggingface"', 'kind = "path"', ["`model`", "needs files"]),
        ('repository = "org/m"', "", ["`model`", "needs repository"]),
        ('repository = "org/m"', 'repository = "org/m"\nrecipe = {seed = 1}', ["`model`", "has no recipe"]),
        ('repository = "org/m"', 'repository = "../m/x"', ["`model.repository`"]),
        ("temperature = 0", "temperature = nan", ["`sampling.temperature` is nan", "finite"]),
        ("[sampling]", "[judging]\nflor_rate = 1\n[sampling]", ["`judging`", "'floor_rate'"]),
        (
            "[sampling]",
            "[judging]\nblocks_reference = 1\n[sampling]",
            ["`judging`", "is 1", "from 2 (blocks_min)"],
        ),
        ("[sampling]", "[judging]\nblocks_reference = 13\n[sampling]", ["is 13", "whole number", "to 12"]),
        ("[sampling]", "[judging]\nblocks_max = 4\nblocks_reference = 7\n[sampling]", ["is 7", "to 6"]),
        ("[sampling]", "[judging]\nblocks_reference = 2.5\n[sampling]", ["is 2.5", "whole number"]),
        ("[sampling]", "[expect.n9]\nmin_speedup = 1\n[sampling]", ["`expect.n9` fits no combination"]),
        ("[sampling]", "[matrix]\ntitle = ['a']\n[sampling]", ["`matrix.title` cannot vary"]),
        ("[sampling]", "[matrix]\ndraft_length = [2, 2]\n[sampling]", ["`matrix.draft_length`", "different"]),
        ("[sampling]", "[matrix]\ndraft_length = []\n[sampling]", ["`matrix.draft_length`"]),
        ('id = "mine"', 'id = "synthetic-qwen35-cpu"', ["'synthetic-qwen35-cpu' is taken"]),
        ("[model]", "[model", ["not valid TOML"]),
    ],
)
def test_a_mistake_in_a_definition_names_the_file_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert old in TEXT
    message = refusal(tmp_path, TEXT.replace(old, new, 1))
    for part in [str(tmp_path), *expected]:
        assert part in message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "has no prompts"),
        ([prompt(0), "{"], "line 2: not valid JSON"),
        ([prompt(0), prompt(0)], "line 2: the prompt id 'p0' stands there twice"),
        ([prompt(0), prompt(1, workload="math")], "line 2: workload 'math' in a file of 'code'"),
        ([prompt(0, max_tokens=0)], "`max_tokens` is 0"),
        ([prompt(0, messages=[{"role": "user", "content": "x"}])], "give either text or messages"),
        ([prompt(0, text=None)], "give either text or messages"),
        ([prompt(0, turns=["x"])], "`turns` is unknown"),
        ([prompt(0, licence="")], "`licence`"),
    ],
)
def test_a_mistake_in_a_workload_names_the_line(tmp_path: Path, lines: list[str], expected: str) -> None:
    message = refusal(tmp_path, TEXT, lines)
    assert "code.jsonl" in message
    assert expected in message


def test_two_workloads_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "again.jsonl").write_text(prompt(9), encoding="utf-8")
    assert "same name" in refusal(tmp_path, TEXT.replace('"code.jsonl"', '"code.jsonl", "again.jsonl"'))


def test_a_folder_of_checks_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="check_dirs"):
        loader.load_checks([tmp_path / "none"])


@pytest.mark.parametrize(
    ("model", "pinned"),
    [
        ('revision = "0123456789abcdef0123456789abcdef01234567"', True),
        ('revision = "main"', False),
        (f'revision = "main"\nfiles = ["a"]\nsha256 = {{a = "{"0" * 64}"}}', True),
        (f'revision = "main"\nfiles = ["a", "b"]\nsha256 = {{a = "{"0" * 64}"}}', False),
    ],
)
def test_weights_that_may_change_under_a_check_are_known(tmp_path: Path, model: str, pinned: bool) -> None:
    text = TEXT.replace('revision = "0123456789abcdef0123456789abcdef01234567"', model)
    check = loader.load_check("mine", [folder(tmp_path, text)])
    assert loader.unpinned(check) == ([] if pinned else ["m"])


def test_the_example_in_the_docs_is_a_check(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "writing_a_check.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    line = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example
    assert line
    text = example[1].replace('"workloads/code.jsonl", "workloads/prose.jsonl"', '"code.jsonl"')
    (tmp_path / "doc.toml").write_text(text, encoding="utf-8")
    (tmp_path / "code.jsonl").write_text(line[1], encoding="utf-8")
    checks = loader.read_file(tmp_path / "doc.toml")
    assert [check.id for check in checks] == ["my-model-vllm.n2", "my-model-vllm.n3", "my-model-vllm.n4"]
    assert [check.expect.min_acceptance for check in checks] == [None, None, 0.25]
