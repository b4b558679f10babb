"""How a release comes: what its files are, and so how an environment is made of one.

A table, so that what a file is said to be does not depend on who asks: which releases can be measured, which
builder makes the environment, and what a page calls it.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase

from packaging.utils import canonicalize_name

from monitor.domain.images import is_image
from monitor.domain.releases import Artifact


class Packaging(StrEnum):
    """What one file of a release is."""

    WHEEL = "wheel"
    ARCHIVE = "archive"
    """Programs that its makers have built."""
    SOURCE = "source"
    """A source archive that is built here."""
    IMAGE = "image"
    """A container image."""


_PACKAGINGS: tuple[tuple[str, Packaging], ...] = (
    ("*.whl", Packaging.WHEEL),
    ("llama-*-bin-*.tar.gz", Packaging.ARCHIVE),
    ("llama-*-bin-*.zip", Packaging.ARCHIVE),
    ("llama_cpp_python-*.tar.gz", Packaging.SOURCE),
)
"""File name pattern → what such a file is; the first that fits counts."""


def packaging_of(artifact: Artifact) -> Packaging | None:
    """Return what the file of an artifact is, None for what no environment can be made of."""
    if is_image(artifact):
        return Packaging.IMAGE
    return next((kind for pattern, kind in _PACKAGINGS if fnmatchcase(artifact.filename, pattern)), None)


def is_compiled(project: str) -> bool:
    """Say whether source archives of a project are compiled here."""
    # https://packaging.python.org/en/latest/specifications/source-distribution-format/
    archive = f"{canonicalize_name(project).replace('-', '_')}-0.tar.gz"
    return any(fnmatchcase(archive, pattern) for pattern, kind in _PACKAGINGS if kind is Packaging.SOURCE)
