"""Way: the releases from the good end of a bisection to its bad end, and what each says.

Which one is due, which run answers for it, and what that run says; `monitor/bisect.py` does the searching.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import Answer, Artifact, Basis, Bisection, Check, Judgement, RunState, Visit
from monitor.judge.loss import Loss, has_loss, loss_of
from monitor.judge.verdict import judge
from monitor.steps import epochs, plan
from monitor.steps.earlier import samples_of
from monitor.steps.plan import RunRequest
from monitor.steps.states import ENGINE, INSTALL
from monitor.steps.station import Station
from monitor.store.queries import artifacts, bisections, judgements, queue, runs
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED
from monitor.views import bisected

_MEASURED = (RunState.DONE, RunState.INVALID)
"""States with a judgement. Of an invalid one the counts may hold (`monitor/judge/loss.py`)."""


@dataclass(frozen=True)
class Way:
    """One search as it stands: which release is due, which run answers for it, and what that says."""

    station: Station
    found: Bisection
    check: Check

    def due(self) -> Visit | None:
        """Return the release that has to answer next: the ends first, then the middle of what is left.

        In a new epoch (another driver or kernel) the good end has to be measured again.
        """
        good, bad = self.found.visits[0], self.found.visits[-1]
        if good.answer is None or good_run(self.station, self.found, self.check) is None:
            return good
        return bad if bad.answer is None else self.found.next_visit

    def run_of(self, visit: Visit, *, queued: bool) -> Run:
        """Return the run that answers for a release: a stored one where that is enough, else one to do."""
        if visit.place == 0:
            run = self._plan_good_end(visit)
        else:
            with self.station.store.read() as db:
                known = runs.get(db, visit.run_id) if visit.run_id is not None else None
            run = known or self._stored(visit) or self._plan(visit)
        return self._queued(run) if queued and run.state not in ENDED else run

    def _queued(self, run: Run) -> Run:
        """Put a run in the queue, where it keeps the turn it has: one that was put off stays put off."""
        if run.due_at is not None and run.priority >= self.found.priority:
            return run
        with self.station.store.write() as db:
            due_at = run.due_at or self.station.clock()
            queue.enqueue(db, run.id, due_at=due_at, priority=self.found.priority)
            return runs.get(db, run.id) or run

    def take_in(self, visit: Visit, run: Run) -> str | None:
        """Keep what an ended run says of its release; return why the search is over, if an end says so."""
        with self.station.store.read() as db:
            number = self.found.visits[visit.place].judgement_id or judgements.newest_id(db, run.id)
            judgement = judgements.numbered(db, number) if number is not None else None
        if visit.place == 0:
            if run.state is RunState.DONE:
                self._answer(visit, Answer.GOOD, "the good end")
                return None
            return f"The good end {visit.version} is {run.state}: {run.reason}"
        if visit.place == len(self.found.visits) - 1:
            lost = loss_of(judgement) if judgement is not None else None
            if run.state in _MEASURED and judgement is not None and lost is not None:
                self._answer(visit, Answer.BAD, bisected.evidence(lost, judgement), judgement_id=number)
                return None
            if judgement is not None:
                return f"The bad end {visit.version} has no loss: {judgement.headline}"
            return f"The bad end {visit.version} is {run.state}: {run.reason}"
        said, why = self._said(run, judgement)
        self._answer(visit, said, why, judgement_id=number)
        return None

    def _said(self, run: Run, judgement: Judgement | None) -> tuple[Answer, str]:
        if run.state not in _MEASURED or judgement is None:
            return Answer.SKIPPED, run.reason.partition("\n")[0] or f"its run is {run.state}"
        loss = loss_of_bad_end(self.station, self.found)
        has = has_loss(loss, judgement)
        if has is None:
            return Answer.SKIPPED, f"not decided: {judgement.headline}"
        return Answer.BAD if has else Answer.GOOD, bisected.evidence(loss, judgement)

    def _answer(self, visit: Visit, said: Answer, why: str, *, judgement_id: int | None = None) -> None:
        with self.station.store.write() as db:
            if judgement_id is not None:
                bisections.set_judgement(db, self.found.id, visit.artifact_sha256, judgement_id)
            bisections.answer(
                db, self.found.id, visit.artifact_sha256, said, why=why, now=self.station.clock()
            )

    # -----------------------------------------------------------------------------------------
    # Planning

    def _plan_good_end(self, visit: Visit) -> Run:
        """Plan the good end as any release is: it is what everything else is compared with."""
        request = RunRequest(
            check=self.check.id,
            release=f"{self.found.project}=={visit.version}@{visit.artifact_sha256}",
            confirm=False,
            tier=self.found.tier,
            requested_by=self.found.requested_by,
            channel=visit.channel,
            priority=self.found.priority,
        )
        run = good_run(self.station, self.found, self.check) or plan.plan(
            self.station, request, self.check, self._artifact(visit)
        )
        with self.station.store.write() as db:
            bisections.set_run(db, self.found.id, visit.artifact_sha256, run.id, own=False)
        return run

    def _plan(self, visit: Visit) -> Run:
        """Plan a run that is compared with the good end, whatever runs of the release there are."""
        station, good, now = self.station, self.found.visits[0], self.station.clock()
        epoch = epochs.current(station, self.check, self.found.project)
        artifact = self._artifact(visit)
        with station.store.write() as db:
            current = bisections.get(db, self.found.id)
            known = current.visits[visit.place].run_id if current else None
            if known is not None and (made := runs.get(db, known)) is not None:
                return made  # another process was quicker
            run = runs.create(
                db,
                check=self.check,
                artifact=artifact,
                host=station.host,
                tier=self.found.tier,
                requested_by=plan.BISECTION,
                channel=visit.channel,
                epoch_id=epoch.id,
                against=f"{self.found.project}=={good.version}@{good.artifact_sha256}",
                priority=self.found.priority,
                now=now,
            )
            bisections.set_run(db, self.found.id, visit.artifact_sha256, run.id, own=True)
        return run

    def _artifact(self, visit: Visit) -> Artifact:
        with self.station.store.read() as db:
            found = artifacts.with_content(db, visit.artifact_sha256)
        if found is None:
            raise AssertionError(f"the artifact of {visit.version}, which a bisection rests on, is gone")
        return found

    # -----------------------------------------------------------------------------------------
    # What is known already

    def _stored(self, visit: Visit) -> Run | None:
        """Return a run whose result is enough for the release, noting how it compares with the good end.

        - A confirmed loss against the very run of the good end, for the bad end.
        - Counts that decide, whenever they were counted.
        - A release that does not install or start, where trying again would not help.
        """
        good = good_run(self.station, self.found, self.check)
        stored = samples_of(self.station, good)
        if good is None or stored is None:
            return None
        is_end = visit.place == len(self.found.visits) - 1
        loss = None if is_end else loss_of_bad_end(self.station, self.found)
        for run in _in_epoch(self.station, self.found, self.check, visit):
            if run.state is RunState.FAILED and run.permanent and run.stage in {INSTALL, ENGINE}:
                self._use(visit, run, None)
                return run
            if run.state not in _MEASURED:
                continue
            if is_end and run.reference_run_id == good.id and self._is_confirmed(run):
                with self.station.store.read() as db:
                    number = judgements.newest_id(db, run.id)
                self._use(visit, run, number)
                return run
            measured = samples_of(self.station, run)
            if measured is None or (loss is not None and not loss.by_counts):
                continue
            judgement = judge(stored, measured)
            shown = loss_of(judgement)
            enough = (
                (shown is not None and shown.by_counts)
                if loss is None
                else has_loss(loss, judgement) is not None
            )
            if enough:
                self._use(visit, run, judgement)
                return run
        return None

    def _is_confirmed(self, run: Run) -> bool:
        with self.station.store.read() as db:
            judgement = judgements.get(db, run.id)
        return bool(judgement and judgement.confirmed and loss_of(judgement))

    def _use(self, visit: Visit, run: Run, judged: Judgement | int | None) -> None:
        with self.station.store.write() as db:
            bisections.set_run(db, self.found.id, visit.artifact_sha256, run.id, own=False)
            if isinstance(judged, Judgement):
                judged = judgements.save(db, run.id, judged, now=self.station.clock(), basis=Basis.GOOD_END)
            if judged is not None:
                bisections.set_judgement(db, self.found.id, visit.artifact_sha256, judged)


def _in_epoch(station: Station, found: Bisection, check: Check, visit: Visit) -> list[Run]:
    """Return the runs of a release that compare now, newest first."""
    epoch = epochs.current(station, check, found.project)
    with station.store.read() as db:
        known = runs.find(
            db,
            check_digest=check.digest,
            artifact_sha256=visit.artifact_sha256,
            machine_id=station.host.machine_id,
        )
    return [run for run in known if run.epoch_id == epoch.id and run.tier is found.tier]


def good_run(station: Station, found: Bisection, check: Check) -> Run | None:
    """Return the measured run of the good end that compares now."""
    known = _in_epoch(station, found, check, found.visits[0])
    done = [run for run in known if run.state is RunState.DONE and run.requested_by != plan.BISECTION]
    # As the reference of the series it was measured with all its blocks.
    return min(done, key=lambda run: (run.against != runs.LAST_GOOD, run.id), default=None)


def loss_of_bad_end(station: Station, found: Bisection) -> Loss:
    """Return the loss that is looked for: that of the bad end."""
    number = found.visits[-1].judgement_id
    if number is None:
        raise AssertionError("the bad end answers before the releases between do")
    with station.store.read() as db:
        loss = loss_of(judgements.numbered(db, number))
    if loss is None:
        raise AssertionError("a bad end without a loss ends the search")
    return loss
