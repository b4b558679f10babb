"""The evidence in the text for a tracker: versions, machine, figures and counts, as tables and lists."""

from __future__ import annotations

from itertools import pairwise

from monitor.domain import (
    ArmSummary,
    Bisection,
    BisectionState,
    Effect,
    Judgement,
    Metric,
    Signature,
    Verdict,
    Visit,
)
from monitor.judge.drift import Creep
from monitor.judge.metrics import OVERALL
from monitor.releases.projects import build_number
from monitor.views import markdown as md
from monitor.views import numbers, words
from monitor.views.models import RunView
from monitor.views.packages import package_rows
from monitor.views.text import shortened
from monitor.views.upstream.parts import BAD, GOOD, Side

MOST_OF_A_SENTENCE = 600
_PACKAGES = 30
_RELEASES = 40
_NAME = 300


# ---------------------------------------------------------------------------------------------
# What was compared, and where


def versions(good: Side, bad: Side) -> str:
    """Return what both releases are, file by file."""
    rows: list[list[str]] = []

    def row(title: str, old: str, new: str) -> None:
        if old or new:
            rows.append(
                [title, *(md.code(shortened(value, _NAME)) if value else "–" for value in (old, new))]
            )

    sides = (good, bad)
    artifacts = [side.artifact for side in sides]
    builds = [build_number(artifact.project, artifact.version) for artifact in artifacts]
    row("version", artifacts[0].version, artifacts[1].version)
    row("build of llama.cpp", *(f"b{build}" if build else "" for build in builds))
    row("file", artifacts[0].filename, artifacts[1].filename)
    row("sha256", artifacts[0].sha256, artifacts[1].sha256)
    row("Python", *(side.environment.python_version for side in sides))
    return md.table(["", GOOD, BAD], rows)


def packages(good: Side, bad: Side) -> str:
    """Return the packages in which the two environments differ."""
    own = bad.artifact.project
    rows = [row for row in package_rows(good.environment, bad.environment) if row.name != own]
    if not rows:
        return "None: the two environments differ in nothing but the release."
    cells = [
        [
            md.code(row.name),
            *(md.code(package.version) if package else "–" for package in (row.reference, row.candidate)),
        ]
        for row in rows[:_PACKAGES]
    ]
    left = len(rows) - _PACKAGES
    more = f"\n\n… and {left} more." if left > 0 else ""
    return md.table(["package", GOOD, BAD], cells) + more


def machine(view: RunView) -> str:
    """Return what it was measured on, and how it was asked."""
    host, gpu = view.host, view.host.gpu or {}
    facts = [
        ("GPU", str(gpu.get("name") or "")),
        ("GPU driver", str(gpu.get("driver") or "")),
        ("CPU", f"{host.cpu}, {host.cores} cores"),
        ("memory", numbers.size(host.memory_bytes)),
        ("kernel", f"Linux {host.kernel}" if host.kernel else ""),
    ]
    check = view.check
    model = check.model
    source = f"{model.repository} at {model.revision}" if model.repository else model.name
    facts += [
        ("model", source),
        ("quantisation", check.quantisation),
        ("draft length", str(check.draft_length)),
        ("streams at once", str(check.concurrency)),
        ("sampling", ", ".join(f"{name} {value}" for name, value in check.sampling.items())),
    ]
    return "\n".join(f"- {title}: {md.code(shortened(value, _NAME))}" for title, value in facts if value)


# ---------------------------------------------------------------------------------------------
# What was found


def worst(judgement: Judgement) -> Effect | None:
    """Return the overall row that lost most, measured by what counts."""
    lost = [
        effect
        for effect in judgement.effects
        if effect.gates and effect.workload == OVERALL and effect.verdict is Verdict.REGRESSED
    ]
    return max(lost, key=lambda effect: abs(effect.change_log or 0.0) / (effect.floor or 1.0), default=None)


def figures(judgement: Judgement) -> str:
    """Return the metrics of both, with what moved."""
    rows = [
        [
            words.METRICS[effect.metric],
            words.value_of(effect.metric, effect.reference, effect.unit),
            words.value_of(effect.metric, effect.candidate, effect.unit),
            words.shift_of(effect).shown,
            words.certainty_of(effect) or "–",
            words.VERDICTS[effect.verdict].label.lower(),
        ]
        for effect in judgement.effects
        if effect.workload == OVERALL and (effect.gates or effect.metric in (Metric.SPEEDUP, Metric.MTP_RATE))
    ]
    if not rows:
        return ""
    sessions = words.sessions_in_words(judgement.sessions)
    told = f"\n\nSessions (starts of a server): {sessions}." if sessions else ""
    return md.table(["", GOOD, BAD, "change", "interval (95 %)", "verdict"], rows) + told


def series(creep: Creep, *, in_turns: bool) -> str:
    """Return how a metric crept away, release by release from the first good one on."""
    steps = [None, *(after - before for before, after in pairwise(creep.changes))]
    rows = [
        [
            md.code(shortened(version, _NAME)),
            *("–" if step is None else numbers.change_of_log(value) for value in (total, step)),
        ]
        for version, total, step in zip(creep.versions, creep.changes, steps, strict=True)
    ]
    left = len(rows) - _RELEASES
    if left > 0:
        rows = [rows[0], [f"… {left} more", "", ""], *rows[left + 1 :]]
    title = words.METRICS[creep.metric]
    table = md.table(
        ["release", f"{title}, since {md.code(creep.versions[0])}", "since the one before"], rows
    )
    beside = ", side by side on one day" if in_turns else ""
    return (
        f"{table}\n\nEach of these releases was measured when it came out, so this table has the noise of "
        f"single days in it; the figures above are of the first and the last one{beside}. "
        "Releases that lost enough by themselves to be told of alone are left out."
    )


def counters(judgement: Judgement) -> str:
    """Return what was drafted and accepted, by place."""
    before, after = _overall(judgement.reference_summary), _overall(judgement.candidate_summary)
    if before is None or after is None:
        return ""
    rows = [
        [
            "accepted of what was drafted",
            *(numbers.percent(side.acceptance_rate) for side in (before, after)),
        ],
        [
            "tokens gained in a step",
            *(
                numbers.digits(side.acceptance_length) if side.acceptance_length else numbers.NOT_MEASURED
                for side in (before, after)
            ),
        ],
    ]
    places = max(len(side.accepted_per_position or ()) for side in (before, after))
    for place in range(places):
        shares = [
            side.accepted_per_position[place]
            if side.accepted_per_position and place < len(side.accepted_per_position)
            else None
            for side in (before, after)
        ]
        rows.append([f"steps that accepted draft {place + 1}", *(numbers.percent(share) for share in shares)])
    return md.table(["", GOOD, BAD], rows)


def lossless(judgement: Judgement) -> str:
    """Return whether the text stayed the same."""
    found = judgement.lossless
    agreed = (
        f"With MTP {found.mtp_matches} of {found.mtp_pairs} answers of the bad release have the tokens of "
        f"its own baseline; baseline against itself {found.baseline_matches} of {found.baseline_pairs}"
    )
    agreed = " ".join(f"{text}." for text in (agreed, words.score_in_words(found.score)) if text)
    if found.verdict is Verdict.REGRESSED:
        return f"**No.** {md.text(shortened(found.note, MOST_OF_A_SENTENCE))}. {agreed}"
    return agreed if found.mtp_pairs or found.score else ""


def bisected(bisection: Bisection | None) -> str:
    """Return between which builds a loss began, where that was searched."""
    if bisection is None or bisection.state not in (BisectionState.FOUND, BisectionState.NARROWED):
        return ""
    good, bad = _build(bisection.last_good), _build(bisection.first_bad)
    lines = [f"Bisected in {bisection.steps} steps: the last good build is {good}, the first bad one {bad}."]
    if bisection.suspects:
        between = ", ".join(md.code(visit.version) for visit in bisection.suspects[:_PACKAGES])
        lines.append(f"Builds between them that say nothing (they do not install or start): {between}.")
    return " ".join(lines)


def _build(visit: Visit) -> str:
    # A tracker makes a link of a commit that stands there whole and bare.
    return md.code(visit.version) + (f" (commit {visit.commit})" if visit.commit is not None else "")


_STILL: tuple[tuple[Metric, str], ...] = (
    (Metric.BASELINE_RATE, "The engine without MTP decodes as fast as before"),
    (Metric.ACCEPTANCE_LENGTH, "As many drafted tokens are accepted as before"),
    (Metric.STEP_TIME, "A step with MTP takes as long as before"),
    (Metric.TTFT_MTP, "The first token with MTP comes as soon as before"),
)


def ruled_out(judgement: Judgement, *, in_turns: bool) -> str:
    """Return what cannot be the cause, as far as it was looked at."""
    overall = {effect.metric: effect for effect in judgement.effects if effect.workload == OVERALL}
    lines = []
    if judgement.confirmed and in_turns:
        lines.append(
            "A change of the machine: both releases were measured again on one day, in turns (good, bad, "
            "bad, good), each session a fresh start of the server."
        )
    elif judgement.confirmed:
        lines.append(
            "A single bad start: the release was measured again, each session a fresh start of the server. "
            "What ran before it could not be measured again beside it."
        )
    lines += [
        f"{said}: {_change(overall[metric])}."
        for metric, said in _STILL
        if metric in overall and overall[metric].verdict is Verdict.UNCHANGED
    ]
    if judgement.guards and not any(guard.tripped and guard.outcome for guard in judgement.guards):
        lines.append("Other prompts, sampling, stop reasons or counting: they were the same on both sides.")
    if judgement.candidate.model_sha256:
        lines.append(
            f"Another model: both served the file with sha256 {md.code(judgement.candidate.model_sha256)}."
        )
    if (
        judgement.lossless.verdict is Verdict.UNCHANGED
        and judgement.signature is not Signature.OUTPUT_CHANGED
    ):
        lines.append("Another text: the answers compared have the same tokens, as far as was checked above.")
    return "\n".join(f"- {line}" for line in lines)


def _change(effect: Effect) -> str:
    certainty = words.certainty_of(effect)
    return f"{words.shift_of(effect).shown}{f' {certainty}' if certainty else ''}"


def _overall(summaries: tuple[ArmSummary, ...]) -> ArmSummary | None:
    return next((summary for summary in summaries if summary.workload == OVERALL), None)
