"""`mtp-monitor judge`: a verdict from sample files alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output
from monitor.domain import Verdict

if TYPE_CHECKING:
    from monitor.domain import ArmSummary, Attribution, Header, Judgement
    from monitor.views.cost import Costs

SCHEMA = "mtp-monitor/judgement/1"

CODES = {
    Verdict.REGRESSED: output.Code.REGRESSED,
    Verdict.INCONCLUSIVE: output.Code.UNDECIDED,
    Verdict.INVALID: output.Code.UNDECIDED,
    Verdict.FAILED: output.Code.UNUSABLE,
}
"""Verdict → exit code; the others are fine."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = output.examples(
        "mtp-monitor judge reference.jsonl candidate.jsonl",
        "mtp-monitor judge REF.jsonl CAND.jsonl --confirm REF2.jsonl CAND2.jsonl --json",
    )
    app.command("judge", rich_help_panel=output.MEASURE, epilog=examples)(judge)


def judge(
    reference: Annotated[Path, typer.Argument(metavar="REF.jsonl", help="The good release's samples.")],
    candidate: Annotated[Path, typer.Argument(metavar="CAND.jsonl", help="The samples to be judged.")],
    *,
    confirm: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="REF2 CAND2",
            help="Fresh samples of both, measured in alternation; they alone decide then.",
            show_default=False,
        ),
    ] = None,
    as_json: output.JsonFlag = False,
) -> None:
    """Judge one sample file against another: no database, engine or network is needed.

    `mtp-monitor export` writes such files; docs/samples.md explains them. Exit code 3 means regressed, 4
    inconclusive or invalid.
    """
    from monitor import sample_file  # noqa: PLC0415
    from monitor.judge import verdict  # noqa: PLC0415

    fresh = None if confirm is None else (sample_file.read(confirm[0]), sample_file.read(confirm[1]))
    judgement = verdict.judge(sample_file.read(reference), sample_file.read(candidate), confirm=fresh)
    if as_json:
        output.emit(SCHEMA, document(judgement))
    else:
        show(judgement)
    raise typer.Exit(CODES.get(judgement.verdict, output.Code.FINE))


def show(
    judgement: Judgement,
    *,
    planted: bool = False,
    measured_on: int | None = None,
    costs: Costs | None = None,
) -> None:
    """Print a judgement for people."""
    from monitor.views.terminal import judgement_view  # noqa: PLC0415

    before, after = judgement.reference, judgement.candidate
    output.out.print(
        judgement_view(
            judgement,
            reference=f"{before.project} {before.version}" if before else "",
            candidate=f"{after.project} {after.version}",
            planted=planted,
            measured_on=measured_on,
            costs=costs,
        )
    )


def document(judgement: Judgement) -> dict[str, Any]:
    """Return what `--json` says of a judgement, without its schema."""
    return {
        "verdict": judgement.verdict,
        "signature": judgement.signature,
        "confirmed": judgement.confirmed,
        "headline": judgement.headline,
        "sessions": judgement.sessions,
        "metrics": [asdict(effect) for effect in judgement.effects],
        "attribution": None if judgement.attribution is None else _shares(judgement.attribution),
        "attribution_by_workload": {part.workload: _shares(part) for part in judgement.by_workload},
        "look": None if judgement.look is None else asdict(judgement.look),
        "guards": [asdict(guard) for guard in judgement.guards],
        "lossless": asdict(judgement.lossless),
        "reference": _release(judgement.reference_summary, judgement.reference),
        "candidate": _release(judgement.candidate_summary, judgement.candidate),
        "undecided": list(judgement.undecided),
        "policy_version": judgement.policy_version,
    }


def _shares(parts: Attribution) -> dict[str, Any]:
    return {
        "acceptance_length": asdict(parts.acceptance_length),
        "step_time": asdict(parts.step_time),
        "baseline": asdict(parts.baseline),
    }


def _release(summary: tuple[ArmSummary, ...], header: Header | None) -> dict[str, Any] | None:
    if header is None:
        return None
    return {
        "project": header.project,
        "version": header.version,
        "artifact_sha256": header.artifact_sha256,
        "figures": [asdict(row) for row in summary],
    }
