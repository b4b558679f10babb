"""The points of a cycle at which a test kills the monitor, in the order in which a cycle comes by them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Right before or right after a call of one function."""

    where: str
    """`module:attribute`, under the name by which the function is called there."""
    moment: str
    """`before` the call, or `after` it."""
    call: int = 1
    """Which call it is, the first being 1."""
    naming: str = ""
    """Only calls are counted whose arguments, as they are printed, hold this text."""


_QUERIES = "monitor.store.queries"
_SAMPLES = 4  # of a session of the checks of these tests

POINTS = {
    "discovered, not recorded": Point(f"{_QUERIES}.listings:record", "before"),
    "recorded, not committed": Point(f"{_QUERIES}.listings:record", "after"),
    "settling": Point("monitor.releases.policy:decide", "after"),
    "run made, not committed": Point(f"{_QUERIES}.runs:create", "after"),
    "run made, release not marked as planned": Point("monitor.steps.news:_decide", "before"),
    "lock taken": Point("monitor.pipeline:tidy", "before"),
    "attempt counted": Point("monitor.pipeline:provision", "before"),
    "environment made, nothing in it": Point(
        "monitor.environments.command:run_bound", "before", naming="--require-hashes"
    ),
    "installing": Point("monitor.environments.command:_started", "after", naming="--require-hashes"),
    "installed, not marked as complete": Point("monitor.environments.record:write", "before"),
    "environment built, not stored": Point(f"{_QUERIES}.environments:save", "before"),
    "engine started": Point("monitor.proc:Supervised._start", "after"),
    "warmed up": Point("monitor.bench.session:decode", "after"),
    "a sample of the second session": Point(
        "monitor.bench.spool:SpoolWriter.sample", "after", call=_SAMPLES + 2
    ),
    "session in the spool, not in the store": Point(f"{_QUERIES}.sessions:save", "before", call=2),
    "judging": Point("monitor.steps.screen:judge", "after"),
    "confirming": Point("monitor.bench.spool:SpoolWriter.sample", "after", call=6 * _SAMPLES + 1),
    "verdict reached, not saved": Point(f"{_QUERIES}.judgements:save", "before"),
    "verdict saved, not committed": Point("monitor.pipeline:end_attempt", "after"),
    "run done, spool not cleaned up": Point("monitor.pipeline:shutil.rmtree", "before", naming="/spool/run-"),
    "run done, not announced": Point("monitor.pipeline:announce", "before"),
    "incident opened, not committed": Point(f"{_QUERIES}.incidents:add", "after"),
    "message written, not committed": Point(f"{_QUERIES}.queue:set_announced", "after"),
    "announced": Point("monitor.pipeline:announce", "after"),
    "delivery claimed, not posted": Point("monitor.alerts.webhook:WebhookTransport.notify", "before"),
    "posted, not marked as delivered": Point("monitor.alerts.webhook:WebhookTransport.notify", "after"),
}
"""Each lies in the cycle that measures, confirms and tells of a release that lost something."""

OTHER_POINTS = {
    "migrating": Point("alembic.operations:Operations.create_table", "after", naming="'incident_transition'"),
    "machine borrowed": Point("monitor.steps.borrow:_run", "after"),
}
"""Points that need a state folder or a configuration of their own."""
