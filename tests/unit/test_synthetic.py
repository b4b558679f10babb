"""Synthetic models: the same recipe gives the same file everywhere, and noise touches the MTP head alone."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from monitor.checks import synthetic
from monitor.checks.loader import load_checks, select_prompts
from monitor.checks.synthetic import SyntheticRecipe, followers, write_model
from monitor.checks.synthetic_tokens import FIRST_SYLLABLE, TOKENS
from monitor.domain import Tier
from monitor.errors import ConfigurationError

SYNTHETIC = [check for check in load_checks().values() if check.model.kind == "synthetic"]
TABLE = {"n_embd": 64, "n_layer": 4, "n_ff": 128, "noise": 1.1, "seed": 7}
RECIPE = SyntheticRecipe.from_dict(TABLE)


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def test_a_recipe_gives_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    written = write_model(RECIPE, tmp_path / "model.gguf")
    assert written.sha256 == "bff79409d0535a54e8c55d2b7b250bd6f059ca8a1d2b0920df40a358f7be7079"
    assert written.bytes == written.path.stat().st_size == 1_193_408
    assert write_model(replace(RECIPE, seed=8), tmp_path / "other.gguf").sha256 != written.sha256


def test_noise_changes_the_projection_of_the_mtp_block_and_nothing_else(tmp_path: Path) -> None:
    quiet = tensors(write_model(replace(RECIPE, noise=0.0), tmp_path / "quiet.gguf").path)
    loud = tensors(write_model(replace(RECIPE, noise=3.0), tmp_path / "loud.gguf").path)
    changed = {name for name in quiet if not np.array_equal(quiet[name], loud[name])}
    assert changed == {"blk.4.nextn.eh_proj.weight"}
    (name,) = changed
    assert np.array_equal(quiet[name], np.eye(64, 128, dtype=np.float32))
    # What it adds to an input of root mean square 1 in each half has the root mean square of `noise`.
    added = (loud[name] - quiet[name]).std() * np.sqrt(128)
    assert added == pytest.approx(3.0, rel=0.05)


def test_greedy_decoding_walks_one_cycle_longer_than_any_answer_of_a_check() -> None:
    follows = followers()
    assert all(follows >= FIRST_SYLLABLE)
    token, seen = int(follows[ord("x")]), set()
    while token not in seen:
        seen.add(token)
        token = int(follows[token])
    assert seen == set(range(FIRST_SYLLABLE, len(TOKENS)))
    assert SYNTHETIC
    for check in SYNTHETIC:
        assert all(prompt.max_tokens < len(seen) for prompt in select_prompts(check, Tier.FULL))


def test_prompts_with_different_ends_get_different_answers() -> None:
    assert len(set(followers()[:FIRST_SYLLABLE].tolist())) >= len(TOKENS) - FIRST_SYLLABLE


def test_everything_said_is_readable() -> None:
    said = "".join(TOKENS[FIRST_SYLLABLE:]).replace(TOKENS[0x20], " ")
    assert said.isascii()
    assert said.isprintable()
    assert len(set(TOKENS)) == len(TOKENS) == 512


def test_the_recipes_of_the_shipped_checks_are_usable() -> None:
    for check in SYNTHETIC:
        SyntheticRecipe.from_dict(check.model.recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_embed": 64}, "`model.recipe.n_embed` is unknown; did you mean 'n_embd'?"),
        ({"n_embd": 100}, "`model.recipe.n_embd` is 100; allowed: multiples of 64 up to 8192"),
        ({"n_layer": 6}, "`model.recipe.n_layer` is 6; allowed: multiples of 4 up to 64"),
        ({"n_ff": True}, "`model.recipe.n_ff` is True"),
        ({"noise": float("nan")}, "`model.recipe.noise` is nan; allowed: a number from 0 up"),
        ({"noise": "much"}, "`model.recipe.noise` is 'much'"),
        ({"seed": -1}, "`model.recipe.seed` is -1; allowed: integers from 0"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_by_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SyntheticRecipe.from_dict({**TABLE, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize("key", sorted(TABLE))
def test_a_recipe_that_lacks_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"`model.recipe.{key}` is missing"):
        SyntheticRecipe.from_dict({name: value for name, value in TABLE.items() if name != key})


def test_a_full_disk_leaves_the_earlier_model_and_no_half_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"earlier")
    real = synthetic.weights

    def fill(recipe: SyntheticRecipe, name: str, shape: tuple[int, ...]) -> Any:
        if name == "blk.2.ffn_up.weight":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(recipe, name, shape)

    monkeypatch.setattr(synthetic, "weights", fill)
    with pytest.raises(OSError, match="No space left"):
        write_model(RECIPE, path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    assert path.read_bytes() == b"earlier"
