"""What decides the weights of a synthetic model, and how they are drawn from its seed.

Every family and every file format draws from here, so one recipe means one model.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from monitor.checks.synthetic_tokens import FIRST_SYLLABLE, TOKENS
from monitor.errors import ConfigurationError
from monitor.validation import nearest

FULL_ATTENTION_INTERVAL = 4  # layers: three gated delta nets (or windows), then one full attention
CONTEXT = 4096
EPSILON = 1e-6
BRANCH = 0.05
"""How much a layer's branch adds to the residual stream, against the embedding's 1: enough to make the text
before a token count for something, too little to turn the next token."""

_HEADS = (32, 64, 128)

Weights = npt.NDArray[np.float32]
_Choice = TypeVar("_Choice", bound=StrEnum)


class Form(StrEnum):
    """In which files a synthetic model is written."""

    GGUF = "gguf"
    """One file with F32 weights, for llama.cpp."""
    CHECKPOINT = "checkpoint"
    """A folder as a model hub has it, with bf16 weights, for vLLM."""


class Family(StrEnum):
    """Whose shape a synthetic model has."""

    QWEN35 = "qwen3.5"
    """Gated delta nets and attention; the head is a block of its own in the same files."""
    MIMO = "mimo"
    """Attention alone; the head is a block of its own in the same files."""
    GEMMA4 = "gemma4"
    """Windows and attention; the head is a model of its own."""
    GEMMA4_ASSISTANT = "gemma4-assistant"
    """That model: it reads what the target has kept of the text."""


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
    head: int = 32
    """Numbers per head, in attention and in the delta net; 32, 64 or 128."""
    family: Family = Family.QWEN35
    form: Form = Form.GGUF

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> SyntheticRecipe:
        """Return the recipe that a check's `[model.recipe]` spells; head, family and form may be left out.

        Raises:
            ConfigurationError: for a key that is unknown, missing or not a usable value.

        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in table:
            if key not in fields:
                raise ConfigurationError(f"`model.recipe.{key}` is unknown; {nearest(key, fields)}")
        for name, field in fields.items():
            if name not in table and field.default is dataclasses.MISSING:
                raise ConfigurationError(f"`model.recipe.{name}` is missing")
        _check_sizes(table)
        _check_numbers(table)
        family, form = _one_of(table, "family", Family.QWEN35), _one_of(table, "form", Form.GGUF)
        if form is Form.GGUF and family is not Family.QWEN35:
            raise ConfigurationError(
                f'`model.recipe.form` is "gguf"; the family {family.value} is written as "checkpoint"'
            )
        return cls(**{**table, "noise": float(table["noise"]), "family": family, "form": form})

    @property
    def heads(self) -> int:
        """Return the number of attention heads.

        Half the width: next to the feed-forward layers attention stays cheap, as in a large model.
        """
        return max(2, self.n_embd // (2 * self.head))

    def drawn(self, name: str, shape: tuple[int, ...], size: float) -> Weights:
        """Return evenly distributed numbers around 0 whose root mean square is `size`."""
        count = math.prod(shape)
        integers = _raw(name, self.seed, (count + 1) // 2).astype("<u8").view("<i4")[:count]
        return (integers.astype(np.float32) * np.float32(size * math.sqrt(3) / 2**31)).reshape(shape)

    def embedding(self) -> Weights:
        """Return a row for each token, of root mean square 1; the same in every family."""
        return self.drawn("token_embd.weight", (len(TOKENS), self.n_embd), 1.0)

    def output(self) -> Weights:
        """Return the output head: the row of the token after t is the embedding of t.

        A token that follows several has the sum of their embeddings, which answers to each of them.
        """
        embedding = self.embedding()
        head = np.zeros(embedding.shape, dtype=np.float32)
        np.add.at(head, followers(), embedding)
        return head

    def projection(self, name: str, *, embedding_first: bool = True) -> Weights:
        """Return the MTP block's input projection: the newest token's embedding, and the noise over both.

        Its columns are the embedding and the hidden state, or the hidden state and the embedding.
        """
        shape = (self.n_embd, 2 * self.n_embd)
        projection = self.drawn(name, shape, self.noise / math.sqrt(shape[1]))
        np.fill_diagonal(projection, projection.diagonal() + np.float32(1))
        return projection if embedding_first else np.roll(projection, self.n_embd, axis=1)


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


def _check_sizes(table: Mapping[str, Any]) -> None:
    for name, step, highest in (
        ("n_embd", 64, 8192),
        ("n_layer", FULL_ATTENTION_INTERVAL, 64),
        ("n_ff", 32, 65536),
    ):
        value = table[name]
        if type(value) is not int or not step <= value <= highest or value % step:
            raise ConfigurationError(
                f"`model.recipe.{name}` is {value!r}; allowed: multiples of {step} up to {highest}"
            )


def _check_numbers(table: Mapping[str, Any]) -> None:
    seed, noise, head = table["seed"], table["noise"], table.get("head", _HEADS[0])
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ConfigurationError(f"`model.recipe.seed` is {seed!r}; allowed: integers from 0 to 2^63 − 1")
    if type(noise) not in (int, float) or not (math.isfinite(noise) and noise >= 0):
        raise ConfigurationError(f"`model.recipe.noise` is {noise!r}; allowed: a number from 0 up")
    if type(head) is not int or head not in _HEADS:
        raise ConfigurationError(f"`model.recipe.head` is {head!r}; allowed: {', '.join(map(str, _HEADS))}")


def _one_of(table: Mapping[str, Any], key: str, usual: _Choice) -> _Choice:
    value, choices = table.get(key, usual.value), type(usual)
    if value not in [choice.value for choice in choices]:
        allowed = ", ".join(f'"{choice.value}"' for choice in choices)
        raise ConfigurationError(f"`model.recipe.{key}` is {value!r}; allowed: {allowed}")
    return choices(value)


def _raw(name: str, seed: int, count: int) -> npt.NDArray[np.uint64]:
    # numpy promises that a bit generator's own numbers never change, and promises it of nothing drawn from
    # them (NEP 19). Integers scaled by IEEE arithmetic keep the bytes the same on every version.
    return np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())])).random_raw(count)
