"""How often the judge errs, and how soon it decides, on made-up releases whose truth is known.

    python benchmarks/judge/simulation.py [--releases 100000] [--part chain]

A release has five checks with four gating times each (step time, baseline rate, first token of both arms):
twenty series, each with noise of its own. Writes its tables into docs/judging.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import tables
from model import Noise, Outcome, agrees_with_the_judge, run
from scipy import special
from tables import percent

from monitor.judge.policy import JudgingPolicy

POLICY = JudgingPolicy()
CHECKS, SERIES = 5, 4
QUIET = np.zeros((CHECKS, SERIES))
LOSS = 0.03
SEED = 20261124
FIXED_MOST = 24


def main() -> None:
    """Run every scenario and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=10_000, help="made-up releases for each figure")
    parser.add_argument("--part", choices=PARTS, help="write this table alone")
    wanted = parser.parse_args()
    agrees_with_the_judge(np.random.default_rng(SEED))
    for name in [wanted.part] if wanted.part else PARTS:
        table, told = PARTS[name](wanted.releases)
        tables.write(name, f"{table}\n\n{told}")


def _told(releases: int) -> str:
    return f"{releases:,} made-up releases a figure, seed {SEED}; {tables.machine()}."


def loss(series: int, size: float = LOSS) -> np.ndarray:
    """Return a change of one series of a single check; 0 is step time, 1 the baseline rate."""
    shift = np.zeros((1, SERIES))
    shift[0, series] = size
    return shift


def noises(releases: int) -> tuple[str, str]:
    """Quiet and worse releases at the three published levels of noise."""
    rows = []
    for stored in (6, 12):
        for session in (0.005, 0.0076, 0.010):
            chance = np.random.default_rng(SEED)
            noise = Noise(session)
            quiet = run(chance, noise, POLICY, shift=QUIET, releases=releases, reference=stored)
            worse = [
                run(chance, noise, POLICY, shift=loss(s), releases=releases, checks=1, reference=stored)
                for s in (0, 1)
            ]
            fixed = fixed_design(noise, stored, quiet, worse[0], min(releases, 4000))
            suspected = worse[0].confirm_blocks[worse[0].suspected]
            rows.append(
                [
                    f"{percent(session)}, {stored}",
                    percent(quiet.suspected.any(1).mean()),
                    opened(quiet),
                    *(percent(one.confirmed.mean(), 1) for one in worse),
                    percent(np.mean([one.harmless.mean() for one in worse])),
                    percent(1 - (quiet.harmless | quiet.suspected).mean(), 1),
                    f"{quiet.blocks.mean():.1f}",
                    f"{worse[0].blocks.mean():.1f} + {suspected.mean():.1f}",
                    fixed if isinstance(fixed, str) else str(fixed),
                    "–" if isinstance(fixed, str) else percent(quiet.blocks.mean() / fixed, 0),
                ]
            )
    head = [
        "noise between sessions, stored sessions",
        "quiet releases suspected",
        "opened after confirming",
        "3 % step time confirmed",
        "3 % baseline confirmed",
        "3 % called unchanged",
        "quiet checks left open",
        "blocks, quiet",
        "blocks, worse",
        "fixed design",
        "blocks ÷ fixed",
    ]
    return tables.markdown(head, rows), _told(releases)


def opened(outcome: Outcome) -> str:
    """Return the share of releases that opened an incident, and the count."""
    found = outcome.confirmed.any(1)
    return f"{percent(found.mean(), 3)} ({found.sum()})"


def fixed_design(noise: Noise, stored: int, quiet: Outcome, worse: Outcome, releases: int) -> int | str:
    """Return the blocks of a single look with the same errors that decides as well as all the looks did."""
    chance = np.random.default_rng(SEED + 1)
    for blocks in range(2, FIXED_MOST + 1):
        settings = {"releases": releases, "checks": 1, "reference": stored, "fixed": blocks}
        calm = run(chance, noise, POLICY, shift=np.zeros((1, SERIES)), **settings)
        if calm.harmless.mean() < quiet.harmless.mean() - 1 / releases:
            continue
        found = run(chance, noise, POLICY, shift=loss(0), **settings)
        if found.suspected.mean() >= worse.suspected.mean() - 1 / releases:
            return blocks
    return f"> {FIXED_MOST}"


def scenarios(releases: int) -> tuple[str, str]:
    """Tell the same where the assumptions fail."""
    at = Noise(0.0076)
    cases: list[tuple[str, Noise, dict[str, object]]] = [
        ("0.76 %", at, {}),
        ("0.76 %, without calibration", at, {"calibration_df": 0}),
        ("0.76 %, t3 tails", replace(at, tails="t3"), {}),
        ("0.76 %, one session in 20 slower by five deviations", replace(at, tails="outliers"), {}),
        ("0.76 %, drift of 1 % an hour", replace(at, drift_per_hour=0.01), {}),
        ("1.0 %", Noise(0.01), {}),
        ("0.76 %, day effect 0.5 %", replace(at, day=0.005), {}),
        ("0.76 %, day effect 1 %", replace(at, day=0.01), {}),
        ("0.76 %, day effect 1 %, in turns from the start", replace(at, day=0.01), {"takes_turns": True}),
        ("1.0 %, day effect 1 %, in turns from the start", Noise(0.01, day=0.01), {"takes_turns": True}),
    ]
    rows = []
    for name, noise, settings in cases:
        chance = np.random.default_rng(SEED)
        wanted = {"releases": releases, "reference": 12, **settings}
        quiet = run(chance, noise, POLICY, shift=QUIET, **wanted)
        worse = run(chance, noise, POLICY, shift=loss(0), checks=1, **wanted)
        rows.append(
            [
                name,
                percent(quiet.suspected.any(1).mean()),
                opened(quiet),
                percent(worse.suspected.mean(), 1),
                percent(worse.confirmed.mean(), 1),
                percent(worse.harmless.mean()),
                f"{quiet.blocks.mean():.1f}",
            ]
        )
    head = [
        "12 stored sessions, noise",
        "quiet releases suspected",
        "opened after confirming",
        "3 % suspected",
        "3 % confirmed",
        "3 % called unchanged",
        "blocks, quiet",
    ]
    return tables.markdown(head, rows), _told(releases)


def chain(releases: int) -> tuple[str, str]:
    """Tell the power where the reference is no first measurement, but a release that was judged itself.

    Once it is measured on to `blocks_reference` blocks, as it is, and once it is left as it was judged.
    """
    releases = min(releases, 4000)
    rows = []
    stored = range(POLICY.blocks_min, POLICY.blocks_max + 1)
    enough = POLICY.blocks_reference - stored[0]
    for session in (0.005, 0.0076, 0.010):
        left, onward = np.zeros((2, len(stored), len(stored)))
        power = []
        for place, reference in enumerate(stored):
            settings = {"releases": releases, "checks": 1, "reference": reference}
            chance = np.random.default_rng(SEED)
            quiet = run(chance, Noise(session), POLICY, shift=np.zeros((1, SERIES)), **settings)
            # Only what was found harmless becomes the reference; else the old one stays.
            good = quiet.blocks[quiet.harmless] - stored[0]
            for moves, blocks in ((left, good), (onward, np.maximum(good, enough))):
                moves[place] = np.bincount(blocks, minlength=len(stored)) / releases
                moves[place, place] += 1 - quiet.harmless.mean()
            chance = np.random.default_rng(SEED)
            power.append(run(chance, Noise(session), POLICY, shift=loss(0), **settings).confirmed.mean())
        row = [percent(session)]
        for moves in (onward, left):
            share = np.linalg.matrix_power(moves, 200)[enough]
            row += [f"{share @ np.array(stored):.1f}", percent(share @ np.array(power), 1)]
        rows.append([*row, percent(power[0], 1)])
    head = [
        "noise between sessions",
        "stored sessions on average",
        "3 % confirmed",
        "left as judged: sessions",
        "left as judged: confirmed",
        "confirmed with two",
    ]
    told = f"{releases:,} made-up checks for each number of stored sessions."
    return tables.markdown(head, rows), told


def shared_cpu(releases: int) -> tuple[str, str]:
    """Judge by the policies of the checks that ship for a shared CPU, one check a release."""
    common = {"noise_floor": "measured", "doubt_level": 0.8}
    cpu = replace(POLICY, blocks_max=4, confirm_blocks_max=2, session_noise=0.10, **common)
    small = replace(POLICY, blocks_max=2, confirm_blocks_max=1, session_noise=0.15, **common)
    designs = (("synthetic-qwen35-cpu", cpu, 5), ("two sessions a side", small, 2))
    rows = [
        [f"{name}, {percent(noise, 0)} {tails}", *_on_cpu(policy, stored, noise, tails, releases)]
        for name, policy, stored in designs
        for noise in (0.05, 0.10, 0.20, 0.30)
        for tails in ("normal", "t3")
    ]
    head = [
        "check, noise between sessions",
        "quiet suspected",
        "quiet confirmed",
        "step 40 % slower, confirmed",
        "80 % slower, confirmed",
    ]
    return tables.markdown(head, rows), _told(releases)


def _on_cpu(policy: JudgingPolicy, stored: int, noise: float, tails: str, releases: int) -> Iterator[str]:
    for series, size in ((0, 0.0), (0, math.log(1.4)), (0, math.log(1.8))):
        found = run(
            np.random.default_rng(SEED),
            Noise(noise, within=0.05, tails=tails),
            policy,
            shift=loss(series, size),
            # The stated noise stands for the calibration: fixed, not estimated.
            stated=policy.session_noise,
            calibration_df=policy.session_noise_df,
            releases=10 * releases if size == 0 else releases,
            checks=1,
            reference=stored,
        )
        if size == 0:
            yield percent(found.suspected.mean(), 3)
            yield opened(found)
        else:
            yield percent(found.confirmed.mean(), 1)


def diverged(releases: int) -> tuple[str, str]:
    """Tell what is known of acceptance where every text went another way: each prompt is one draw."""
    rows = []
    drafted, share, limit = 369, 0.75, POLICY.inner_fraction * POLICY.floor_acceptance
    level = 1 - POLICY.error_regressed / 6
    for prompts in (14, 52):
        chance, called = np.random.default_rng(SEED), []
        for drop in (0.0, 0.02, 0.03, 0.05):
            old = chance.binomial(drafted, share, (releases, prompts)) / drafted
            new = chance.binomial(drafted, share - drop, (releases, prompts)) / drafted
            change = old - new
            error = change.std(-1, ddof=1) / math.sqrt(prompts)
            beyond = change.mean(-1) - special.stdtrit(prompts - 1, level) * error > limit
            called.append(percent(beyond.mean(), 1))
        rows.append([f"{prompts} prompts of 400 tokens", *called])
    head = ["every prompt diverged", "no change", "2 points", "3 points", "5 points"]
    return tables.markdown(head, rows), _told(releases)


PARTS = {
    "simulation": noises,
    "scenarios": scenarios,
    "chain": chain,
    "shared CPU": shared_cpu,
    "diverged text": diverged,
}
"""Name of a table in docs/judging.md → what makes it, and the sentence below it."""


if __name__ == "__main__":
    main()
