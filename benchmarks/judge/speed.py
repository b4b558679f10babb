"""How long a judgement takes as a whole process, and a search for changes in 10,000 values.

    python benchmarks/judge/speed.py [--others PYTHON]

PYTHON is an interpreter of an environment with `apache-otava` and `asv`. Writes its table into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import tables

from monitor.judge.changepoints import change_points
from monitor.sample_file import write

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "unit" / "judge"))
from measurements import START, Truth, measure

REPEATS = 5
VALUES = 10_000


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", help="interpreter with apache-otava and asv")
    arguments = parser.parse_args()
    rows = [["`mtp-monitor judge`, two files of 1,000 samples, whole process", whole_process(), "2 s"]]
    values = np.exp(
        0.01 * np.random.default_rng(1).standard_normal(VALUES) + 0.05 * (np.arange(VALUES) > VALUES / 2)
    )
    begun = time.perf_counter()
    found = change_points(np.log(values).tolist(), floor=0.02)
    rows.append(
        [
            f"change points of {VALUES:,} values ({len(found)} found)",
            f"{time.perf_counter() - begun:.2f} s",
            "–",
        ]
    )
    if arguments.others:
        rows += others(arguments.others, values.tolist())
    load = os.getloadavg()[0]
    cores = os.cpu_count()
    text = tables.markdown(["what", "median, longest", "aim"], rows)
    tables.write(
        "speed", f"{text}\n\n{tables.machine()}, {cores} cores that others used too (load {load:.1f})."
    )


def whole_process() -> str:
    """Return the median and the longest time of a judgement, with the start of the interpreter."""
    truth = Truth(noise=0.0076, prompts=25, tokens=400)  # 2 workloads × 25 prompts × 20 sessions
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("reference.jsonl", "candidate.jsonl")]
        for file, days in zip(files, (0, 1), strict=True):
            samples = measure(truth, blocks=10, start=START + timedelta(days=days), seed=days)
            write(file, samples)
        seconds = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            command = [sys.executable, "-m", "monitor", "judge", *map(str, files), "--json"]
            done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
            seconds.append(time.perf_counter() - begun)
            json.loads(done.stdout)
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s"


def others(python: str, values: list[float]) -> list[list[str]]:
    """Time other projects' detectors on the same values in the same run."""
    script = Path(__file__).with_name("other_detectors.py")
    done = subprocess.run(
        [python, str(script)], input=json.dumps([values]), capture_output=True, text=True, check=True
    )
    seconds = json.loads(done.stdout)["seconds"]
    names = {"otava": "Apache Otava's defaults", "asv": "asv's step detection"}
    return [[f"{label}, the same values", f"{seconds[name]:.2f} s", "–"] for name, label in names.items()]


if __name__ == "__main__":
    main()
