"""The week of nightly builds looked at every 15 minutes, as the service does by default."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from standins import nightly_week


def test_a_week_of_nightly_builds_looked_at_four_times_an_hour(tmp_path: Path) -> None:
    with nightly_week.lived(tmp_path, timedelta(minutes=15)) as week:
        nightly_week.nothing_is_lost(week)
        nightly_week.nothing_is_measured_twice(week)
        nightly_week.what_was_made_again_is_not_measured(week)
        print(nightly_week.the_limit_is_obeyed(week))  # noqa: T201
