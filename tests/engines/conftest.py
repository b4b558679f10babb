from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import uv

from monitor.checks.loader import load_check
from monitor.checks.synthetic import SyntheticRecipe, write_model
from monitor.domain import Environment
from standins.engine import environment_of


@pytest.fixture(scope="session")
def environment_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """Install a version of xllamacpp from the real index, once a test run."""

    @cache
    def install(version: str) -> Environment:
        folder = tmp_path_factory.mktemp(f"xllamacpp-{version}") / "environment"
        program = uv.find_uv_bin()
        subprocess.run([program, "venv", "--quiet", folder], check=True)
        python = folder / "bin" / "python"
        wanted = ["--python", str(python), f"xllamacpp=={version}"]
        subprocess.run([program, "pip", "install", "--quiet", *wanted], check=True)
        return environment_of(python, version)

    return install


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the model of the check `synthetic-qwen35-tiny`."""
    recipe = SyntheticRecipe.from_dict(load_check("synthetic-qwen35-tiny").model.recipe)
    return write_model(recipe, tmp_path_factory.mktemp("model") / "tiny.gguf").path
