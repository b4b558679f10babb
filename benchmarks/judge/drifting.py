"""How often slow drift is told of where there is none, and how soon where every release loses a little.

    python benchmarks/judge/drifting.py [--series 1000]

A series has two noisy factors (step time and baseline rate; acceptance is counted) over 100 releases, the
first with six sessions, the others with as many as it took to find them unchanged. The rule of the change
points is the judge's own; comparing and confirming are those of `model.py`. Writes its table into
docs/judging.md.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field

import numpy as np
import tables
from model import Known, Noise, alternating, run, separate
from scipy import special
from tables import percent

from monitor.judge import drift, looks
from monitor.judge.policy import JudgingPolicy

POLICY = JudgingPolicy()
RELEASES, METRICS, GATING = 100, 2, 4
RAMP = 0.006
SEED = 20261124
PAUSE = 5
CALIBRATION_DF = 20
INNER = POLICY.inner_fraction * POLICY.floor_rate


@dataclass
class Found:
    """What became of the series of one kind."""

    asked: int = 0
    """Times that old and new were measured in turns."""
    opened: int = 0
    places: list[int] = field(default_factory=list)
    """Releases since the first when it was told of."""


def main() -> None:
    """Run every kind of series and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000, help="made-up series of each kind")
    count = parser.parse_args().series
    rows = []
    for session, day in ((0.005, 0.0), (0.0076, 0.0), (0.010, 0.0), (0.0076, 0.005), (0.0076, 0.010)):
        noise = Noise(session, day=day)
        quiet = live(np.random.default_rng(SEED), noise, count, ramp=0.0)
        worse = live(np.random.default_rng(SEED), noise, count, ramp=RAMP, releases=10)
        places = worse.places or [0]
        rows.append(
            [
                f"{percent(session)}" + (f", day effect {percent(day, 1)}" if day else ""),
                f"{quiet.asked} ({percent(quiet.asked / count / RELEASES, 3)} of releases)",
                f"{quiet.opened} ({percent(quiet.opened / count)} of series)",
                percent(worse.opened / count, 1),
                f"{np.mean(places):.1f}",
                percent(RAMP * float(np.mean(places)), 1),
            ]
        )
    head = [
        "noise between sessions",
        "quiet: measured in turns",
        "quiet: told of",
        "10 × 0.6 %: told of",
        "after releases",
        "lost by then",
    ]
    told = (
        f"{count:,} series of each kind, quiet ones of {RELEASES} releases, seed {SEED}; {tables.machine()}."
    )
    tables.write("drift", f"{tables.markdown(head, rows)}\n\n{told}")


def live(
    chance: np.random.Generator, noise: Noise, count: int, *, ramp: float, releases: int = RELEASES
) -> Found:
    """Let series pass, release by release; `ramp` is what each loses of step time, as a log."""
    blocks = _blocks(chance, noise, (count, releases))
    first = noise.draw(chance, (count, METRICS, POLICY.blocks_reference))
    first += noise.day * chance.standard_normal((count, 1, 1))
    later = noise.draw(chance, (count, METRICS, releases, POLICY.blocks_max))
    later += noise.day * chance.standard_normal((count, 1, releases, 1))
    truth = np.zeros((METRICS, releases))
    truth[0] = ramp * np.arange(1, releases + 1)
    later += truth[..., None]
    sd = noise.total * np.sqrt(chance.chisquare(CALIBRATION_DF, (count, METRICS)) / CALIBRATION_DF)
    found = Found()
    for series in range(count):
        known = Known(sd[series], CALIBRATION_DF, POLICY.doubt_level)
        _one(chance, noise, found, known, first[series], later[series], blocks[series], truth)
    return found


def _blocks(chance: np.random.Generator, noise: Noise, shape: tuple[int, int]) -> np.ndarray:
    """Return how many blocks it took to find quiet releases unchanged, drawn from as many judgements."""
    quiet = run(chance, noise, POLICY, shift=np.zeros((1, GATING)), releases=4000, checks=1)
    return chance.choice(quiet.blocks[quiet.harmless], shape)


def _one(  # noqa: PLR0917 - one series: its noise, and what was measured of it
    chance: np.random.Generator,
    noise: Noise,
    found: Found,
    known: Known,
    first: np.ndarray,
    later: np.ndarray,
    blocks: np.ndarray,
    truth: np.ndarray,
) -> None:
    """Live through one series until it is told of.

    Shapes: first (metrics, sessions), later (metrics, releases, sessions), truth (metrics, releases).
    """
    means = [first.mean(-1)]
    quiet_until = 0
    for place, count in enumerate(blocks):
        sessions = later[:, place, :count]
        means.append(sessions.mean(-1))
        if place < max(1, quiet_until):
            continue
        look = looks.screening(POLICY, blocks=int(count), reference=first.shape[-1], gating=GATING)
        suspects = _beyond(separate(first, sessions, known), look.level_regressed)
        for metric in np.nonzero(suspects)[0]:
            values = [float(mean[metric]) for mean in means]
            if math.expm1(drift.moved(values, (), inner=INNER, less_is_better=True)) < POLICY.floor_rate:
                continue
            found.asked += 1
            if _confirmed(chance, noise, known, int(metric), float(truth[metric, place])):
                found.opened += 1
                found.places.append(place + 1)
                return
            quiet_until = place + 1 + PAUSE
            break


def _confirmed(chance: np.random.Generator, noise: Noise, known: Known, metric: int, shift: float) -> bool:
    """Measure both ends in turns, until the suspicion is decided."""
    shape = (POLICY.confirm_blocks_max, 2)
    old, new = noise.draw(chance, shape), noise.draw(chance, shape) + shift
    own = Known(known.session_sd[metric], known.df, known.doubt_level)
    for blocks in range(1, POLICY.confirm_blocks_max + 1):
        look = looks.confirming(POLICY, blocks=blocks)
        estimate = alternating(old[:blocks], new[:blocks], own)
        if _beyond(estimate, look.level_regressed):
            return True
        difference, error, df = estimate
        if abs(difference) + special.stdtrit(df, look.level_unchanged) * error <= POLICY.floor_rate:
            return False
    return False


def _beyond(estimate: tuple[np.ndarray, np.ndarray, np.ndarray], level: float) -> np.ndarray:
    difference, error, df = estimate
    worse: np.ndarray = difference - special.stdtrit(df, level) * error > INNER
    return worse


if __name__ == "__main__":
    main()
