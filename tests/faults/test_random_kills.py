"""kill -9 at moments nobody chose, again and again: each release still ends once and is told once."""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections import Counter

import pytest
from killing import Yard

from monitor.domain import RunState
from monitor.planted.wheels import Fault
from monitor.store.transitions import ENDED

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", "20261124"))
SHORTEST_S = 0.2
WORK_S = 5.0
"""How far into its work a cycle may come, beside the time one takes that has nothing to do."""
STORY = (Fault.QUIET, Fault.WORSE_HEAD, Fault.CRASH, Fault.QUIET)


def test_every_release_is_accounted_for_whenever_the_monitor_is_killed(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)  # noqa: S311  # printed, to repeat a failure
    # The kills are no fault of the releases, so no number of them may use up a run's attempts.
    monkeypatch.setitem(yard.house.environment, "MTP_MONITOR_SCHEDULE__ATTEMPTS", "1000")
    yard.put_back()
    chapters, editions = itertools.cycle(STORY), Counter({Fault.QUIET: 1})
    told: dict[str, Fault] = {yard.quiet: Fault.QUIET}
    kills, newest = 0, yard.quiet
    with yard.told() as webhook:
        began_s = time.monotonic()
        yard.until_done()
        longest_s = time.monotonic() - began_s + WORK_S
        while kills < KILLS:
            run = yard.run_of(newest)
            if run is not None and run.state in ENDED:
                fault = next(chapters)
                editions[fault] += 1
                newest = yard.publish(fault, editions[fault])
                told[newest] = fault
            kills += yard.kill_after(chance.uniform(SHORTEST_S, longest_s))
        yard.until_done()

        yard.nothing_is_left()
        ended = yard.every_release_is_accounted_for(list(told))
        for version, fault in told.items():
            expected = RunState.FAILED if fault is Fault.CRASH else RunState.DONE
            assert ended[version].state is expected, ended[version]
            if fault is Fault.WORSE_HEAD:
                yard.regressed_and_confirmed(ended[version])
        bad = [ended[version] for version, fault in told.items() if fault is not Fault.QUIET]
        yard.opened_once_and_told(bad, webhook)
    with capsys.disabled():
        attempts = sum(run.attempts for run in ended.values())
        sys.stdout.write(f"\n{kills} kills, seed {SEED}: {len(told)} releases in {attempts} attempts\n")
