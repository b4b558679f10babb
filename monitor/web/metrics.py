"""`/metrics`: the state of the service in Prometheus' text format, read from the store at every scrape."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitor.domain import DeliveryState, IncidentState, Verdict
from monitor.steps.station import Station
from monitor.store.queries import incidents, outbox
from monitor.web.facts.overview import Overview, overview
from monitor.web.facts.status import Status, status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "mtp_monitor_"


def exposition(station: Station) -> bytes:
    """Return every metric as text.

    Raises:
        StoreError: when the store does not answer.

    """
    registry = CollectorRegistry()
    registry.register(_Facts(station))
    return generate_latest(registry)


class _Facts(Collector):
    def __init__(self, station: Station) -> None:
        self._station = station

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are not needed before the values are."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        state, standing = status(self._station), overview(self._station)
        yield _one("info", "The version that runs.", 1, version=importlib.metadata.version("mtp-monitor"))
        yield _one("healthy", "1 when every part of the service does its work.", int(state.health.well))
        yield from _service(state)
        yield from _told(self._station)
        yield from _measured(standing)


def _service(state: Status) -> Iterator[Metric]:
    beat = _family("part_beat_timestamp_seconds", "When a part of the service was last seen.", "part")
    failures = _family("part_failures", "Rounds of a part that failed in a row.", "part")
    for part in state.health.parts:
        seen = part.ended_at or part.begun_at
        if seen is not None:
            beat.add_metric([part.name], seen.timestamp())
        failures.add_metric([part.name], part.failures)
    yield beat
    yield failures
    answered = _family(
        "source_answer_timestamp_seconds", "When a source last answered.", "project", "channel"
    )
    lost = _family(
        "source_failures", "Looks at a source in a row that brought nothing.", "project", "channel"
    )
    for source in state.sources:
        if source.answered_at is not None:
            answered.add_metric([source.project, source.channel], source.answered_at.timestamp())
        lost.add_metric([source.project, source.channel], source.failures)
    yield answered
    yield lost
    yield _one("queue_waiting_runs", "Runs that wait for their turn.", len(state.waiting))
    yield _one("queue_working_runs", "Runs at work.", len(state.working))
    runs = _family("runs", "Runs of this host by state.", "state")
    for name, number in state.run_counts.items():
        runs.add_metric([name.value], number)
    yield runs
    if state.gpu is not None:
        yield _one("gpu_held", "1 while nothing is measured on the GPU.", int(bool(state.gpu.why_held)))
    yield _one("budget_used_minutes", "Minutes of measuring in the last 24 hours.", state.budget.used_today)


def _told(station: Station) -> Iterator[Metric]:
    with station.store.read() as db:
        counts, standing = incidents.counts(db), outbox.standing(db)
    found = _family("incidents", "Incidents by state.", "state")
    for state in IncidentState:
        found.add_metric([state.value], counts[state])
    yield found
    deliveries = _family("deliveries", "Deliveries by destination and state.", "destination", "state")
    names = [one.name for one in station.settings.destinations] + [name for name, _ in standing]
    for name in dict.fromkeys(names):
        for kind in DeliveryState:
            deliveries.add_metric([name, kind.value], standing.get((name, kind), 0))
    yield deliveries


def _measured(facts: Overview) -> Iterator[Metric]:
    names = ("project", "check")
    speedup = _family("speedup", "Speedup of the newest measured release.", *names)
    reference = _family("reference_speedup", "Speedup of the reference it was judged by.", *names)
    acceptance = _family("acceptance_rate", "Acceptance rate of the newest measured release.", *names)
    verdict = _family("verdict", "1 for the verdict on the newest measured release.", *names, "verdict")
    for one in facts.standings:
        if one.latest is None:
            continue
        labels = [one.project, one.check]
        for family, value in (
            (speedup, one.latest.speedup),
            (reference, one.latest.reference_speedup),
            (acceptance, one.latest.acceptance_rate),
        ):
            if value is not None:
                family.add_metric(labels, value)
        for kind in Verdict:
            verdict.add_metric([*labels, kind.value], int(one.latest.verdict is kind))
    yield from (speedup, reference, acceptance, verdict)


def _family(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)


def _one(name: str, meaning: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, meaning, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
