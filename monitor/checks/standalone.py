"""A synthetic model's generator in a few files, for those who have no monitor: the very code that made it.

It is cut out of this package's own source, so there is no second generator that could drift from the first.
"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
from enum import Enum
from types import ModuleType
from typing import Any

from monitor.checks import (
    synthetic,
    synthetic_checkpoint,
    synthetic_families,
    synthetic_recipe,
    synthetic_tokens,
)
from monitor.checks.synthetic_recipe import Form, SyntheticRecipe

REQUIREMENTS = ("gguf", "numpy")
"""Distributions the script needs."""
_GGUF = (synthetic_tokens, synthetic_recipe, synthetic)
_PARTS: dict[Form, tuple[tuple[ModuleType, ...], str, str]] = {
    Form.GGUF: (_GGUF, "from synthetic import write_model", "[write_model({recipe}, target)]"),
    Form.CHECKPOINT: (
        (*_GGUF, synthetic_families, synthetic_checkpoint),
        "from synthetic_checkpoint import write_checkpoint",
        "write_checkpoint({recipe}, target)",
    ),
}
"""Form → the modules that write it, and how it is called."""
PROGRAM = "make_model.py"
_PACKAGE = "monitor.checks"
_LEFT_OUT = frozenset({"from_dict", "_check_sizes", "_check_numbers", "_one_of"})
"""They read a check's table, which a script has no use for."""


def requirements() -> tuple[str, ...]:
    """Return the script's requirements as they are here: NAME==VERSION."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS)


def files(recipe: SyntheticRecipe) -> dict[str, str]:
    """Return name → source; the program among them writes the model of `recipe` to the path it is given."""
    values = ", ".join(f"{name}={_value(getattr(recipe, name))}" for name in recipe.__dataclass_fields__)
    modules, wanted, call = _PARTS[recipe.form]
    program = [
        f'"""Writes the model and prints the sha256 of its files: python {PROGRAM} TARGET."""',
        "import sys",
        "from pathlib import Path",
        "",
        wanted,
        "from synthetic_recipe import Family, Form, SyntheticRecipe",
        "",
        "target = Path(sys.argv[1])",
        f"for written in {call.format(recipe=f'SyntheticRecipe({values})')}:",
        "    print(written.sha256, written.path)",
    ]
    sources = {f"{module.__name__.rpartition('.')[2]}.py": _source(module) for module in modules}
    return {**sources, PROGRAM: "\n".join(program)}


def _value(value: Any) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else repr(value)


def _source(module: ModuleType) -> str:
    """Return a module's source without documentation, imports of this package and what is left out."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if _is_left_out(node) and isinstance(node, ast.stmt):
            first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", ()))])
            for number in range(first - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    kept = "\n".join(line for line in lines if line.strip())
    return kept.replace(f"from {_PACKAGE}.", "from ")


def _is_left_out(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return module.startswith("monitor") and not module.startswith(f"{_PACKAGE}.")
    if isinstance(node, ast.FunctionDef):
        return node.name in _LEFT_OUT
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
