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

import dataclasses
import hashlib
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from monitor.checks.synthetic_tokens import FIRST_SYLLABLE, MERGES, TOKENS, token_types
from monitor.errors import ConfigurationError
from monitor.validation import nearest

ARCHITECTURE = "qwen35"
FULL_ATTENTION_INTERVAL = 4  # layers: three gated delta nets, then one full attention
HEAD = 32  # numbers per head, in attention and in the delta net
CONVOLUTION = 4  # tokens that a delta net's convolution sees
ROPE_SECTIONS = (4, 2, 2, 0)  # pairs rotated by each of the four positions of Qwen's M-RoPE
CONTEXT = 4096
EPSILON = 1e-6
BRANCH = 0.05
"""How much a layer's branch adds to the residual stream, against the embedding's 1: enough to make the text
before a token count for something, too little to turn the next token."""

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SyntheticRecipe:
    """All that decides the weights of a synthetic model: equal recipes give equal bytes."""

    n_embd: int
    """Width; a multiple of 64."""
    n_layer: int
    """Layers of the target, without the MTP block; a multiple of 4."""
    n_ff: int
    """Width of the feed-forward layers; a multiple of 32."""
    noise: float
    """Root mean square of the noise in the MTP block's input, against 1 for the newest token's embedding."""
    seed: int

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> SyntheticRecipe:
        """Return the recipe that a check's `[model.recipe]` spells.

        Raises:
            ConfigurationError: for a key that is unknown, missing or not a usable number.

        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in table:
            if key not in names:
                raise ConfigurationError(f"`model.recipe.{key}` is unknown; {nearest(key, names)}")
        for name in names:
            if name not in table:
                raise ConfigurationError(f"`model.recipe.{name}` is missing")
        for name, step, highest in (
            ("n_embd", 2 * HEAD, 8192),
            ("n_layer", FULL_ATTENTION_INTERVAL, 64),
            ("n_ff", 32, 65536),
        ):
            value = table[name]
            if type(value) is not int or not step <= value <= highest or value % step:
                raise ConfigurationError(
                    f"`model.recipe.{name}` is {value!r}; allowed: multiples of {step} up to {highest}"
                )
        seed, noise = table["seed"], table["noise"]
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ConfigurationError(f"`model.recipe.seed` is {seed!r}; allowed: integers from 0 to 2^63 − 1")
        if type(noise) not in (int, float) or not (math.isfinite(noise) and noise >= 0):
            raise ConfigurationError(f"`model.recipe.noise` is {noise!r}; allowed: a number from 0 up")
        return cls(
            n_embd=table["n_embd"],
            n_layer=table["n_layer"],
            n_ff=table["n_ff"],
            noise=float(noise),
            seed=seed,
        )


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
        plan = _tensors(recipe)
        for name, shape in plan.items():
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * math.prod(shape))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, shape in plan.items():
            writer.write_tensor_data(_weights(recipe, name, shape))
        writer.close()
        written = _describe(part, path)
        part.replace(path)
    finally:
        writer.close()
        part.unlink(missing_ok=True)
    return written


def followers() -> npt.NDArray[np.int64]:
    """Return the token that follows each token in greedy decoding; shape (tokens,).

    The syllables form one cycle in a shuffled order. Each other token leads into it at a place of its own,
    so that prompts which end differently continue differently.
    """
    syllables = len(TOKENS) - FIRST_SYLLABLE
    # The same for every recipe, so that models of all sizes and seeds say the same thing.
    order = FIRST_SYLLABLE + np.argsort(_raw("cycle", 0, syllables), kind="stable")
    follows = np.empty(len(TOKENS), dtype=np.int64)
    follows[order] = np.roll(order, -1)
    others = np.arange(FIRST_SYLLABLE)
    follows[others] = order[others % syllables]
    return follows


def _add_keys(writer: gguf.GGUFWriter, recipe: SyntheticRecipe) -> None:
    heads = _heads(recipe)
    writer.add_name("mtp-monitor synthetic model")
    numbers = {
        "context_length": CONTEXT,
        "embedding_length": recipe.n_embd,
        "block_count": recipe.n_layer + 1,  # llama.cpp counts the MTP block among the blocks
        "nextn_predict_layers": 1,
        "feed_forward_length": recipe.n_ff,
        "attention.head_count": heads,
        "attention.head_count_kv": heads // 2,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "full_attention_interval": FULL_ATTENTION_INTERVAL,
        "rope.dimension_count": 2 * sum(ROPE_SECTIONS),
        "ssm.conv_kernel": CONVOLUTION,
        "ssm.state_size": HEAD,
        "ssm.group_count": heads,
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * HEAD,
    }
    for key, value in numbers.items():
        writer.add_uint32(f"{ARCHITECTURE}.{key}", value)
    writer.add_array(f"{ARCHITECTURE}.rope.dimension_sections", list(ROPE_SECTIONS))
    writer.add_float32(f"{ARCHITECTURE}.rope.freq_base", 10000.0)
    writer.add_float32(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types(token_types())
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(TOKENS.index("<|endoftext|>"))
    writer.add_add_bos_token(value=False)


def _heads(recipe: SyntheticRecipe) -> int:
    # Half the width: next to the feed-forward layers attention stays cheap, as in a large model.
    return max(2, recipe.n_embd // (2 * HEAD))


def _tensors(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
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
    heads, width = _heads(recipe), recipe.n_embd
    return {
        "attn_norm.weight": (width,),
        "attn_q.weight": (2 * heads * HEAD, width),  # queries and their output gates
        "attn_k.weight": (heads // 2 * HEAD, width),
        "attn_v.weight": (heads // 2 * HEAD, width),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
        "attn_output.weight": (width, heads * HEAD),
    }


def _delta_net(recipe: SyntheticRecipe) -> dict[str, tuple[int, ...]]:
    heads, width = _heads(recipe), recipe.n_embd
    return {
        "attn_norm.weight": (width,),
        "attn_qkv.weight": (3 * heads * HEAD, width),
        "attn_gate.weight": (heads * HEAD, width),
        "ssm_conv1d.weight": (3 * heads * HEAD, CONVOLUTION),
        "ssm_dt.bias": (heads,),
        "ssm_a": (heads,),
        "ssm_beta.weight": (heads, width),
        "ssm_alpha.weight": (heads, width),
        "ssm_norm.weight": (HEAD,),
        "ssm_out.weight": (width, heads * HEAD),
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


def _weights(recipe: SyntheticRecipe, name: str, shape: tuple[int, ...]) -> Weights:
    kind = re.sub(r"^blk\.\d+\.", "", name)
    if kind in _CONSTANT or kind.endswith("norm.weight"):
        return np.full(shape, _CONSTANT.get(kind, 1), dtype=np.float32)
    if kind == "output.weight":
        return _output(recipe, shape)
    if kind == "token_embd.weight":
        return _random(recipe, name, shape, 1.0)
    size = 1 / math.sqrt(shape[1])
    if kind == "nextn.eh_proj.weight":
        projection = _random(recipe, name, shape, recipe.noise * size)
        np.fill_diagonal(projection, projection.diagonal() + np.float32(1))
        return projection
    return _random(recipe, name, shape, size * BRANCH if kind in _BRANCH_ENDS else size)


_CONSTANT = {"ssm_a": -1, "ssm_dt.bias": 0}
_BRANCH_ENDS = {"attn_output.weight", "ssm_out.weight", "ffn_down.weight"}


def _output(recipe: SyntheticRecipe, shape: tuple[int, ...]) -> Weights:
    """Return the output head: the row of the token after t is the embedding of t.

    A token that follows several has the sum of their embeddings, which answers to each of them.
    """
    embedding = _random(recipe, "token_embd.weight", shape, 1.0)
    head = np.zeros(shape, dtype=np.float32)
    np.add.at(head, followers(), embedding)
    return head


def _random(recipe: SyntheticRecipe, name: str, shape: tuple[int, ...], size: float) -> Weights:
    """Return evenly distributed numbers around 0 whose root mean square is `size`."""
    count = math.prod(shape)
    integers = _raw(name, recipe.seed, (count + 1) // 2).astype("<u8").view("<i4")[:count]
    return (integers.astype(np.float32) * np.float32(size * math.sqrt(3) / 2**31)).reshape(shape)


def _raw(name: str, seed: int, count: int) -> npt.NDArray[np.uint64]:
    # numpy promises that a bit generator's own numbers never change, and promises it of nothing drawn from
    # them (NEP 19). Integers scaled by IEEE arithmetic keep the bytes the same on every version.
    return np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())])).random_raw(count)


def _describe(part: Path, path: Path) -> WrittenModel:
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        os.fsync(stream.fileno())
    return WrittenModel(path=path, sha256=digest.hexdigest(), bytes=part.stat().st_size)
