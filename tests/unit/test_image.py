"""What the container of `Dockerfile` has to bring for engines."""

from __future__ import annotations

import re
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parents[2] / "Dockerfile"


def test_the_image_has_what_engines_compile_with_and_runs_without_rights() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    as_root, as_user = text.split("\nUSER monitor\n")
    installed = re.search(r"apt-get install ([^&]+)&&", as_root)
    assert installed
    assert {"gcc", "g++", "libc6-dev"} <= set(installed[1].split())
    assert "apt-get" not in as_user
