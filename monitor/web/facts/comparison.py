"""Two runs side by side: the stored judgement where one rests on the other, else judged here and now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sqlmodel import Session as Db

from monitor.domain import Judgement, Role, SampleSet
from monitor.errors import UnknownNameError
from monitor.judge.verdict import judge
from monitor.steps.publish import run_view
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import artifacts, judgements, runs, sessions
from monitor.store.queries.runs import Run
from monitor.views.models import RunView
from monitor.web.facts.run_lines import RunLine, run_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFacts:
    """A candidate beside a reference."""

    schema: Literal["mtp-monitor/api/compare/1"] = "mtp-monitor/api/compare/1"
    reference: RunLine
    candidate: RunLine
    stored: bool
    """The verdict was reached when the candidate was measured, confirmation included. Otherwise it was
    reached now from screening sessions, perhaps of different days, and nobody was told of it."""
    judgement: Judgement
    command: str
    """Reaches the same verdict without database and engine, from the exported samples."""


def comparison(station: Station, *, reference: int, candidate: int) -> ComparisonFacts:
    """Compare two runs of one series.

    Raises:
        UnknownNameError: when there is no such run, nothing was measured in it, or they do not compare.

    """
    with station.store.read() as db:
        old, new = _run(db, reference), _run(db, candidate)
        if (old.check_digest, old.host) != (new.check_digest, new.host):
            raise UnknownNameError(
                f"Runs {old.id} and {new.id} cannot be compared: they are of different checks or hosts.",
                advice="choose two runs with the same check digest on the same host",
            )
        stored = judgements.get(db, new.id) if new.reference_run_id == old.id else None
        judgement = stored or judge(_samples(db, old), _samples(db, new))
        lines = run_lines(station, db, [old, new])
    return ComparisonFacts(
        reference=lines[0],
        candidate=lines[1],
        stored=stored is not None,
        judgement=judgement,
        command=_command(old, new, confirmed=stored is not None and stored.confirmed is not None),
    )


def compared_view(station: Station, facts: ComparisonFacts) -> RunView:
    """Return the candidate's run as if it had been judged against the comparison's reference."""
    view = run_view(station, facts.candidate.id)
    if facts.stored:
        return view
    with station.store.read() as db:
        old = _run(db, facts.reference.id)
        artifact = artifacts.with_content(db, old.artifact_sha256)
        samples = _samples(db, old)
    return replace(
        view,
        judgement=facts.judgement,
        reference_version=old.version,
        reference_artifact=artifact,
        reference_environment=None,
        reference_samples=samples,
        confirm_reference=None,
        confirm_candidate=None,
    )


def _run(db: Db, run_id: int) -> Run:
    run = runs.get(db, run_id)
    if run is None:
        raise UnknownNameError(f"There is no run {run_id}.", advice="the list of runs shows which there are")
    return run


def _samples(db: Db, run: Run) -> SampleSet:
    found = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
    if found is None:
        raise UnknownNameError(
            f"Nothing was measured in run {run.id}, so it cannot be compared.", advice="choose another run"
        )
    return found


def _command(old: Run, new: Run, *, confirmed: bool) -> str:
    if new.reference_run_id == old.id:
        folder = f"run-{new.id}"
        files = f"{folder}/reference.jsonl {folder}/candidate.jsonl"
        if confirmed:
            files += f" --confirm {folder}/confirm-reference.jsonl {folder}/confirm-candidate.jsonl"
        return f"mtp-monitor export {new.id} && mtp-monitor judge {files}"
    return (
        f"mtp-monitor export {old.id} && mtp-monitor export {new.id} && "
        f"mtp-monitor judge run-{old.id}/candidate.jsonl run-{new.id}/candidate.jsonl"
    )
