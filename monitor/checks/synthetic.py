"""Tiny models with a real MTP head and a dialled acceptance: weights out of a seed, nothing downloaded.

The target is almost a Markov chain. The output row of the token that follows t equals the embedding of t,
the followers form one large cycle over readable syllables, and the decoder layers add only a little on top,
so greedy decoding walks the cycle. The MTP block's input projection copies the embedding of the newest
token, so its draft is the target's own choice, except where the `noise` laid over that projection turns it.
Noise never touches the target: its greedy output stays, and acceptance alone moves. Attention, the gated
delta nets and the feed-forward layers hold weights of ordinary size, so that a step costs what it would cost.

What the tensors are called and how they are shaped is llama.cpp's `src/models/qwen35.cpp`.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from monitor.checks.synthetic_recipe import (
    BRANCH,
    CONTEXT,
    EPSILON,
    FULL_ATTENTION_INTERVAL,
    SyntheticRecipe,
    Weights,
    followers,
)
from monitor.checks.synthetic_tokens import MERGES, TOKENS, token_types

__all__ = ["SyntheticRecipe", "WrittenModel", "followers", "tensors", "weights", "write_model"]

ARCHITECTURE = "qwen35"
CONVOLUTION = 4  # tokens that a delta net's convolution sees
ROPE_SECTIONS = (4, 2, 2, 0)  # pairs rotated by each of the four positions of Qwen's M-RoPE
ROPE_BASE = 10000.0


@dataclass(frozen=True, slots=True)
class WrittenModel:
    """A model file as it was just written."""

    path: Path
    sha256: str
    bytes: int


def write_model(recipe: SyntheticRecipe, path: Path) -> WrittenModel:
    """Write the model of `recipe` as a GGUF file with F32 weights; an existing file is replaced.

    Equal recipes give equal bytes. Memory stays at the size of the largest tensor.

    Raises:
        OSError: when the file cannot be written; a half-written one does not keep the name.

    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(part, ARCHITECTURE)
    try:
        _add_keys(writer, recipe)
        plan = tensors(recipe)
        for name, shape in plan.items():
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * math.prod(shape))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, shape in plan.items():
            writer.write_tensor_data(weights(recipe, name, shape))
        writer.close()
        written = _describe(part, path)
        part.replace(path)
    finally:
        writer.close()
        part.unlink(missing_ok=True)
    return written


def _add_keys(writer: gguf.GGUFWriter, recipe: SyntheticRecipe) -> None:
    heads = recipe.heads
    writer.add_name("mtp-monitor synthetic model")
    numbers = {
        "context_length": CONTEXT,
        "embedding_length": recipe.n_embd,
        "block_count": recipe.n_layer + 1,  # llama.cpp counts the MTP block among the blocks
        "nextn_predict_layers": 1,
        "feed_forward_length": recipe.n_ff,
        "attention.head_count": heads,
        "attention.head_count_kv": heads // 2,
        "attention.key_length": recipe.head,
        "attention.value_length": recipe.head,
        "full_attention_interval": FULL_ATTENTION_INTERVAL,
        "rope.dimension_count": 2 * sum(ROPE_SECTIONS),
        "ssm.conv_kernel": CONVOLUTION,
        "ssm.state_size": recipe.head,
        "ssm.group_count": heads,
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * recipe.head,
    }
    for key, value in numbers.items():
        writer.add_uint32(f"{ARCHITECTURE}.{key}", value)
    writer.add_array(f"{ARCHITECTURE}.rope.dimension_sections", list(ROPE_SECTIONS))
    writer.add_float32(f"{ARCHITECTURE}.rope.freq_base", ROPE_BASE)
    writer.add_float32(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types(token_types())
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(TOKENS.index("<|endoftext|>"))
    writer.add_add_bos_token(value=False)


def tensors(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    """Return name → shape (rows, columns) in the order of the file."""
    plan: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(TOKENS), recipe.n_embd),
        "output_norm.weight": (recipe.n_embd,),
        "output.weight": (len(TOKENS), recipe.n_embd),
    }
    for layer in range(recipe.n_layer + 1):
        full = layer == recipe.n_layer or (layer + 1) % FULL_ATTENTION_INTERVAL == 0
        mixer = _attention(recipe) if full else _delta_net(recipe)
        block = {**mixer, **_feed_forward(recipe), **(_mtp(recipe) if layer == recipe.n_layer else {})}
        plan.update({f"blk.{layer}.{name}": shape for name, shape in block.items()})
    return plan


def _attention(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    heads, width = recipe.heads, recipe.n_embd
    return {
        "attn_norm.weight": (width,),
        "attn_q.weight": (2 * heads * recipe.head, width),  # queries and their output gates
        "attn_k.weight": (heads // 2 * recipe.head, width),
        "attn_v.weight": (heads // 2 * recipe.head, width),
        "attn_q_norm.weight": (recipe.head,),
        "attn_k_norm.weight": (recipe.head,),
        "attn_output.weight": (width, heads * recipe.head),
    }


def _delta_net(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    heads, width = recipe.heads, recipe.n_embd
    return {
        "attn_norm.weight": (width,),
        "attn_qkv.weight": (3 * heads * recipe.head, width),
        "attn_gate.weight": (heads * recipe.head, width),
        "ssm_conv1d.weight": (3 * heads * recipe.head, CONVOLUTION),
        "ssm_dt.bias": (heads,),
        "ssm_a": (heads,),
        "ssm_beta.weight": (heads, width),
        "ssm_alpha.weight": (heads, width),
        "ssm_norm.weight": (recipe.head,),
        "ssm_out.weight": (width, heads * recipe.head),
    }


def _feed_forward(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    return {
        "post_attention_norm.weight": (recipe.n_embd,),
        "ffn_gate.weight": (recipe.n_ff, recipe.n_embd),
        "ffn_up.weight": (recipe.n_ff, recipe.n_embd),
        "ffn_down.weight": (recipe.n_embd, recipe.n_ff),
    }


def _mtp(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    return {
        "nextn.eh_proj.weight": (recipe.n_embd, 2 * recipe.n_embd),  # columns: embedding, then hidden state
        "nextn.enorm.weight": (recipe.n_embd,),
        "nextn.hnorm.weight": (recipe.n_embd,),
        "nextn.shared_head_norm.weight": (recipe.n_embd,),
    }


def weights(recipe: SyntheticRecipe, name: str, shape: tuple[int, ...]) -> Weights:
    """Return the tensor called `name` of the plan that `tensors` returns."""
    kind = re.sub(r"^blk\.\d+\.", "", name)
    if kind in _CONSTANT or kind.endswith("norm.weight"):
        return np.full(shape, _CONSTANT.get(kind, 1), dtype=np.float32)
    if kind == "output.weight":
        return recipe.output()
    if kind == "token_embd.weight":
        return recipe.embedding()
    size = 1 / math.sqrt(shape[1])
    if kind == "nextn.eh_proj.weight":
        return recipe.projection(name)
    return recipe.drawn(name, shape, size * BRANCH if kind in _BRANCH_ENDS else size)


_CONSTANT = {"ssm_a": -1, "ssm_dt.bias": 0}
_BRANCH_ENDS = {"attn_output.weight", "ssm_out.weight", "ffn_down.weight"}


def _describe(part: Path, path: Path) -> WrittenModel:
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        os.fsync(stream.fileno())
    return WrittenModel(path=path, sha256=digest.hexdigest(), bytes=part.stat().st_size)
