"""Writes a synthetic model as a model hub has it: configuration, tokenizer, and bf16 weights in one file.

The weights' file is in the safetensors format: eight bytes that count the header, the header as JSON, then
the tensors (https://github.com/huggingface/safetensors, "Format"). It is written here because its own
library knows bf16 only through torch or a package of further number types.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.checks.synthetic import WrittenModel
from monitor.checks.synthetic_families import configuration, named_weights
from monitor.checks.synthetic_recipe import CONTEXT, SyntheticRecipe, Weights
from monitor.checks.synthetic_tokens import END, MERGES, TOKENS

_ALIGNMENT = 8  # bytes; the header is filled up with spaces
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen3.5 parts a text into words. Some versions of transformers do so whatever the file says, others as
it says; with another rule in the file, an upgrade of vLLM would read other prompts."""


def write_checkpoint(recipe: SyntheticRecipe, folder: Path) -> list[WrittenModel]:
    """Write the files of the checkpoint of `recipe` into `folder` and return them, sorted by name.

    Equal recipes give equal bytes.

    Raises:
        OSError: when a file cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    documents = {
        "config.json": configuration(recipe),
        "generation_config.json": {"eos_token_id": TOKENS.index(END)},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": END,
            "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT,
        },
    }
    written = [_write(folder / name, _json(document)) for name, document in documents.items()]
    written.append(_write(folder / "model.safetensors", *_safetensors(recipe)))
    return sorted(written, key=lambda file: file.path.name)


def rounded(values: Weights) -> npt.NDArray[np.uint16]:
    """Return finite F32 numbers as the bits of the nearest bf16, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    nearest: npt.NDArray[np.uint16] = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return nearest


def _safetensors(recipe: SyntheticRecipe) -> list[bytes]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content, end = [], 0
    for name, values in named_weights(recipe):
        data = rounded(values).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(values.shape),
            "data_offsets": [end, end + len(data)],
        }
        content.append(data)
        end += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % _ALIGNMENT)
    return [len(head).to_bytes(8, "little"), head, *content]


def _tokenizer() -> dict[str, Any]:
    """Return `tokenizer.json`: the tokens of the GGUF, so that every engine reads a prompt alike."""
    end = TOKENS.index(END)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": end,
                "content": END,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(TOKENS)},
            "merges": list(MERGES),
        },
    }


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _write(path: Path, *parts: bytes) -> WrittenModel:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as stream:
        for part in parts:
            stream.write(part)
            digest.update(part)
            size += len(part)
        stream.flush()
        os.fsync(stream.fileno())
    return WrittenModel(path=path, sha256=digest.hexdigest(), bytes=size)
