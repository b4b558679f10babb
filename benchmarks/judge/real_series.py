"""Twenty-five real series with changes that people marked, judged by the history rules and by others'.

    python benchmarks/judge/real_series.py [--others PYTHON]

PYTHON is an interpreter of an environment with `apache-otava` and `asv` in it. Writes its table into
docs/judging.md. A series holds one value a build here, the mean of its measurements. An alarm is right when
it comes with the marked build or at most five later, and counts once.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tables
from scipy import stats

from monitor.judge import looks, statistics
from monitor.judge.changepoints import change_points
from monitor.judge.policy import JudgingPolicy

DATA = Path(__file__).parent / "data" / "sap_small_2021"
POLICY = JudgingPolicy()
LATE = 5  # builds after the marked one that an alarm may come
LEARN = 6  # builds of a new level before it is a reference
KEPT = 12  # builds that a reference remembers
CONFIRM = 2  # following builds that stand in for confirming sessions


@dataclass(frozen=True)
class Series:
    """One real series: log values by build, and the place of the marked change."""

    name: str
    kind: str
    values: list[float]
    change: int | None


def main() -> None:
    """Count alarms of each rule and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", help="interpreter with apache-otava and asv")
    arguments = parser.parse_args()
    found = load()
    rules: list[tuple[str, Callable[[list[float]], list[int]], int]] = [
        ("history rule (screen, then confirm by the next two builds)", history, CONFIRM),
        ("change points, floor 2 %", offline, LATE),
        ("5 % against the previous build", previous, 0),
        ("Mann–Whitney, p < .05, ten before against five from here", mann_whitney, LATE),
    ]
    rows = [row(name, found, [rule(s.values) for s in found], early) for name, rule, early in rules]
    if arguments.others:
        told = others(arguments.others, found)
        rows += [
            row("asv's step detection, 5 %", found, told["asv"], LATE),
            row("Apache Otava's defaults", found, told["otava"], LATE),
        ]
    builds = sum(len(s.values) for s in found)
    marked = sum(s.change is not None for s in found)
    text = tables.markdown(["rule", "right", "missed", "false", "false in a hundred builds"], rows)
    tables.write("real series", f"{text}\n\n{len(found)} series, {builds:,} builds, {marked} marked changes.")


def load() -> list[Series]:
    """Return the series in the order of their names."""
    with (DATA / "metadata" / "dataset_details.csv").open(encoding="utf-8") as file:
        details = {line["Dataset"]: line for line in csv.DictReader(file, delimiter=";")}
    return [_series(name, details[name]) for name in sorted(details)]


def _series(name: str, detail: dict[str, str]) -> Series:
    builds: dict[int, list[float]] = {}
    marked = int(detail["Change Point"])
    first_bad = None
    with (DATA / "data" / name).open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            build = int(line["GHC"])
            builds.setdefault(build, []).append(math.log(float(line["Measurement"])))
            if marked and int(line["Index"]) == marked + 1:
                first_bad = build
    order = list(builds)
    change = order.index(first_bad) if first_bad is not None else None
    return Series(name, detail["Type"].strip(), [float(np.mean(builds[b])) for b in order], change)


def row(name: str, series: list[Series], alarms: list[list[int]], early: int) -> list[str]:
    """Return the counts of a rule; `early` is how many builds before the marked one an alarm may lie."""
    right = false = 0
    for one, places in zip(series, alarms, strict=True):
        near = [p for p in places if one.change is not None and -early <= p - one.change <= LATE]
        right += bool(near)
        false += len(places) - len(near)
    marked = sum(one.change is not None for one in series)
    builds = sum(len(one.values) for one in series)
    return [name, str(right), str(marked - right), str(false), f"{100 * false / builds:.1f}"]


# --- rules ---------------------------------------------------------------------------------------


def history(values: list[float]) -> list[int]:
    """Judge each build against the builds of its level so far, by the judge's limits and levels.

    The floor is what the series can resolve, as for a check with `noise_floor = "measured"`. The two builds
    that follow stand in for confirming sessions, since nothing can be measured again here.
    """
    alarms, start, place = [], 0, LEARN
    while place + CONFIRM < len(values):
        if place - start < LEARN:
            place += 1
            continue
        reference = values[max(start, place - KEPT) : place]
        screen = looks.screening(POLICY, blocks=POLICY.blocks_max, reference=len(reference), gating=1)
        confirm = looks.confirming(POLICY, blocks=POLICY.confirm_blocks_max)
        following = values[place + 1 : place + 1 + CONFIRM]
        if _is_worse(reference, values[place : place + 1], screen.level_regressed) and _is_worse(
            reference, following, confirm.level_regressed
        ):
            alarms.append(place)
            start = place
        place += 1
    return alarms


def _is_worse(reference: list[float], candidate: list[float], level: float) -> bool:
    estimate = statistics.unpaired(reference, candidate)
    error, df = estimate.standard_error, estimate.degrees_of_freedom
    resolvable = error * statistics.quantile_margin(df, POLICY.level_shown, POLICY.power)
    floor = max(POLICY.floor_rate, min(resolvable, POLICY.measured_floor_max))
    return estimate.difference - estimate.margin(level) > POLICY.inner_fraction * floor


def offline(values: list[float]) -> list[int]:
    """Return where the whole series rose, seen from its end."""
    return [point.index for point in change_points(values, floor=POLICY.floor_rate) if point.change > 0]


def previous(values: list[float]) -> list[int]:
    """Return builds that are 5 % worse than the one before."""
    return [i for i in range(1, len(values)) if values[i] - values[i - 1] > math.log(1.05)]


def mann_whitney(values: list[float]) -> list[int]:
    """Return places where five builds are worse than the ten before; an alarm silences the next five."""
    alarms: list[int] = []
    for i in range(10, len(values) - 4):
        if alarms and i - alarms[-1] <= LATE:
            continue
        if stats.mannwhitneyu(values[i : i + 5], values[i - 10 : i], alternative="greater").pvalue < 0.05:  # noqa: PLR2004
            alarms.append(i)
    return alarms


def others(python: str, series: list[Series]) -> dict[str, list[list[int]]]:
    """Run the detectors of other projects in their own environment."""
    script = Path(__file__).with_name("other_detectors.py")
    document = json.dumps([[math.exp(value) for value in one.values] for one in series])
    done = subprocess.run([python, str(script)], input=document, capture_output=True, text=True, check=True)
    found: dict[str, list[list[int]]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
