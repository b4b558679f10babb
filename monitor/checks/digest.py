"""The digest of a check: a name for exactly what changes the measurement, and for nothing else.

Two results are comparable when their digests are equal; a changed digest begins a new series. So the
title, judging, expectations, estimates, timeouts and the size of the quick tier are left out, and so is
everything about how and where the definition is written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any

from monitor.domain import SERVED, Check, ModelSpec, Prompt

SCHEMA = "mtp-monitor/digest/1"


def digest_of(check: Check) -> str:
    """Return the sha256, in hex, over the canonical JSON of `measured_part(check)`."""
    return _sha256(measured_part(check))


def model_identity(spec: ModelSpec) -> str:
    """Return the sha256, in hex, over what decides the weights of `spec`; its folder does not."""
    return _sha256(_model(spec))


def measured_part(check: Check) -> dict[str, Any]:
    """Return what the digest covers, as plain values."""
    beside = {
        arm.value: {
            "draft_length": own.draft_length,
            "serve": own.serve,
            "model": _model(own.model) if own.model else None,
        }
        for arm, own in check.beside.items()
    }
    return {
        "schema": SCHEMA,
        **({"beside": beside} if beside else {}),
        "engine": check.engine,
        "model": _model(check.model),
        "draft_model": _model(check.draft_model) if check.draft_model else None,
        "quantisation": check.quantisation,
        "draft_length": check.draft_length,
        "concurrency": check.concurrency,
        # How streams are kept busy is part of the load; at one stream there is nothing to keep.
        **({"load": "closed loop"} if check.concurrency > 1 else {}),
        "sampling": check.sampling,
        "serve": check.serve,
        "serve_mtp": check.serve_mtp,
        "warmup_prompts": check.warmup_prompts,
        "repeats": check.repeats,
        "workloads": [
            {"name": workload.name, "prompts": [_prompt(prompt) for prompt in workload.prompts]}
            for workload in check.workloads
        ],
    }


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and one spelling for each number (1.0 is 1)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _model(spec: ModelSpec) -> dict[str, Any]:
    # The same weights in another folder are the same model; their hashes tell whether they are.
    if spec.kind == SERVED:
        # Its name is all there is: another model is another name, and so another series.
        return {"kind": spec.kind, "name": spec.name}
    files = [PurePath(file).name for file in spec.files] if spec.kind == "path" else list(spec.files)
    return {
        "kind": spec.kind,
        "recipe": spec.recipe,
        "repository": spec.repository,
        "revision": spec.revision,
        "files": sorted(files),
        "sha256": spec.sha256,
    }


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "max_tokens": prompt.max_tokens,
        "text": prompt.text,
        "messages": prompt.messages,
        "tools": prompt.tools,
        # It is never sent, but decides what counts as right.
        **({"answer": prompt.answer} if prompt.answer else {}),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
