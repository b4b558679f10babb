"""Writes `monitor/engines/vllm_options.jsonl`: what versions of vLLM take on their command line.

    python benchmarks/vllm_options/write_table.py VERSION=PYTHON …

Each PYTHON is that of an environment with the version in it; it is asked with `ask.py`, which needs no GPU.
One line for each state that an option, a key or method of `--speculative-config`, or a variable was in, from
which version to which.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.version import Version

from monitor.engines import vllm_flags

TARGET = Path(vllm_flags.__file__).with_name(vllm_flags.TABLE)
ASK = Path(__file__).with_name("ask.py")
PLAIN = {"keys": "key", "methods": "method", "rejections": "rejection", "variables": "variable"}


def main() -> None:
    """Ask every version and write the table."""
    told = {}
    for pair in sys.argv[1:]:
        version, _, python = pair.partition("=")
        asked = subprocess.run([python, "-I", "-B", ASK], check=True, capture_output=True, text=True)
        told[version] = json.loads(asked.stdout.splitlines()[-1])
        print(f"{version}: {len(told[version]['options'])} options", file=sys.stderr)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows(told)]
    TARGET.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} states in {len(told)} versions: {TARGET.name}")


def rows(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the states, by kind and name."""
    states: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for version in sorted(told, key=Version):
        for kind, name, facts in _entries(told[version]):
            earlier = states.setdefault((kind, name), [])
            if earlier and earlier[-1]["facts"] == facts and earlier[-1]["open"]:
                earlier[-1]["last"] = version
            else:
                earlier.append({"first": version, "last": version, "facts": facts, "open": True})
        for found in states.values():
            found[-1]["open"] = found[-1]["last"] == version
    for (kind, name), found in sorted(states.items()):
        for state in found:
            yield {
                "kind": kind,
                "name": name,
                "first": state["first"],
                "last": state["last"],
                **state["facts"],
            }


def _entries(told: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for option in told["options"]:
        facts = {key: value for key, value in option.items() if value not in (None, False)}
        yield "option", next(name for name in option["names"] if name.startswith("--")), facts
    for place, kind in PLAIN.items():
        for name in told[place]:
            yield kind, name, {}


if __name__ == "__main__":
    main()
