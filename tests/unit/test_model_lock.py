"""The lock file: weights are those of the first run, until a person says otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.checks.lock import FILE, ModelLock
from monitor.checks.models import VerifiedModel
from monitor.domain import ModelSpec
from monitor.errors import ModelError

SPEC = ModelSpec("big", "huggingface", repository="org/big", revision="main")


def found(commit: str = "a" * 40, **files: str) -> VerifiedModel:
    return VerifiedModel(
        path=Path("/models/big"), sha256="0" * 64, files={"w": "1" * 64} | files, bytes=1, revision=commit
    )


def test_the_first_files_are_kept_and_the_same_ones_pass(tmp_path: Path) -> None:
    ModelLock(tmp_path).confirm(SPEC, found())
    ModelLock(tmp_path).confirm(SPEC, found())
    ModelLock(tmp_path).confirm(SPEC, found(commit="b" * 40))  # the same files under another commit
    assert '"commit": "aaaa' in (tmp_path / FILE).read_text(encoding="utf-8")


def test_other_files_are_refused_and_named(tmp_path: Path) -> None:
    lock = ModelLock(tmp_path)
    lock.confirm(SPEC, found(config="2" * 64))
    with pytest.raises(ModelError) as refused:
        lock.confirm(SPEC, found("b" * 40, w="3" * 64, extra="4" * 64))
    assert "w is another file" in refused.value.what
    assert "config is gone" in refused.value.what
    assert "extra is new" in refused.value.what
    assert "aaaaaaaaaaaa → bbbbbbbbbbbb" in refused.value.what
    assert "mtp-monitor models accept big" in refused.value.advice


def test_accepted_files_are_a_generation_of_their_own(tmp_path: Path) -> None:
    lock = ModelLock(tmp_path)
    lock.confirm(SPEC, found())
    assert lock.generation(SPEC) == 1
    assert "w is another file" in lock.accept(SPEC, found(w="3" * 64))
    assert lock.generation(SPEC) == 2
    lock.confirm(SPEC, found(w="3" * 64))
    assert lock.accept(SPEC, found(w="3" * 64)) == ""
    assert lock.generation(SPEC) == 2


def test_another_revision_asked_for_is_another_model(tmp_path: Path) -> None:
    lock = ModelLock(tmp_path)
    lock.confirm(SPEC, found())
    lock.confirm(replace(SPEC, revision="b" * 40), found("b" * 40, w="3" * 64))


@pytest.mark.parametrize("text", ["", "[]", '{"models": {"x": 1}}', '{"models": {"x": {"generation": "?"}}}'])
def test_a_damaged_lock_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be understood"):
        ModelLock(tmp_path).confirm(SPEC, found())
    assert (tmp_path / FILE).read_text(encoding="utf-8") == text
