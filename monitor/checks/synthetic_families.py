"""How a synthetic model is spelled as a checkpoint: `config.json` and the tensors, family by family.

The names and shapes are those of `transformers` and of vLLM's loaders (`vllm/model_executor/models/`:
`qwen3_5.py`, `qwen3_5_mtp.py`, `mimo.py`, `mimo_mtp.py`, `gemma4.py`, `gemma4_mtp.py`), read and run with
0.27.1 to 0.32.0. The models of the family qwen3.5 hold the very numbers of the GGUF of the same recipe,
rounded to bf16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from monitor.checks.synthetic import CONVOLUTION, ROPE_BASE, ROPE_SECTIONS, tensors, weights
from monitor.checks.synthetic_recipe import (
    BRANCH,
    CONTEXT,
    EPSILON,
    FULL_ATTENTION_INTERVAL,
    Family,
    SyntheticRecipe,
    Weights,
)
from monitor.checks.synthetic_tokens import END, TOKENS

Tensors = Iterator[tuple[str, Weights]]

_END_ID = TOKENS.index(END)
_WINDOW = 512  # tokens; longer than any prompt of a synthetic check


def configuration(recipe: SyntheticRecipe) -> dict[str, Any]:
    """Return the content of `config.json`."""
    return _CONFIGURATIONS[recipe.family](recipe)


def named_weights(recipe: SyntheticRecipe) -> Tensors:
    """Yield (name, F32 values) of every tensor of the checkpoint, in the order of the file."""
    return _TENSORS[recipe.family](recipe)


def _sizes(recipe: SyntheticRecipe) -> dict[str, Any]:
    return {
        "vocab_size": len(TOKENS),
        "hidden_size": recipe.n_embd,
        "intermediate_size": recipe.n_ff,
        "num_hidden_layers": recipe.n_layer,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads // 2,
        "head_dim": recipe.head,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPSILON,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "bos_token_id": None,
        "eos_token_id": _END_ID,
        "pad_token_id": _END_ID,
        "dtype": "bfloat16",
    }


# ---------------------------------------------------------------------------------------------
# Qwen3.5


def _qwen_configuration(recipe: SyntheticRecipe) -> dict[str, Any]:
    """Nest the text model's configuration, as the real files do: vLLM 0.27 knows no MTP of a flat one."""
    sizes = _sizes(recipe)
    text = {
        **sizes,
        "model_type": "qwen3_5_text",
        "mtp_num_hidden_layers": 1,
        "hidden_act": "silu",
        "attn_output_gate": True,
        "full_attention_interval": FULL_ATTENTION_INTERVAL,
        "layer_types": [_qwen_layer(layer) for layer in range(recipe.n_layer)],
        "linear_conv_kernel_dim": CONVOLUTION,
        "linear_key_head_dim": recipe.head,
        "linear_value_head_dim": recipe.head,
        "linear_num_key_heads": recipe.heads,
        "linear_num_value_heads": recipe.heads,
        "mamba_ssm_dtype": "float32",  # vLLM 0.27 on a CPU takes no other state
        "partial_rotary_factor": 2 * sum(ROPE_SECTIONS) / recipe.head,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": ROPE_BASE,
            "partial_rotary_factor": 2 * sum(ROPE_SECTIONS) / recipe.head,
        },
    }
    shared = ("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "dtype")
    return {
        "architectures": ["Qwen3_5ForCausalLM"],
        "model_type": "qwen3_5",
        "text_config": text,
        "mtp_num_hidden_layers": 1,
        **{name: sizes[name] for name in shared},
    }


def _qwen_layer(layer: int) -> str:
    return "linear_attention" if (layer + 1) % FULL_ATTENTION_INTERVAL else "full_attention"


_QWEN_NAMES = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QWEN_WHOLE_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "ssm_dt.bias": "linear_attn.dt_bias",
    "ssm_a": "linear_attn.A_log",
    "nextn.eh_proj.weight": "mtp.fc.weight",
    "nextn.enorm.weight": "mtp.pre_fc_norm_embedding.weight",
    "nextn.hnorm.weight": "mtp.pre_fc_norm_hidden.weight",
    "nextn.shared_head_norm.weight": "mtp.norm.weight",
}


def _qwen_tensors(recipe: SyntheticRecipe) -> Tensors:
    for name, shape in tensors(recipe).items():
        values = weights(recipe, name, shape)
        if name.endswith("ssm_a"):
            values = np.log(-values)  # llama.cpp keeps −exp(A_log)
        elif name.endswith("ssm_conv1d.weight"):
            values = values.reshape(shape[0], 1, shape[1])
        elif name.endswith("norm.weight") and not name.endswith("ssm_norm.weight"):
            values = values - np.float32(1)  # the norm multiplies by 1 + weight
        yield _qwen_name(name, recipe.n_layer), values


def _qwen_name(name: str, layers: int) -> str:
    if name in _QWEN_WHOLE_NAMES:
        return _QWEN_WHOLE_NAMES[name]
    _, number, rest = name.split(".", 2)
    if rest.startswith("nextn."):
        return _QWEN_WHOLE_NAMES[rest]
    layer = "mtp.layers.0" if int(number) == layers else f"model.layers.{number}"
    if rest in _QWEN_WHOLE_NAMES:
        return f"{layer}.{_QWEN_WHOLE_NAMES[rest]}"
    return f"{layer}.{_QWEN_NAMES[rest.removesuffix('.weight')]}.weight"


# ---------------------------------------------------------------------------------------------
# MiMo


def _mimo_configuration(recipe: SyntheticRecipe) -> dict[str, Any]:
    return {
        **_sizes(recipe),
        "head_dim": _mimo_head(recipe),
        "architectures": ["MiMoForCausalLM"],
        # MiMo's own files say so too: its text layers are Qwen2's.
        "model_type": "qwen2",
        "num_nextn_predict_layers": 1,
        "hidden_act": "silu",
        "rope_theta": ROPE_BASE,
        "use_sliding_window": False,
    }


def _mimo_head(recipe: SyntheticRecipe) -> int:
    # Its loader takes no other size of a head than this.
    return recipe.n_embd // recipe.heads


def _mimo_tensors(recipe: SyntheticRecipe) -> Tensors:
    yield "model.embed_tokens.weight", recipe.embedding()
    for layer in range(recipe.n_layer):
        yield from _mimo_layer(recipe, f"model.layers.{layer}")
    yield "model.norm.weight", _ones(recipe.n_embd)
    yield "lm_head.weight", recipe.output()
    head = "model.mtp_layers.0"
    yield from _mimo_layer(recipe, head)
    yield f"{head}.input_proj.weight", recipe.projection(f"{head}.input_proj.weight", embedding_first=False)
    for norm in ("token_layernorm", "hidden_layernorm", "final_layernorm"):
        yield f"{head}.{norm}.weight", _ones(recipe.n_embd)


def _mimo_layer(recipe: SyntheticRecipe, layer: str) -> Tensors:
    head = _mimo_head(recipe)
    yield from _attention_and_feed_forward(recipe, layer, head)
    for part, heads in (("q", recipe.heads), ("k", recipe.heads // 2), ("v", recipe.heads // 2)):
        yield f"{layer}.self_attn.{part}_proj.bias", np.zeros(heads * head, dtype=np.float32)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{layer}.{norm}.weight", _ones(recipe.n_embd)


# ---------------------------------------------------------------------------------------------
# Gemma 4


def _gemma_text(recipe: SyntheticRecipe) -> dict[str, Any]:
    return {
        **_sizes(recipe),
        "model_type": "gemma4_text",
        "global_head_dim": recipe.head,
        "layer_types": [_gemma_layer(layer) for layer in range(recipe.n_layer)],
        "sliding_window": _WINDOW,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        "final_logit_softcapping": None,
    }


def _gemma_layer(layer: int) -> str:
    return "sliding_attention" if (layer + 1) % FULL_ATTENTION_INTERVAL else "full_attention"


def _gemma_configuration(recipe: SyntheticRecipe) -> dict[str, Any]:
    return {**_gemma_text(recipe), "architectures": ["Gemma4ForCausalLM"]}


def _assistant_configuration(recipe: SyntheticRecipe) -> dict[str, Any]:
    text = _gemma_text(recipe)
    text |= {"num_hidden_layers": 1, "layer_types": ["full_attention"], "num_kv_shared_layers": 1}
    return {
        "architectures": ["Gemma4AssistantForCausalLM"],
        "model_type": "gemma4_assistant",
        "backbone_hidden_size": recipe.n_embd,
        "use_ordered_embeddings": False,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
        "text_config": text | {"tie_word_embeddings": True},
    }


def _gemma_tensors(recipe: SyntheticRecipe) -> Tensors:
    yield "model.embed_tokens.weight", recipe.embedding()
    for layer in range(recipe.n_layer):
        name = f"model.layers.{layer}"
        yield from _attention_and_feed_forward(recipe, name, recipe.head)
        yield from _gemma_norms(recipe, name)
        yield f"{name}.self_attn.k_norm.weight", _ones(recipe.head)
    yield "model.norm.weight", _ones(recipe.n_embd)
    yield "lm_head.weight", recipe.output()


def _assistant_tensors(recipe: SyntheticRecipe) -> Tensors:
    # vLLM reads this tensor as the head; for the embedding it takes the target's.
    yield "model.embed_tokens.weight", recipe.output()
    name = "model.layers.0"
    for tensor, values in _attention_and_feed_forward(recipe, name, recipe.head):
        if "k_proj" not in tensor and "v_proj" not in tensor:  # it reads the target's keys and values
            yield tensor, values
    yield from _gemma_norms(recipe, name)
    yield "model.norm.weight", _ones(recipe.n_embd)
    yield "pre_projection.weight", recipe.projection("pre_projection.weight")
    yield "post_projection.weight", np.eye(recipe.n_embd, dtype=np.float32)


def _gemma_norms(recipe: SyntheticRecipe, layer: str) -> Tensors:
    # Gemma multiplies the embedding by √width, and norms a branch before it is added.
    branch = np.float32(BRANCH * math.sqrt(recipe.n_embd))
    yield f"{layer}.input_layernorm.weight", _ones(recipe.n_embd)
    yield f"{layer}.post_attention_layernorm.weight", branch * _ones(recipe.n_embd)
    yield f"{layer}.pre_feedforward_layernorm.weight", _ones(recipe.n_embd)
    yield f"{layer}.post_feedforward_layernorm.weight", branch * _ones(recipe.n_embd)
    yield f"{layer}.self_attn.q_norm.weight", _ones(recipe.head)
    yield f"{layer}.layer_scalar", _ones(1)


# ---------------------------------------------------------------------------------------------
# What several have


def _attention_and_feed_forward(recipe: SyntheticRecipe, layer: str, head: int) -> Tensors:
    width, queries, keys = recipe.n_embd, recipe.heads * head, recipe.heads // 2 * head
    shapes = {
        "self_attn.q_proj": (queries, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, queries),
        "mlp.gate_proj": (recipe.n_ff, width),
        "mlp.up_proj": (recipe.n_ff, width),
        "mlp.down_proj": (width, recipe.n_ff),
    }
    for part, shape in shapes.items():
        name = f"{layer}.{part}.weight"
        size = 1 / math.sqrt(shape[1])
        yield name, recipe.drawn(name, shape, size * BRANCH if part in _BRANCH_ENDS else size)


_BRANCH_ENDS = {"self_attn.o_proj", "mlp.down_proj"}


def _ones(count: int) -> Weights:
    return np.ones(count, dtype=np.float32)


_CONFIGURATIONS: dict[Family, Callable[[SyntheticRecipe], dict[str, Any]]] = {
    Family.QWEN35: _qwen_configuration,
    Family.MIMO: _mimo_configuration,
    Family.GEMMA4: _gemma_configuration,
    Family.GEMMA4_ASSISTANT: _assistant_configuration,
}
_TENSORS: dict[Family, Callable[[SyntheticRecipe], Tensors]] = {
    Family.QWEN35: _qwen_tensors,
    Family.MIMO: _mimo_tensors,
    Family.GEMMA4: _gemma_tensors,
    Family.GEMMA4_ASSISTANT: _assistant_tensors,
}
