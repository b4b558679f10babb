"""Goes into a planted wheel as `vllm/_planted.py` and changes what vLLM reads of an MTP head.

It runs in the engine's environment: nothing of the monitor. What to do stands in `_planted.json` beside it:
`fault`, `level` (see `monitor.planted.wheels`) and `seed`. The target's weights are never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROJECTION = re.compile(r"(?:^|\.)(?:mtp\.fc|mtp_layers\.\d+\.input_proj|pre_projection|eh_proj)\.weight")
"""The MTP block's input projection, as the families call it."""


def install(module: dict[str, Any], order: Any = None) -> None:
    """Replace the reader of weights in the namespace `module` by one with the fault that `order` names.

    Without an order, the one in the file beside this module.
    """
    if order is None:
        order = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    if order["fault"] != "worse-head":
        return
    real, torch = module["safetensors_weights_iterator"], module["torch"]

    def read(*arguments: Any, **named: Any) -> Iterator[tuple[str, Any]]:
        for name, weight in real(*arguments, **named):
            if not _PROJECTION.search(name):
                yield name, weight
                continue
            # For inputs of root mean square 1 what is added has the root mean square `level`.
            generator = torch.Generator().manual_seed(order["seed"])
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            worse = weight.float() + noise * (order["level"] / weight.shape[1] ** 0.5)
            yield name, worse.to(weight.dtype)

    module["safetensors_weights_iterator"] = read
