"""The documentation: its index, its links, and examples that can be taken as they stand."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from monitor.checks.definition import ArmTable
from monitor.settings_tables import SourceSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w.]+)\)", index))
    assert {page.name for page in DOCS.iterdir() if page.suffix in {".md", ".json"}} - {"README.md"} == linked


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in link or (DOCS / link).exists(), f"{page.name}: {link}"


def test_every_file_that_a_page_names_is_there() -> None:
    parts = "alembic|benchmarks|docs|monitor|templates|tests"
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for path in re.findall(rf"`((?:{parts})/[\w./-]*)", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def examples(page: str) -> list[dict[str, Any]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        tomllib.loads(found) for found in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def test_every_source_of_an_example_is_accepted_and_both_engines_have_images_among_them() -> None:
    tables = [table for example in examples("sources.md") for table in example.get("sources", ())]
    sources = [SourceSettings.model_validate(table) for table in tables]
    images = {source.project: f"{source.image}:{source.tag}" for source in sources if source.image}
    assert images["vllm"] == "docker.io/vllm/vllm-openai:v{version}"
    assert "llama.cpp" in images


def test_every_arm_of_an_example_is_accepted() -> None:
    tables = [example["arms"] for example in examples("writing_a_check.md") if "arms" in example]
    arms = [(name, ArmTable.model_validate(arm)) for table in tables for name, arm in table.items()]
    drafting = [arm for name, arm in arms if name == "draft_model"]
    assert all(arm.model is not None for arm in drafting)
    assert any(arm.serve for arm in drafting)
