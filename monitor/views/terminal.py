"""The same facts for a terminal: verdict in words first, then the three factors, workloads and positions.

Everything reads without colour too: marks and words carry the meaning, colour only helps to find it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from monitor.domain import ArmSummary, Attribution, Effect, Judgement, Metric, Verdict
from monitor.judge.metrics import OVERALL
from monitor.planted.names import is_planted
from monitor.views import numbers, words
from monitor.views.cost import Costs, money
from monitor.views.models import ReleaseLine
from monitor.views.text import safe

_BAR_CELLS = 24
_LONGEST_WORD = len("Acceptance")
_WIDE = 100  # columns from which the floors fit too
_FOLLOWED = {"planned", "aged", "settling", "seen"}


def judgement_view(
    judgement: Judgement,
    *,
    reference: str,
    candidate: str,
    planted: bool = False,
    measured_on: int | None = None,
    costs: Costs | None = None,
) -> RenderableType:
    """Return a verdict for a terminal of 80 columns or more.

    `reference` and `candidate` name the two releases; `reference` is empty for a first measurement.
    `measured_on` is the number of blocks that the candidate has by now, if it was measured on, and `costs`
    what a million tokens cost here.
    """
    after = words.measured_on_in_words(measured_on)
    parts: list[RenderableType] = [_verdict(judgement, reference, candidate, after, planted=planted)]
    if judgement.verdict is not Verdict.INVALID:
        overall = _overall(judgement.candidate_summary)
        before = _overall(judgement.reference_summary)
        if judgement.attribution and before and before.speedup:
            parts += [
                _heading("The three factors of the speedup"),
                _waterfall(judgement.attribution, before.speedup),
            ]
        if judgement.effects:
            parts += [_heading("What moved"), _Effects(judgement.effects)]
        elif overall:
            parts += [_heading("Figures"), _figures(overall)]
        if costs is not None:
            parts += [_heading("What a million tokens cost (it decides nothing)"), _costs(costs)]
        parts += _workloads(judgement)
    tripped = [guard for guard in judgement.guards if guard.tripped]
    for title, mark, guards in (
        ("Conditions that did not hold", "✕", [guard for guard in tripped if guard.outcome]),
        ("Worth knowing", "·", [guard for guard in tripped if not guard.outcome]),
    ):
        if guards:
            parts.append(_heading(title))
            lines = [f"{mark} {words.capitalised(guard.name)}: {safe(guard.detail)}" for guard in guards]
            parts += [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    return Group(*parts)


def releases_view(lines: Sequence[ReleaseLine]) -> RenderableType:
    """Return the releases found, and what is done about each and why."""
    if not lines:
        return Text("No releases are known yet.")
    table = _table("Release", "Published", "State", "Why")
    table.columns[3].ratio = 1
    for (_, followed, why), alike in groupby(lines, key=_what_is_done):
        group = list(alike)
        # Dozens of old releases with the same reason are one fact.
        shown = [group] if not followed and len(group) >= _ALIKE else [[line] for line in group]
        for one in shown:
            _add_releases(table, one, why, followed=followed)
    return table


_ALIKE = 4


def _what_is_done(line: ReleaseLine) -> tuple[str, bool, str]:
    followed = line.state in _FOLLOWED
    why = ": ".join(part for part in (line.reason, line.detail) if part)
    return f"{line.project} {line.state}", followed, why


def _add_releases(table: Table, lines: Sequence[ReleaseLine], why: str, *, followed: bool) -> None:
    first, last = lines[0], lines[-1]
    name = f"{first.project} {first.version}"
    if len(lines) > 1:
        name += f" … {last.version} ({len(lines)} releases)"
    dates = [f"{line.published_at:%Y-%m-%d}" if line.published_at else "not known" for line in (first, last)]
    if not why and followed:
        why = "can be measured"
    if any(is_planted(line.version) for line in lines):
        why = f"PLANTED by this monitor, not a real release; {why}"
    table.add_row(
        Text(safe(name), style="bold" if followed else "dim"),
        Text(" … ".join(dict.fromkeys(dates)), style="dim"),
        Text(f"{'●' if followed else '○'} {first.state}", style="green" if followed else "dim"),
        Text(safe(why), style="" if followed else "dim"),
    )


# ---------------------------------------------------------------------------------------------
# The verdict


def _verdict(
    judgement: Judgement, reference: str, candidate: str, afterwards: str, *, planted: bool
) -> Panel:
    first = judgement.reference is None and judgement.verdict is Verdict.UNCHANGED
    shown = words.FIRST if first else words.VERDICTS[judgement.verdict]
    told = words.explanation(judgement.verdict, judgement.signature, first=judgement.reference is None)
    lines: list[RenderableType] = []
    if planted:
        lines += [Text(f"PLANTED  {words.PLANTED}", style="bold magenta"), Text("")]
    lines += [
        Text(safe(judgement.headline), style="bold"),
        Text(""),
        Text(told.meaning),
        Text.assemble(("What to do: ", "bold"), told.advice),
    ]
    sessions = words.sessions_in_words(judgement.sessions)
    if sessions:
        lines += [Text(""), Text(f"Sessions: {sessions}", style="dim")]
    if judgement.look is not None:
        lines.append(Text(f"Decided at {words.look_in_words(judgement.look)}", style="dim"))
    if afterwards:
        lines.append(Text(f"{words.capitalised(afterwards)}.", style="dim"))
    against = f" against {reference}" if reference else ""
    return Panel(
        Group(*lines),
        title=Text.assemble(
            (f" {shown.mark} {shown.label.upper()} ", f"bold reverse {shown.colour}"),
            (f" {safe(candidate)}{safe(against)} ", ""),
        ),
        title_align="left",
        border_style="magenta" if planted else shown.colour,
        box=box.ROUNDED,
        padding=(1, 2),
    )


def _waterfall(attribution: Attribution, start: float) -> Table:
    """Return the three factors between the two speedups, each with a bar on one logarithmic scale."""
    levels, at = [(1.0, start)], start
    for field, _, _ in words.FACTORS:
        after = at * math.exp(getattr(attribution, field).change_log)
        levels.append((at, after))
        at = after
    levels.append((1.0, at))
    labels = ["Reference", *(title for _, title, _ in words.FACTORS), "Candidate"]
    reached = [value for pair in levels for value in pair]
    low, high = min(reached), max(reached)
    table = Table(box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    for place, (label, (begin, end)) in enumerate(zip(labels, levels, strict=True)):
        total = place in {0, len(labels) - 1}
        share = None if total else getattr(attribution, words.FACTORS[place - 1][0])
        change = 0.0 if share is None else share.change_log
        style = "bold" if total else "red" if change < 0 else "green"
        table.add_row(
            Text(f"  {label}", style="bold" if total else ""),
            numbers.times(end) if total else f"×{math.exp(change):.3f}",
            _bar(begin, end, low, high, style),
            "" if share is None else _bounds(share.ci_low, share.ci_high),
        )
    return table


def _bounds(low: float, high: float) -> str:
    if low == high:
        return "exact"
    if not (math.isfinite(low) and math.isfinite(high)):
        return "too few sessions"
    return f"{math.exp(low):.3f} to {math.exp(high):.3f}"


def _bar(begin: float, end: float, low: float, high: float, style: str) -> Text:
    span = math.log(high / low) or 1.0
    left, right = sorted(round(_BAR_CELLS * math.log(edge / low) / span) for edge in (begin, end))
    if left == right:
        return Text(" " * min(left, _BAR_CELLS - 1) + "│", style="dim")
    return Text(" " * left + "█" * (right - left), style=style)


# ---------------------------------------------------------------------------------------------
# Tables


class _Effects:
    """The overall effects, those that decide first; on a narrow terminal without floors."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        overall = [effect for effect in effects if effect.workload == OVERALL]
        self._rows = sorted(overall, key=lambda effect: not effect.gates)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= _WIDE
        table = _table("Metric", "Reference", "Candidate", "Change", *(["Floor"] if wide else []), "Verdict")
        for column in table.columns[1:-1]:
            column.justify = "right"
        for column in table.columns[1:]:
            column.no_wrap = True
        table.columns[0].min_width = _LONGEST_WORD
        for effect in self._rows:
            shift, verdict = words.shift_of(effect), words.VERDICTS[effect.verdict]
            certainty = words.certainty_of(effect)
            cells: list[Text | str] = [
                Text(words.METRICS[effect.metric], style="" if effect.gates else "dim"),
                words.value_of(effect.metric, effect.reference, effect.unit),
                words.value_of(effect.metric, effect.candidate, effect.unit),
                _change(shift.shown, certainty, one_line=wide),
            ]
            if wide:
                cells.append(f"±{shift.shown_floor}")
            cells.append(
                Text(f"{verdict.mark} {verdict.label}", style=verdict.colour if effect.gates else "dim")
            )
            table.add_row(*cells)
        yield table


def _change(shown: str, certainty: str, *, one_line: bool) -> Text:
    between = " " if one_line or certainty == "exact" else "\n"
    return Text.assemble((shown, "bold"), (f"{between}{certainty}" if certainty else "", "dim"))


def _figures(summary: ArmSummary) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    interval = numbers.times_interval(summary.speedup_low, summary.speedup_high)
    for label, value in (
        ("Speedup", f"{numbers.times(summary.speedup)}  {interval}".rstrip()),
        ("Acceptance rate", numbers.percent(summary.acceptance_rate)),
        ("Tokens gained in a step", words.value_of(Metric.ACCEPTANCE_LENGTH, summary.acceptance_length)),
        ("Decode rate with MTP", numbers.rate(summary.mtp_rate)),
        ("Decode rate without MTP", numbers.rate(summary.baseline_rate)),
        ("First token with MTP", numbers.seconds(summary.ttft_mtp_s)),
    ):
        table.add_row(f"  {label}", value)
    return table


def _costs(costs: Costs) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in costs.arms:
        table.add_row(f"  {words.capitalised(words.ARMS[row.arm])}", safe(money(row, costs.currency)))
    return table


def _workloads(judgement: Judgement) -> list[RenderableType]:
    if not judgement.candidate_summary:
        return []
    before = {summary.workload: summary for summary in judgement.reference_summary}
    table = _table("Workload", "Accepted", "Speedup", "Kept by position, %")
    for column in table.columns[1:3]:
        column.justify = "right"
    for summary in sorted(judgement.candidate_summary, key=lambda summary: summary.workload != OVERALL):
        old = before.get(summary.workload)
        table.add_row(
            Text(safe(summary.workload), style="bold" if summary.workload == OVERALL else ""),
            _pair(
                numbers.percent,
                old.acceptance_rate if old else None,
                summary.acceptance_rate,
                compared=bool(old),
            ),
            _pair(numbers.times, old.speedup if old else None, summary.speedup, compared=bool(old)),
            _positions(old, summary),
        )
    return [_heading("By workload"), table]


def _pair(
    shown: Callable[[float | None], str], before: float | None, after: float | None, *, compared: bool
) -> str:
    if not compared or shown(before) == shown(after):
        return shown(after)
    return f"{shown(before)} → {shown(after)}"


def _positions(before: ArmSummary | None, after: ArmSummary) -> str:
    sides = [
        " ".join(f"{100 * share:.0f}" for share in summary.accepted_per_position)
        for summary in (before, after)
        if summary and summary.accepted_per_position
    ]
    return " → ".join(dict.fromkeys(sides)) or numbers.NOT_MEASURED


def _overall(summaries: Iterable[ArmSummary]) -> ArmSummary | None:
    return next((summary for summary in summaries if summary.workload == OVERALL), None)


def _heading(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=True, padding=(0, 1))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
