"""A week of nightly builds, looked at every four hours; `make test-faults` looks four times an hour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from standins import nightly_week
from standins.nightly_week import Week


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    with nightly_week.lived(tmp_path_factory.mktemp("week"), timedelta(hours=4)) as lived:
        yield lived


def test_no_build_is_lost_and_each_says_what_became_of_it(week: Week) -> None:
    nightly_week.nothing_is_lost(week)


def test_a_build_a_day_and_each_promotion_are_measured_and_nothing_twice(week: Week) -> None:
    nightly_week.nothing_is_measured_twice(week)


def test_a_build_that_was_made_again_is_told_and_never_measured(week: Week) -> None:
    nightly_week.what_was_made_again_is_not_measured(week)


def test_the_limit_is_obeyed_and_hardly_used(week: Week) -> None:
    print(nightly_week.the_limit_is_obeyed(week))  # noqa: T201
