"""What GitHub is asked and when: what a look costs, and limits that are obeyed to the letter."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitor.errors import SourceError
from monitor.net import Http
from standins.desk import Desk, asset, open_desk, publish
from standins.github import PAUSES, Fault

# ---------------------------------------------------------------------------------------------
# What it costs


def test_looks_while_nothing_is_new_cost_one_request_an_hour(desk: Desk) -> None:
    publish(desk, *range(9300, 9310), minutes=90)
    desk.clock.wait(hours=6)
    desk.poll()
    before = desk.github.counted()
    for _ in range(4 * 5):
        desk.clock.wait(minutes=15)
        desk.poll()
    assert desk.github.counted() - before == 5
    assert len(desk.github.asked("releases.atom")) == 21


def test_with_a_token_an_unchanged_page_costs_nothing(tmp_path: Path) -> None:
    with open_desk(tmp_path, token="ghp_secret") as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9310))
        clock.wait(hours=6)
        desk.poll()
        assert github.counted() == 1
        for _ in range(3):
            clock.wait(hours=1)
            desk.poll()
        assert [request.status for request in github.requests if request.place == "api"] == [
            200,
            304,
            304,
            304,
        ]
        assert github.counted() == 1
        # What one token was told is nothing to another, or to nobody.
        desk.token = None
        clock.wait(hours=1)
        desk.poll()
        assert github.requests[-1].status == 200
        assert "if-none-match" not in github.requests[-1].headers


def test_two_channels_share_a_look(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.promote("v0.5.0", "b9300")
    desk.poll("nightly")
    desk.poll("stable")
    assert desk.github.counted() == 1


def test_pages_are_followed_to_the_wanted_depth_and_then_only_to_what_is_known(desk: Desk) -> None:
    publish(desk, *range(9300, 9400), minutes=30)
    assert len(desk.poll()) == 100
    assert desk.github.counted() == 4
    publish(desk, *range(9400, 9410), minutes=30)
    assert len(desk.poll()) == 110
    assert desk.github.counted() == 5
    publish(desk, *range(9410, 9450), minutes=10)
    assert len(desk.poll()) == 150
    assert desk.github.counted() == 7, "ten of the second page were known"


def test_what_lies_further_back_is_not_listed_and_said_not_to_be(desk: Desk) -> None:
    publish(desk, 9300, 9301, minutes=24 * 60)
    desk.clock.wait(days=30)
    publish(desk, 9400)
    assert [one.version for one in desk.poll()] == ["9400"]
    assert desk.since == desk.clock.now - timedelta(days=30)


def test_a_feed_that_cannot_be_read_only_costs_requests(desk: Desk) -> None:
    publish(desk, 9300)
    desk.poll()
    desk.github.feed_is_down = True
    publish(desk, 9301, minutes=15)
    assert list(desk.builds()) == ["9300", "9301"]


# ---------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize("fault", [Fault.SECONDARY, Fault.BUSY])
def test_a_pause_that_was_asked_for_is_kept_to_the_second_also_by_the_next_process(
    desk: Desk, fault: Fault
) -> None:
    publish(desk, 9300)
    desk.github.faults = [fault]
    with pytest.raises(SourceError, match="limit is reached") as error:
        desk.poll()
    assert error.value.retry_after_s == PAUSES[fault]
    desk.clock.wait(seconds=PAUSES[fault] - 1)
    desk.http = Http(clock=desk.clock.seconds)
    with desk.http:
        with pytest.raises(SourceError, match="GitHub was not asked") as error:
            desk.poll()
        assert error.value.retry_after_s == pytest.approx(1)
        desk.clock.wait(seconds=1)
        assert list(desk.builds()) == ["9300"]


def test_a_refusal_that_names_no_moment_is_obeyed_for_longer_each_time(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.faults = [Fault.SECONDARY_BARE] * 4
    pauses = []
    for _ in range(4):
        with pytest.raises(SourceError) as error:
            desk.poll()
        pauses.append(error.value.retry_after_s)
        desk.clock.wait(seconds=error.value.retry_after_s or 0)
    assert pauses == [60, 120, 240, 480]
    assert list(desk.builds()) == ["9300"]
    desk.clock.wait(hours=2)
    desk.github.faults = [Fault.SECONDARY_BARE]
    with pytest.raises(SourceError) as error:
        desk.poll()
    assert error.value.retry_after_s == 60, "an answer in between begins the count anew"


def test_when_nothing_is_left_nothing_is_asked_until_the_reset(tmp_path: Path) -> None:
    with open_desk(tmp_path, limit=4, history_days=90) as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9500), minutes=30)
        begun = clock.now
        # A walk leaves some requests for looks, as far as there are any.
        for build in range(9600, 9604):
            desk.poll()
            clock.wait(minutes=2)
            github.release(f"b{build}", files={asset(build): b"x"}, prerelease=True)
        with pytest.raises(SourceError, match="used up until") as error:
            desk.poll()
        assert github.counted() == 4
        left_s = (begun + timedelta(hours=1) - clock.now).total_seconds()
        assert error.value.retry_after_s == pytest.approx(left_s, abs=2)
        clock.wait(seconds=error.value.retry_after_s)
        desk.poll()


def test_a_walk_that_the_limit_cuts_short_says_how_far_it_came_and_goes_on_later(tmp_path: Path) -> None:
    with open_desk(tmp_path, limit=8, history_days=90) as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9450), minutes=30)
        assert len(desk.poll()) == 90
        assert desk.since is not None
        assert desk.since > clock.now - timedelta(days=89)
        github.limits[""] = 60
        clock.wait(hours=3)
        assert len(desk.poll()) == 150
        assert desk.since == clock.now - timedelta(days=90)


def test_a_refused_token_and_a_closed_repository_are_no_limits(desk: Desk) -> None:
    desk.token = "ghp_wrong"
    with pytest.raises(SourceError, match="refuses the token") as error:
        desk.poll()
    assert error.value.permanent
    desk.token = None
    desk.github.faults = [Fault.FORBIDDEN]
    desk.clock.wait(minutes=2)
    with pytest.raises(SourceError, match="answered 403") as error:
        desk.poll()
    assert error.value.retry_after_s is None
