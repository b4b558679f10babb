from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import Yard

from acceptance.conftest import house, stand_ins, wheel

__all__ = ["house", "stand_ins", "wheel", "yard"]


@pytest.fixture(scope="session")
def yard(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Return a state folder with one quiet release measured, which can be put back as it was."""
    with Yard.opened(tmp_path_factory.mktemp("yard"), wheel) as made:
        yield made
