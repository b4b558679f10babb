"""A month of the service in simulated time: releases, quiet days, trouble; no storm, no repeat, no growth."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil

from monitor import pipeline
from monitor.domain import Action, IncidentState, MessageType, ReleaseState, RunState
from monitor.settings import DestinationSettings
from monitor.store.queries import incidents, outbox, releases, runs
from standins.receivers import Receiver, SlackStandIn
from standins.service import BEGIN, Build, World

SECRET = "whsec_bXRwLW1vbml0b3ItdGVzdC1zZWNyZXQtMzItYnl0ZXM="
STEP = timedelta(hours=4)
DAYS = 30
WORSE, BROKEN = Build(accepted_share=0.45), Build(fault="start")
PLAN = {
    # day: what is released on it; the index is gone on days 10–12, the disk is full on day 18,
    # the index asks for a pause on day 21
    0: [None],
    2: [None],
    4: [WORSE],
    5: [WORSE],
    7: [None],
    10: [None],
    11: [WORSE],
    12: [None],
    15: [BROKEN],
    16: [None],
    18: [None],
    21: [None],
    24: [WORSE],
    27: [None],
}
LOSSES = 3
"""Days 4 and 5 are one. What was lost on day 11 was won back on day 12, before the index could be seen."""
GROWTH_BYTES = 24 * 2**20


def test_a_month_passes_without_a_storm_a_repeat_or_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path)
    # Signatures carry the simulated time, which a verifying receiver would call too old.
    with Receiver() as webhook, SlackStandIn() as slack:
        world.settings = {
            "allow_private_hosts": ("127.0.0.1",),
            "destinations": (
                DestinationSettings(name="hook", kind="webhook", url=webhook.url, secret=SECRET),
                DestinationSettings(name="chat", kind="slack", url=slack.url),
            ),
        }
        sizes = _live(world)
    _accounted_for(world, tmp_path)
    told = {post.headers["webhook-id"]: post.json for post in webhook.posts}
    types = Counter(body["type"] for body in told.values())
    # Each told once and ended once; the second is a release that does not start.
    assert types["incident.opened"] == types["incident.resolved"] == LOSSES
    # A second bad release, and reminders of what nobody has acknowledged for a day, two days, …
    assert types["incident.updated"] <= DAYS // 4
    assert types["service.stale"] <= 2
    assert len(webhook.posts) == len(told) == len(slack.posts)
    assert sizes[-1] < sizes[DAYS // 3] + GROWTH_BYTES, f"memory grew: {sizes}"


def _live(world: World) -> list[int]:
    """Let the month pass, opening the monitor anew each week, and return the memory in use each day."""
    number, sizes = 9300, []
    for week in range(0, DAYS, 7):
        with world.station() as station:
            for day in range(week, min(week + 7, DAYS)):
                for build in PLAN.get(day, ()):
                    number += 10
                    world.release(f"2026.6.{number}", build)
                world.offline, world.disk_full = 10 <= day <= 12, day == 18
                world.retry_after_s = 6 * 3600 if day == 21 else None
                while world.now < BEGIN + timedelta(days=day + 1):
                    pipeline.look(station, only_due=True)
                    pipeline.work(station)
                    pipeline.tell(station)
                    world.now += STEP
                sizes.append(psutil.Process().memory_info().rss)
    return sizes


def _accounted_for(world: World, folder: Path) -> None:
    with world.station() as station, station.store.read() as db:
        rows = releases.all_of(db)
        found = runs.recent(db, 500)
        known = sorted(incidents.in_state(db), key=lambda item: item.id)
        logs = [[step.action for step in incidents.log(db, item.id)] for item in known]
        messages = outbox.messages(db, 500)
    assert {row.state for row in rows} <= {ReleaseState.PLANNED, ReleaseState.SKIPPED}
    assert all(row.detail for row in rows if row.state is ReleaseState.SKIPPED)
    planned = [row.release.version for row in rows if row.state is ReleaseState.PLANNED]
    assert Counter(run.version for run in found) == Counter(planned)
    assert {run.state for run in found} == {RunState.DONE, RunState.FAILED}
    assert [item.state for item in known] == [IncidentState.RESOLVED] * len(known)
    assert all(log.count(Action.OPENED) == 1 and log[-1] is Action.RESOLVED for log in logs)
    assert sum(message.type is MessageType.INCIDENT_OPENED for message in messages) == len(known)
    # Two days of the outage brought releases that nobody had to measure one by one.
    assert any(row.state is ReleaseState.SKIPPED for row in rows)
