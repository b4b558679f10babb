"""Other projects' detectors on the series given as JSON on standard input; runs in their own environment.

Prints {"otava": [[index, …], …], "asv": …, "seconds": {…}}: places where a series rose, a list a series.
"""

import json
import sys
import time


def main() -> None:
    """Read series, detect, print."""
    series = json.load(sys.stdin)
    found, seconds = {}, {}
    for name, detect in (("otava", otava), ("asv", asv)):
        begun = time.perf_counter()
        found[name] = [detect(values) for values in series]
        seconds[name] = time.perf_counter() - begun
    print(json.dumps(found | {"seconds": seconds}))


def otava(values: list[float]) -> list[int]:
    """Apache Otava's defaults."""
    from otava.analysis import compute_change_points  # noqa: PLC0415

    points, _ = compute_change_points(values)
    return [int(p.index) for p in points if p.stats.mean_2 > p.stats.mean_1]


def asv(values: list[float]) -> list[int]:
    """Airspeed velocity's steps, with its threshold of 5 % for a regression."""
    from asv.step_detect import detect_steps  # noqa: PLC0415

    steps = detect_steps(values)
    levels = [(step[0], step[2]) for step in steps]
    return [
        start
        for (start, level), (_, before) in zip(levels[1:], levels, strict=False)
        if level > before * 1.05
    ]


if __name__ == "__main__":
    main()
