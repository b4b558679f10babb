"""Synthetic checkpoints: the numbers and tokens of the GGUF, and a head whose noise is all that differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from monitor.checks.loader import load_checks
from monitor.checks.models import fetch, verify
from monitor.checks.synthetic import write_model
from monitor.checks.synthetic_checkpoint import rounded, write_checkpoint
from monitor.checks.synthetic_recipe import Family, Form, SyntheticRecipe
from monitor.checks.synthetic_tokens import TOKENS
from monitor.errors import ConfigurationError

TABLE = {"n_embd": 128, "n_layer": 4, "n_ff": 256, "noise": 0, "seed": 7, "form": "checkpoint"}
QWEN = SyntheticRecipe.from_dict(TABLE | {"head": 128})
HEADS = {
    Family.QWEN35: "mtp.fc.weight",
    Family.MIMO: "model.mtp_layers.0.input_proj.weight",
    Family.GEMMA4_ASSISTANT: "pre_projection.weight",
}


def weights(folder: Path) -> dict[str, Any]:
    """Read a safetensors file by its published format: name → F32 values."""
    content = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    assert header.pop("__metadata__") == {"format": "pt"}
    found, end = {}, 0
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        start, stop = entry["data_offsets"]
        assert start == end
        end = stop
        bits = np.frombuffer(data[start:stop], dtype="<u2").astype("<u4") << 16
        found[name] = bits.view("<f4").reshape(entry["shape"])
    assert end == len(data)
    return found


def test_a_recipe_gives_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    files = {file.path.name: file.sha256[:16] for file in write_checkpoint(QWEN, tmp_path)}
    assert files == {
        "config.json": "b3512a87486707d5",
        "generation_config.json": "4583f570cc968e31",
        "model.safetensors": "d535087a7d70b386",
        "tokenizer.json": "45a826b1f2332b29",
        "tokenizer_config.json": "58ce163fccdedb51",
    }


def test_the_checkpoint_holds_the_numbers_of_the_gguf_of_the_same_recipe(tmp_path: Path) -> None:
    recipe = replace(QWEN, noise=1.5)
    write_checkpoint(recipe, tmp_path)
    found = weights(tmp_path)
    path = write_model(replace(recipe, form=Form.GGUF), tmp_path / "model.gguf").path
    original = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    assert len(found) == len(original)
    for name, other in {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "blk.0.attn_qkv.weight": "model.layers.0.linear_attn.in_proj_qkv.weight",
        "blk.3.attn_q.weight": "model.layers.3.self_attn.q_proj.weight",
        "blk.4.attn_q.weight": "mtp.layers.0.self_attn.q_proj.weight",
        "blk.4.nextn.eh_proj.weight": "mtp.fc.weight",
    }.items():
        assert np.allclose(found[other], original[name], rtol=2**-8, atol=0), other
    assert not found["model.layers.0.linear_attn.A_log"].any()  # llama.cpp keeps −exp of it
    assert not found["model.layers.0.input_layernorm.weight"].any()  # 1 + weight
    assert (found["model.layers.0.linear_attn.norm.weight"] == 1).all()


@pytest.mark.parametrize("family", HEADS)
def test_noise_touches_the_head_alone(tmp_path: Path, family: Family) -> None:
    quiet = SyntheticRecipe.from_dict(TABLE | {"family": family.value})
    write_checkpoint(quiet, tmp_path / "quiet")
    write_checkpoint(replace(quiet, noise=2.0), tmp_path / "loud")
    before, after = weights(tmp_path / "quiet"), weights(tmp_path / "loud")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {HEADS[family]}
    columns = slice(128, 256) if family is Family.MIMO else slice(0, 128)  # where the embedding comes in
    assert np.array_equal(before[HEADS[family]][:, columns], np.eye(128, dtype=np.float32))


def test_the_target_of_gemma_has_no_head_and_its_assistant_no_keys(tmp_path: Path) -> None:
    for family, noise in ((Family.GEMMA4, 0.0), (Family.GEMMA4, 3.0), (Family.GEMMA4_ASSISTANT, 0.0)):
        recipe = replace(SyntheticRecipe.from_dict(TABLE | {"family": family.value}), noise=noise)
        write_checkpoint(recipe, tmp_path / f"{family.value}-{noise}")
    target = weights(tmp_path / "gemma4-0.0")
    assert all(
        np.array_equal(values, target[name]) for name, values in weights(tmp_path / "gemma4-3.0").items()
    )
    assistant = weights(tmp_path / "gemma4-assistant-0.0")
    assert not [name for name in assistant if "k_proj" in name or "v_proj" in name]
    assert np.array_equal(assistant["model.embed_tokens.weight"], target["lm_head.weight"])


def test_the_tokenizer_reads_every_byte_as_the_gguf_does(tmp_path: Path) -> None:
    write_checkpoint(QWEN, tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    assert [vocabulary[token] for token in TOKENS] == list(range(len(TOKENS)))
    *_, byte_level = tokenizer["pre_tokenizer"]["pretokenizers"]
    assert byte_level["add_prefix_space"] is False
    assert json.loads((tmp_path / "config.json").read_text())["text_config"]["vocab_size"] == len(TOKENS)


def test_bf16_is_the_nearest_and_ties_go_to_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, 1.005, -2.5], dtype=np.float32)
    assert [f"{bits:04x}" for bits in rounded(values)] == ["3f80", "3f80", "3f82", "3f81", "c020"]


def test_the_models_of_the_checks_are_folders_that_verify(tmp_path: Path) -> None:
    specs = [
        spec
        for check in load_checks().values()
        for spec in (check.model, check.draft_model)
        if spec is not None and spec.recipe.get("form") == "checkpoint"
    ]
    assert {spec.recipe["family"] for spec in specs} == {family.value for family in Family}
    for spec in specs:
        folder = fetch(spec, tmp_path)
        assert folder.is_dir()
        assert verify(spec, tmp_path).path == folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "llama"}, '`model.recipe.family` is \'llama\'; allowed: "qwen3.5", "mimo"'),
        ({"form": "onnx"}, "`model.recipe.form` is 'onnx'"),
        ({"head": 48}, "`model.recipe.head` is 48; allowed: 32, 64, 128"),
        ({"family": "mimo", "form": "gguf"}, 'the family mimo is written as "checkpoint"'),
    ],
)
def test_a_recipe_for_no_known_shape_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SyntheticRecipe.from_dict(TABLE | change)
    assert message in str(caught.value)
