"""Words for bisections: what a release said, how far the search is, and what came of it."""

from __future__ import annotations

import math

from monitor.domain import Answer, Bisection, BisectionState, Channel, Effect, Judgement, Signature, Verdict
from monitor.domain.commits import Commit, CommitLine
from monitor.judge.loss import Loss
from monitor.judge.metrics import OVERALL
from monitor.views import words

MARKS = {Answer.GOOD: "✓", Answer.BAD: "▼", Answer.SKIPPED: "–"}
CSS = {Answer.GOOD: "unchanged", Answer.BAD: "regressed", Answer.SKIPPED: "pending"}
COLOURS = {Answer.GOOD: "green", Answer.BAD: "red", Answer.SKIPPED: "yellow"}
"""For a terminal, as rich names them."""
_MOST_NAMED = 5
SHORT = 9
"""Digits of a commit that are shown, as many as a version of vLLM has."""


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


def result(found: Bisection, line: CommitLine | None = None) -> str:
    """Return in a sentence or two where a loss began; `line` holds the commits that were looked among."""
    good, bad = found.last_good, found.first_bad
    brought = f" {_brought(found, line)}" if line is not None else ""
    if not found.suspects:
        gaps = line is not None and len(line.suspects) > 1
        before = f"{good.version}, before it," if gaps else f"{good.version}, right before it,"
        return (
            f"{found.project} {bad.version} is the first release with the loss; {before} does not "
            f"have it.{brought}"
        )
    silent = [visit.version for visit in found.suspects]
    more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
    said = "releases between say" if len(silent) > 1 else "release between says"
    return (
        f"The loss began after {found.project} {good.version} and at the latest with {bad.version}; the "
        f"{len(silent)} {said} nothing: {', '.join(silent[:_MOST_NAMED])}{more}.{brought}"
    )


def _brought(found: Bisection, line: CommitLine) -> str:
    suspects = line.suspects
    if not suspects:
        return (
            f"The loss was there already at {_short(line.commits[0])}, where their branches part: what "
            f"{found.last_good.version} has beyond it took the loss away."
        )
    if len(suspects) == 1:
        return f"So commit {_short(suspects[0])} brought it."
    named = ", ".join(map(_short, suspects[:_MOST_NAMED]))
    more = f" and {len(suspects) - _MOST_NAMED} more" if len(suspects) > _MOST_NAMED else ""
    many = f"One of {len(suspects)} commits brought it, which no wheel that was found tells apart"
    return f"{many}: {named}{more}."


def _short(commit: Commit) -> str:
    return commit.sha[:SHORT]


def steps_left(found: Bisection, commits: int | None) -> int:
    """Return how many more steps it takes at most, `commits` being those left once no release is."""
    return found.steps_left if commits is None else math.ceil(math.log2(commits + 1))


def standing(found: Bisection, minutes: float | None, commits: int | None = None) -> str:
    """Return how far a search is: what it is between, about how much is left, and why it waits.

    `commits` is how many of them may still be visited, None as long as releases may.
    """
    if found.state is not BisectionState.RUNNING:
        return found.reason
    waits = f". It waits: {found.reason}" if found.reason else ""
    waiting = [end for end in (found.visits[0], found.visits[-1]) if end.answer is None]
    if waiting:
        which = "good" if waiting[0].place == 0 else "bad"
        left = _left(found, minutes, commits)
        after = f"then {left}" if found.visits[1:-1] else "no release stands between the two"
        return f"the {which} end {waiting[0].version} has to answer first; {after}{waits}"
    return (
        f"good up to {found.last_good.version}, bad from {found.first_bad.version}; "
        f"{_left(found, minutes, commits)}{waits}"
    )


def _left(found: Bisection, minutes: float | None, commits: int | None) -> str:
    left = sum(visit.answer is None for visit in found.suspects) if commits is None else commits
    what = "release" if commits is None else "commit"
    if not left:
        return f"no {what} is left between"
    releases = f"{left} {what}{'' if left == 1 else 's'} between"
    number = steps_left(found, commits)
    steps = f"about {number} step{'' if number == 1 else 's'}"
    time = f" or {max(1, round(minutes))} min of measuring" if minutes else ""
    return f"{releases}, {steps}{time} left"
