"""Sweep: one release with several draft lengths and options, measured in turns, to find the best here.

All cells are measured in one run. Each block holds one baseline session, which serves every cell, and one mtp
session of each cell that is still in question; the order turns round from block to block. After each block
the cells that are slower for certain are dropped, and the sweep ends when the best is decided.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitor.checks import loader
from monitor.checks.digest import canonical_json, digest_of
from monitor.domain import (
    ATTACHED_CHANNEL,
    Arm,
    Artifact,
    Cell,
    Check,
    Environment,
    Role,
    RunState,
    SampleSet,
    Standing,
    Sweep,
    Tier,
    is_attached,
)
from monitor.engines import options as engine_options
from monitor.errors import ConfigurationError, EngineError, UnknownNameError
from monitor.judge import sweep as judging
from monitor.judge.statistics import Estimate
from monitor.judge.sweep import Measured, Weighed
from monitor.steps.measure import Bench, Build, Slot, measure_slot, recovered
from monitor.steps.plan import ASKED
from monitor.steps.provision import Weights, provision
from monitor.steps.provision import weights as weights_of
from monitor.steps.states import begin_attempt, end_attempt, ending_as_told, enter, settle_attempt
from monitor.steps.station import Station
from monitor.store.queries import queue, runs, sweeps
from monitor.store.queries.runs import Run
from monitor.store.queries.sweeps import SweepOrder

AGAINST = runs.SWEEP
"""What the run of a sweep is compared with: its own cells. It is no part of the check's series."""
BASELINE = "baseline"
"""Whose sessions the baseline's are: those of all cells."""
_MOST_CELLS = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep measures."""

    check: Check
    """The one that is swept."""
    cells: tuple[Cell, ...]
    checks: Mapping[str, Check]
    """Name of a cell → the check that it is."""
    tier: Tier
    options: Mapping[str, Sequence[str]]
    """Name of an option → the values that are tried."""

    @property
    def own_check(self) -> Check:
        """The check that the sweep's run is kept under: its digest names the cells."""
        named = canonical_json([self.check.digest, [cell.check_digest for cell in self.cells], self.tier])
        return replace(
            self.check,
            id=f"{self.check.id}~sweep",
            title=f"Sweep: {self.check.title}",
            digest=hashlib.sha256(named.encode()).hexdigest(),
            # It begins and may stop before each block, so a block is what has to fit in.
            estimate_minutes={self.tier.value: self.minutes(1)},
        )

    @property
    def order(self) -> SweepOrder:
        """What has to be known to measure it."""
        lengths = tuple(dict.fromkeys(cell.draft_length for cell in self.cells))
        return SweepOrder(self.check.id, lengths, self.options)

    def minutes(self, blocks: int) -> float:
        """Return what so many blocks take at most, by the check's own estimate of a pair of sessions."""
        pair = self.check.estimate_minutes.get(self.tier.value, 0.0)
        return blocks * (1 + len(self.cells)) * pair / 2


def planned(
    check: Check, lengths: Sequence[int], options: Mapping[str, Sequence[str]], tier: Tier = Tier.QUICK
) -> Plan:
    """Return the cells: every draft length with every combination of the options' values.

    Raises:
        ConfigurationError: for an engine whose speculation is its owner's, an unknown option or a value that
            is none, or too many cells.

    """
    if check.engine not in engine_options.OPTIONS:
        raise ConfigurationError(
            f"The draft length of the check {check.id} (engine {check.engine}) is decided by whoever starts "
            "its servers.",
            advice="sweep a check whose servers the monitor starts",
        )
    known = [engine_options.option_of(check.engine, name) for name in options]
    values = [[(option, text) for text in options[option.name]] for option in known]
    cells, checks = [], {}
    for length, chosen in itertools.product(sorted(set(lengths)), itertools.product(*values)):
        settings: dict[str, Any] = dict(check.serve_mtp)
        for option, text in chosen:
            settings = engine_options.set_in(settings, option, engine_options.value_of(option, text))
        name = ",".join([f"n{length}", *(f"{option.name}={text}" for option, text in chosen)])
        varied = replace(check, id=f"{check.id}~{name}", draft_length=length, serve_mtp=settings)
        varied = replace(varied, digest=digest_of(varied))
        given = {option.name: text for option, text in chosen}
        cells.append(Cell(name, length, given, varied.id, varied.digest))
        checks[name] = varied
    if not 2 <= len(cells) <= _MOST_CELLS:  # noqa: PLR2004  # one has nothing beside it
        raise ConfigurationError(
            f"That is {'one cell' if len(cells) == 1 else f'{len(cells)} cells'}.",
            advice=f"a sweep compares 2 to {_MOST_CELLS}: fewer lengths or values, or more",
        )
    return Plan(check, tuple(cells), checks, tier, options)


def plan_of(station: Station, run: Run) -> Plan:
    """Return what the run of a sweep measures, as it was asked for.

    Raises:
        UnknownNameError: when the check is gone, or no longer what it was then.

    """
    with station.store.read() as db:
        order = sweeps.order_of(db, run.id)
    if order is None:
        raise UnknownNameError(f"Run {run.id} is no sweep that can go on.", advice="ask for it again")
    check = loader.pick(order.check_id, station.checks)
    plan = planned(check, order.draft_lengths, order.options, run.tier)
    if plan.own_check.digest != run.check_digest:
        raise UnknownNameError(
            f"The check {check.id} was changed since the sweep was asked for.", advice="ask for it again"
        )
    return plan


def run_of(station: Station, plan: Plan, artifact: Artifact, *, again: bool, queued: bool) -> Run:
    """Return the run of this sweep on this release: the one that exists, else a new one.

    With `queued` it stands in the queue, before what the daemon found by itself, unless it has ended.
    """
    own, now = plan.own_check, station.clock()
    with station.store.write() as db:
        found = runs.find(
            db, check_digest=own.digest, artifact_sha256=artifact.sha256, machine_id=station.host.machine_id
        )
        usable = [run for run in found if run.state not in (RunState.CANCELLED, RunState.SKIPPED)]
        ended = (RunState.DONE, RunState.FAILED, RunState.INVALID)
        # One that failed is tried again; the queue knows no second try of the same run.
        over = ended if again else ended[1:] if queued else ()
        known = usable[0] if usable and usable[0].state not in over else None
        run = known or runs.create(
            db,
            check=own,
            artifact=artifact,
            host=station.host,
            tier=plan.tier,
            requested_by="sweep",
            channel=ATTACHED_CHANNEL if is_attached(artifact) else "stable",
            against=AGAINST,
            confirm=False,
            now=now,
        )
        sweeps.keep_order(db, run.id, plan.order)
        if queued and run.state not in ended:
            queue.enqueue(db, run.id, due_at=now, priority=ASKED)
        return runs.get(db, run.id) or run


def sweep(
    station: Station, plan: Plan, run: Run, artifact: Artifact, may_go_on: Callable[[], None]
) -> Sweep | None:
    """Measure until the best is decided, and keep what was found; None when the release does not serve.

    `may_go_on` is asked before each block, and raises when the owner's hours or budget are over. What is
    complete then is kept, and a later sweep goes on from there.

    Raises:
        HostError, SourceError, ModelError, DiskFullError: when something around the release is missing; the
            run is interrupted, and goes on when asked again.

    """
    with ending_as_told(station, run):
        enter(station, run, RunState.PROVISIONING)
        begin_attempt(station, run)
        environment = provision(station, artifact)
        weights = weights_of(station, plan.check)
        settle_attempt(station, run, environment, None)
        enter(station, run, RunState.MEASURING)
        measuring = _Measuring(station, plan, run, weights, environment)
        weighed = measuring.until_decided(may_go_on)
        enter(station, run, RunState.JUDGING)
        found = measuring.found(weighed, artifact)
        with station.store.write() as db:
            sweeps.save(db, found)
            reason = f"best: {found.chosen.name}" if found.chosen else "no cell serves"
            runs.set_state(db, run.id, RunState.DONE, reason=reason, now=station.clock())
            end_attempt(db, station, run, RunState.DONE)
        return found
    return None


class _Measuring:
    """The cells of one sweep, as far as they are measured."""

    def __init__(
        self, station: Station, plan: Plan, run: Run, weights: Weights, environment: Environment
    ) -> None:
        self._station, self._plan, self._run = station, plan, run
        self._benches = {
            name: Bench(station, run, check, weights, plan.tier)
            for name, check in {BASELINE: plan.check, **plan.checks}.items()
        }
        self._builds = {
            name: Build(name, environment, bench.header(environment)) for name, bench in self._benches.items()
        }
        self._policy = self._benches[BASELINE].policy()
        self._dropped: dict[str, Estimate] = {}
        """Cell → by how much it was slower than what was the best then."""
        self._done = 0
        self._failed: dict[str, str] = {}
        self._blocks = 0

    def until_decided(self, may_go_on: Callable[[], None]) -> Weighed:
        """Measure block after block; cells that are slower for certain are left out of later blocks."""
        done = {
            name: {session.session for session in recovered(bench, self._builds[name], Role.SCREEN)}
            for name, bench in self._benches.items()
        }
        self._done = sum(map(len, done.values()))
        weighed = Weighed(None, {}, {}, self._policy.floor_rate)
        for block in range(self._policy.blocks_max):
            slots = [slot for slot in self._slots(block) if slot.number not in done[slot.subject]]
            if slots:
                may_go_on()
            for slot in slots:
                self._measure(slot)
            self._blocks = block + 1
            if self._blocks < self._policy.blocks_min:
                continue
            weighed = self._weighed()
            for name, how in weighed.standings.items():
                if how is Standing.SLOWER:
                    self._dropped.setdefault(name, weighed.against_best[name])
            if weighed.decided:
                break
        return weighed

    def _slots(self, block: int) -> Iterable[Slot]:
        """Yield the sessions of a block; their numbers do not depend on which cells are left."""
        names = [BASELINE, *self._plan.checks]
        order = names if block % 2 == 0 else names[::-1]
        for place, name in enumerate(order):
            if name in self._dropped or name in self._failed:
                continue
            arm = Arm.BASELINE if name == BASELINE else Arm.MTP
            yield Slot(block * len(names) + place, arm, block, place, Role.SCREEN, name)

    def _measure(self, slot: Slot) -> None:
        bench, most = self._benches[slot.subject], self._policy.blocks_max
        self._station.progress.stage(f"block {slot.block + 1} of at most {most}: {slot.subject}")
        try:
            measure_slot(bench, slot, self._builds[slot.subject], self._done, most * len(self._benches))
            self._done += 1
        except EngineError as error:
            if slot.subject == BASELINE:
                raise
            # What one draft length cannot do says nothing about the others.
            self._failed[slot.subject] = f"{error.reason}: {error.what}"

    def _samples(self, name: str) -> SampleSet | None:
        """Return a cell's sessions of the blocks looked at so far; a resumed sweep has later ones."""
        stored = self._benches[name].stored(name, Role.SCREEN)
        if stored is None:
            return None
        kept = tuple(session for session in stored.sessions if session.block < self._blocks)
        numbers = {session.session for session in kept}
        samples = tuple(sample for sample in stored.samples if sample.session in numbers)
        return SampleSet(stored.header, kept, samples) if kept else None

    def _weighed(self) -> Weighed:
        return judging.weigh(
            self._measured().samples, self._policy, blocks=self._blocks, dropped=self._dropped
        )

    def _measured(self) -> Measured:
        baseline = self._samples(BASELINE)
        if baseline is None:
            raise RuntimeError("a block of a sweep holds a session of the baseline")
        samples = {
            name: found
            for name in self._plan.checks
            if name not in self._failed and (found := self._samples(name)) is not None
        }
        return Measured({cell.name: cell for cell in self._plan.cells}, samples, baseline, self._failed)

    def found(self, weighed: Weighed, artifact: Artifact) -> Sweep:
        """Return what the sessions say."""
        measured = self._measured()
        cells = judging.results(measured, weighed, self._policy)
        first = next(iter(measured.samples.values()), None)
        check = self._plan.check
        return Sweep(
            id=self._run.id,
            check_id=check.id,
            check_digest=check.digest,
            project=artifact.project,
            version=artifact.version,
            artifact_sha256=artifact.sha256,
            machine_id=self._station.host.machine_id,
            current=check.draft_length,
            made_at=self._station.clock(),
            blocks=self._blocks,
            decided=weighed.decided,
            baseline_rate=judging.figures_of(measured.baseline, first, self._policy).baseline_rate
            if first
            else None,
            baseline_sessions=len(measured.baseline.sessions),
            floor=weighed.floor,
            chosen=judging.choose(cells, check.draft_length),
            cells=cells,
        )
