"""The words that pages and terminals use for verdicts, metrics, signatures and factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.domain import (
    JUDGED_ARMS,
    Arm,
    Channel,
    Effect,
    Look,
    Lossless,
    Metric,
    Right,
    Score,
    ScoreChange,
    Signature,
    Verdict,
)
from monitor.views import numbers


@dataclass(frozen=True, slots=True)
class VerdictWords:
    """How a verdict is shown: never by colour alone."""

    label: str
    mark: str
    css: str
    colour: str
    """For a terminal, as rich names it."""


VERDICTS: dict[Verdict, VerdictWords] = {
    Verdict.REGRESSED: VerdictWords("Regressed", "▼", "regressed", "red"),
    Verdict.IMPROVED: VerdictWords("Improved", "▲", "improved", "green"),
    Verdict.UNCHANGED: VerdictWords("Unchanged", "=", "unchanged", "green"),
    Verdict.INCONCLUSIVE: VerdictWords("Inconclusive", "?", "inconclusive", "yellow"),
    Verdict.INVALID: VerdictWords("Invalid", "∅", "invalid", "magenta"),
    Verdict.FAILED: VerdictWords("Failed", "✕", "failed", "red"),
}
PENDING = VerdictWords("No verdict yet", "…", "pending", "cyan")
FIRST = VerdictWords("First measurement", "◇", "pending", "cyan")


DRIFT_ADVICE = (
    "No build is to blame alone, so a bisection finds none. Look at what the releases in between have in "
    "common, or accept what is lost as the new reference."
)
"""What to do about slow drift, whatever its pattern."""


def said_of(verdict: Verdict | None, *, first: bool = False) -> VerdictWords:
    """Return the words for a verdict; a sound first measurement has nothing to be unchanged from."""
    if verdict is None:
        return PENDING
    return FIRST if first and verdict is Verdict.UNCHANGED else VERDICTS[verdict]


METRICS: dict[Metric, str] = {
    Metric.STEP_TIME: "Step time with MTP",
    Metric.ACCEPTANCE_LENGTH: "Acceptance length",
    Metric.BASELINE_RATE: "Decode rate without MTP",
    Metric.TTFT_BASELINE: "First token without MTP",
    Metric.TTFT_MTP: "First token with MTP",
    Metric.ACCEPTANCE_RATE: "Acceptance rate",
    Metric.SPEEDUP: "Speedup",
    Metric.MTP_RATE: "Decode rate with MTP",
    Metric.STARTUP: "Start-up time",
    Metric.GPU_MEMORY: "GPU memory",
    Metric.ENERGY: "Energy a token",
}

MEANINGS: dict[Metric, str] = {
    Metric.STEP_TIME: "how long one pass of the model takes while it drafts and checks",
    Metric.ACCEPTANCE_LENGTH: "tokens gained in one step, on average; 1 without speculation",
    Metric.BASELINE_RATE: "tokens a second with speculation off",
    Metric.TTFT_BASELINE: "from the request to the first token, speculation off",
    Metric.TTFT_MTP: "from the request to the first token, speculation on",
    Metric.ACCEPTANCE_RATE: "accepted drafted tokens / drafted tokens",
    Metric.SPEEDUP: "decode rate with MTP / decode rate without, prompt by prompt",
    Metric.MTP_RATE: "tokens a second with speculation on",
    Metric.STARTUP: "from the start of the server to its first answer",
    Metric.GPU_MEMORY: "memory the engine took on the GPU",
    Metric.ENERGY: "energy used for one token",
}

LOWER_IS_BETTER = frozenset(
    {
        Metric.STEP_TIME,
        Metric.TTFT_BASELINE,
        Metric.TTFT_MTP,
        Metric.STARTUP,
        Metric.GPU_MEMORY,
        Metric.ENERGY,
    }
)

_FORMATS: dict[Metric, Callable[[float], str]] = {
    Metric.SPEEDUP: numbers.times,
    Metric.ACCEPTANCE_RATE: numbers.percent,
    Metric.ACCEPTANCE_LENGTH: lambda value: f"{numbers.digits(value)} tokens",
    Metric.BASELINE_RATE: numbers.rate,
    Metric.MTP_RATE: numbers.rate,
    Metric.GPU_MEMORY: numbers.size,
}
_TIMES = frozenset({Metric.STEP_TIME, Metric.TTFT_BASELINE, Metric.TTFT_MTP, Metric.STARTUP})
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}

FACTORS: tuple[tuple[str, str, str], ...] = (
    ("acceptance_length", "Acceptance length", "more tokens gained in a step raise the speedup"),
    ("step_time", "Step time", "slower steps lower the speedup"),
    ("baseline", "Baseline", "a faster baseline lowers the speedup, though nobody loses by it"),
)
"""Field of an attribution, its title, and how to read its sign."""

ARMS: dict[Arm, str] = {
    Arm.BASELINE: "without MTP",
    Arm.MTP: "with MTP",
    Arm.DRAFT_MODEL: "with a draft model",
    Arm.NGRAM: "with n-grams",
    Arm.SYNTHETIC: "with a fixed acceptance (its text means nothing)",
}

PLANTED = (
    "A stand-in release made by this monitor to show what a regression looks like; not a real release. "
    "The project named here never published it."
)

SIGNATURES: dict[Signature, str] = {
    Signature.SPECULATION_OFF: "the server with MTP switched on did not draft a single token",
    Signature.DRAFTER_DEAD: "the MTP head drafts, but next to nothing of it is accepted",
    Signature.ACCEPTANCE_DROP: "fewer drafted tokens are accepted, while a step takes as long as before",
    Signature.STEP_SLOWER: "as many drafted tokens are accepted as before, but each step takes longer",
    Signature.MIXED: "acceptance and step time both moved",
    Signature.BASELINE_FASTER: "the engine became faster without MTP; nothing was lost with it",
    Signature.BASELINE_SLOWER: "the engine became slower without MTP",
    Signature.ENGINE_SLOWER: "the engine became slower with and without MTP alike",
    Signature.PREFILL_COST: "the first token comes later, and only with MTP on",
    Signature.DECAY: "the server becomes slower from request to request within a session",
    Signature.OUTPUT_CHANGED: "the text changed beyond what rounding explains",
    Signature.CONFIGURATION_DRIFT: "the server runs with other settings than before",
    Signature.BROKEN_RELEASE: "the release does not install, start or answer",
    Signature.HOST_SHIFT: "the reference moved as well, so the machine changed and not the release",
    Signature.HARNESS_DRIFT: "a condition does not hold that every measurement must meet",
}

_ADVICE: dict[Signature, str] = {
    Signature.SPECULATION_OFF: "Look for a renamed or dropped speculation flag in the release's notes, "
    "and in the server's log for why the MTP head was not loaded.",
    Signature.DRAFTER_DEAD: "Look at how the release loads the MTP head: a wrong tensor, layer or hidden "
    "state gives drafts that are never right.",
    Signature.ACCEPTANCE_DROP: "Look at changes to drafting and verification, and to the MTP head's "
    "quantisation. Stay on the reference until it is understood.",
    Signature.STEP_SLOWER: "Look at kernels, batching of the draft tokens and scheduling in the release. "
    "Stay on the reference if decode rate matters to you.",
    Signature.MIXED: "Read the three factors below: each says how much of the change is its own.",
    Signature.BASELINE_SLOWER: "Look at the engine's plain decoding; speculation has no part in this.",
    Signature.ENGINE_SLOWER: "Look at what both ways of serving share: kernels, build flags, dependencies.",
    Signature.PREFILL_COST: "Look at prompt processing with speculation on, prefix caching above all.",
    Signature.DECAY: "Look for memory that grows or a cache that fills while the server runs.",
    Signature.OUTPUT_CHANGED: "Compare the texts before anything else: a faster wrong answer is no gain.",
    Signature.CONFIGURATION_DRIFT: "Compare what the servers say they run with, below, and make it the same.",
    Signature.HOST_SHIFT: "Look at the machine: other load, clocks, drivers. Then measure again.",
    Signature.HARNESS_DRIFT: "See which condition it is, below, put it right and measure again.",
}

_OF_THE_HOST = frozenset({Signature.HOST_SHIFT, Signature.HARNESS_DRIFT})

_MEANING: dict[Verdict, str] = {
    Verdict.REGRESSED: "Users of this release get less out of speculation than with the reference.",
    Verdict.IMPROVED: "Users of this release get more out of speculation than with the reference.",
    Verdict.UNCHANGED: "Whatever moved is smaller than the smallest change that counts.",
    Verdict.INCONCLUSIVE: "The sessions at hand cannot tell a change that counts from this machine's noise.",
    Verdict.INVALID: "The measurements cannot be compared: no figure here says anything about the release.",
    Verdict.FAILED: "There is nothing to compare: the release did not get as far as a measurement.",
}

_NEXT: dict[Verdict, str] = {
    Verdict.REGRESSED: "Stay on the reference until it is understood.",
    Verdict.IMPROVED: "Nothing. It becomes the reference for the releases that follow.",
    Verdict.UNCHANGED: "Nothing. It becomes the reference for the releases that follow.",
    Verdict.INCONCLUSIVE: "Measure more sessions (--full), or on a quieter machine. "
    "Rows marked exact were decided by counting and hold regardless.",
    Verdict.INVALID: "See which condition did not hold, below, put it right and measure again.",
    Verdict.FAILED: "Read the end of the log below; it usually names the cause.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a verdict means for the reader, and what to do about it."""

    meaning: str
    advice: str


def explanation(verdict: Verdict, signature: Signature | None, *, first: bool = False) -> Explanation:
    """Return the plain words for a verdict; `first` when there was no reference to compare with."""
    if first and verdict not in {Verdict.REGRESSED, Verdict.INVALID, Verdict.FAILED}:
        return Explanation(
            "The first measurement of its kind on this machine: there is nothing yet to compare it with.",
            "Nothing. It becomes the reference for the releases that follow.",
        )
    meaning = _MEANING[verdict]
    if signature is not None and verdict is Verdict.INCONCLUSIVE:
        meaning = f"{meaning} So far it looks as if {SIGNATURES[signature]}."
        return Explanation(meaning, _ADVICE[signature] if signature in _OF_THE_HOST else _NEXT[verdict])
    if signature is not None:
        meaning = f"{capitalised(SIGNATURES[signature])}. {meaning}"
    return Explanation(meaning, _ADVICE.get(signature, _NEXT[verdict]) if signature else _NEXT[verdict])


def capitalised(sentence: str) -> str:
    """Return the sentence with a capital first letter and the rest as it is."""
    return sentence[:1].upper() + sentence[1:]


def value_of(metric: Metric, value: float | None, unit: str = "") -> str:
    """Return a metric's value with its unit; seconds, fractions and ratios are scaled for reading."""
    if not numbers.known(value):
        return numbers.NOT_MEASURED
    if metric in _FORMATS:
        return _FORMATS[metric](value)
    if metric in _TIMES:
        return numbers.seconds(value * _SECONDS.get(unit, 1.0))
    return f"{numbers.digits(value)} {unit}".strip()


@dataclass(frozen=True, slots=True)
class Shift:
    """How much a metric moved, in what people read: points for the acceptance rate, percent for the rest."""

    change: float | None
    low: float | None
    high: float | None
    floor: float
    unit: str
    """`points` or `%`."""

    @property
    def shown(self) -> str:
        """The change with its sign and unit."""
        return (numbers.points if self.unit == "points" else numbers.change)(self.change)

    @property
    def shown_floor(self) -> str:
        """The smallest change that counts."""
        unit = "point" if self.unit == "points" and self.floor == 1 else self.unit
        return f"{numbers.digits(self.floor, 2).removesuffix('.0')} {unit}"


def shift_of(effect: Effect) -> Shift:
    """Return an effect's change, bounds and floor in the unit they are shown in.

    The judge states the acceptance rate's change in percent of the reference and its floor in points.
    """
    percentages = (effect.change_percent, effect.ci_low, effect.ci_high)
    if effect.metric is Metric.ACCEPTANCE_RATE and numbers.known(effect.reference):
        share = effect.reference
        change, low, high = (value * share if numbers.known(value) else None for value in percentages)
        return Shift(change, low, high, 100 * effect.floor, "points")
    change, low, high = (value if numbers.known(value) else None for value in percentages)
    return Shift(change, low, high, 100 * effect.floor, "%")


def certainty_of(effect: Effect) -> str:
    """Return the change's interval, `exact` for one decided by counting; empty when nothing is known."""
    shift = shift_of(effect)
    if shift.change is None:
        return ""
    if effect.channel is Channel.EXACT:
        return "exact"
    return numbers.interval(shift.low, shift.high) or "too few sessions"


def harmful(effect: Effect) -> bool | None:
    """Tell whether the metric moved to its bad side; None when it did not move or is unknown."""
    if not effect.change_percent or not numbers.known(effect.change_percent):
        return None
    return (effect.change_percent > 0) == (effect.metric in LOWER_IS_BETTER)


def sessions_in_words(sessions: Mapping[str, int]) -> str:
    """Return the sessions behind a verdict: `reference 4 + 4, candidate 4 + 4 (without + with MTP)`."""
    parts = []
    for subject in ("reference", "candidate", "confirm_reference", "confirm_candidate"):
        baseline, mtp = (sessions.get(f"{subject}_{arm}", 0) for arm in JUDGED_ARMS)
        if baseline or mtp:
            parts.append(f"{subject.replace('confirm_', 'confirming ')} {baseline} + {mtp}")
    return f"{', '.join(parts)} (without + with MTP)" if parts else ""


def look_in_words(look: Look | None) -> str:
    """Return what a look was and how sure it had to be, for people who know no statistics; "" without one."""
    if look is None:
        return ""
    blocks = f"{look.blocks} block{'' if look.blocks == 1 else 's'}"
    which = f"look {look.number} of at most {look.of}, after {blocks} of sessions"
    called, cleared = _odds(look.level_regressed), _odds(look.level_unchanged)
    return (
        f"{which}. To call a change, chance had to be unlikelier than {called}; to call a row unchanged, "
        f"unlikelier than {cleared} on each side."
    )


def measured_on_in_words(blocks: int | None) -> str:
    """Return to how many blocks a good release was measured on, and why; "" where it was not."""
    if blocks is None:
        return ""
    return f"measured on to {blocks} blocks, as what the next releases are compared with"


def _odds(level: float) -> str:
    """Return 1 − level as people say it: `1 in 100`."""
    rest = 1 - level
    return f"1 in {1 / rest:.0f}" if rest > 0 else "any chance"


LOSSLESS_TIERS: dict[int, str] = {
    0: "no answers could be compared",
    1: "answers without MTP were compared with each other, and with nothing else",
    2: "answers with MTP were compared with those without, token by token",
    3: "answers were compared token by token; where they part, the model without MTP was asked how undecided "
    "it was",
    4: "answers to questions with a known answer were marked",
}
"""How far it was checked that the output is the same: the highest tier that was reached."""


def tier_in_words(found: Lossless) -> str:
    """Return how far it was checked that MTP leaves the output as it was, for people."""
    said = LOSSLESS_TIERS[found.tier]
    if found.tier == max(LOSSLESS_TIERS) and found.mtp_pairs:
        said = f"{LOSSLESS_TIERS[3 if found.margins else 2]}; {said}"
    if found.divergences > found.margins:
        untold = found.divergences - found.margins
        said += f". Of {untold} of {found.divergences} places where they part that is not known"
    return f"Losslessness tier {found.tier} of {max(LOSSLESS_TIERS)}: {said}"


def score_in_words(score: Score | None) -> str:
    """Return how many scored prompts are answered right with and without MTP; "" where none is scored."""
    if score is None:
        return ""
    said = (
        f"Of {score.prompts} scored prompts {_right(score.mtp)} are answered right with MTP, "
        f"{_right(score.baseline)} without: {_moved(score.between_arms)}"
    )
    if score.between_releases is not None:
        said += f". With MTP, from the reference to the candidate: {_moved(score.between_releases)}"
    return said


def _right(right: Right) -> str:
    return f"{numbers.percent(right.share)} ({numbers.percent(right.low)} to {numbers.percent(right.high)})"


def _moved(moved: ScoreChange) -> str:
    bounds = numbers.interval(100 * moved.low, 100 * moved.high)
    return f"{numbers.points(100 * moved.change)} {bounds}"
