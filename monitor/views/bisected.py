"""Words for bisections: what a release said, how far the search is, and what came of it."""

from __future__ import annotations

from monitor.domain import Answer, Bisection, BisectionState, Channel, Effect, Judgement, Signature, Verdict
from monitor.judge.loss import Loss
from monitor.judge.metrics import OVERALL
from monitor.views import words

MARKS = {Answer.GOOD: "✓", Answer.BAD: "▼", Answer.SKIPPED: "–"}
CSS = {Answer.GOOD: "unchanged", Answer.BAD: "regressed", Answer.SKIPPED: "pending"}
COLOURS = {Answer.GOOD: "green", Answer.BAD: "red", Answer.SKIPPED: "yellow"}
"""For a terminal, as rich names them."""
_MOST_NAMED = 5


def evidence(loss: Loss, judgement: Judgement) -> str:
    """Return what a release was answered by: the row of the loss that says most."""
    if loss.is_off:
        off = judgement.signature is Signature.SPECULATION_OFF
        return "nothing is drafted" if off else "tokens are drafted"
    if loss.is_text:
        changed = judgement.lossless.verdict is Verdict.REGRESSED
        return "the output is another one" if changed else "the output is that of the good end"
    rows = [row for row in judgement.effects if (row.metric, row.workload) in loss.rows]
    if not rows:
        return judgement.headline
    return _row(max(rows, key=lambda row: (row.verdict is Verdict.REGRESSED, row.workload == OVERALL)))


def _row(row: Effect) -> str:
    title = words.METRICS[row.metric]
    name = f"{title[:1].lower()}{title[1:]}" + ("" if row.workload == OVERALL else f" on {row.workload}")
    if row.channel is Channel.EXACT:
        return f"{name} {'the same' if row.change_percent == 0 else words.shift_of(row).shown}, by counts"
    return f"{name} {words.shift_of(row).shown} {words.certainty_of(row)}".strip()


def result(found: Bisection) -> str:
    """Return in one sentence where a loss began."""
    good, bad = found.last_good, found.first_bad
    if not found.suspects:
        return (
            f"{found.project} {bad.version} is the first release with the loss; {good.version}, right before "
            "it, does not have it."
        )
    silent = [visit.version for visit in found.suspects]
    more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
    said = "releases between say" if len(silent) > 1 else "release between says"
    return (
        f"The loss began after {found.project} {good.version} and at the latest with {bad.version}; the "
        f"{len(silent)} {said} nothing: {', '.join(silent[:_MOST_NAMED])}{more}."
    )


def standing(found: Bisection, minutes: float | None) -> str:
    """Return how far a search is: what it is between, and about how much is left."""
    if found.state is not BisectionState.RUNNING:
        return found.reason
    waiting = [end for end in (found.visits[0], found.visits[-1]) if end.answer is None]
    if waiting:
        which = "good" if waiting[0].place == 0 else "bad"
        after = f"then {_left(found, minutes)}" if found.visits[1:-1] else "no release stands between the two"
        return f"the {which} end {waiting[0].version} has to answer first; {after}"
    return (
        f"good up to {found.last_good.version}, bad from {found.first_bad.version}; {_left(found, minutes)}"
    )


def _left(found: Bisection, minutes: float | None) -> str:
    left = sum(visit.answer is None for visit in found.suspects)
    if not left:
        return "no release is left between"
    releases = f"{left} release{'' if left == 1 else 's'} between"
    steps = f"about {found.steps_left} step{'' if found.steps_left == 1 else 's'}"
    time = f" or {max(1, round(minutes))} min of measuring" if minutes else ""
    return f"{releases}, {steps}{time} left"
