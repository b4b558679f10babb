"""The index of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

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
