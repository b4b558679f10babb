"""Failures of llama.cpp that say nothing, one by one: provoked in a real build where that can be done here.

What cannot be provoked without a GPU, a published model or a build that is gone is a stand-in as
documented: its answers are those that the issue describes. Each gets its name, or is shown to change
nothing that is believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from monitor.checks.loader import load_check
from monitor.checks.synthetic import SyntheticRecipe, write_model
from monitor.domain import (
    Arm,
    Check,
    Environment,
    Header,
    Sample,
    SampleSet,
    Session,
    Signature,
    Verdict,
)
from monitor.engines.base import Launch, Setup
from monitor.engines.xllamacpp import XllamacppEngine
from monitor.judge.verdict import judge
from standins.builds import MTP_BUILDS
from standins.engine import one_session

OLDEST, NEWEST = MTP_BUILDS[0], MTP_BUILDS[-1]
DEAD = 60.0
"""Noise over the head's projection at which it drafts at random."""

Answers = tuple[Session, tuple[Sample, ...]]


class Misconfigured(XllamacppEngine):
    """The engine with a start that lacks or adds parameters, as a user's own start may."""

    def __init__(self, *, without: str = "", added: dict[str, Any] | None = None) -> None:
        self._without, self._added = without, added

    def launch(self, setup: Setup, /) -> Launch:
        launch = super().launch(setup)
        ((name, text),) = launch.files.items()
        order = json.loads(text)
        order["parameters"] = [p for p in order["parameters"] if p["places"][0] != self._without]
        if self._added is not None and setup.arm is Arm.MTP:
            order["parameters"] += [
                {"places": [place], "value": value, "required": True} for place, value in self._added.items()
            ]
        return replace(launch, files={name: json.dumps(order)})


@dataclass
class Bench:
    """Measures the arms of the tiny check in one real build."""

    environment: Environment
    model: Path
    folder: Path
    check: Check

    def answers(self, arm: Arm, engine: XllamacppEngine | None = None, **changes: Any) -> Answers:
        check = replace(self.check, **changes)
        return one_session(check, self.environment, self.model, self.folder, arm=arm, engine=engine)

    def named(self, mtp: Answers, healthy: Answers, baseline: Answers) -> tuple[Verdict, Signature | None]:
        """Return what the judge calls an mtp arm against a healthy one."""
        judged = judge(self._set("1", baseline, healthy), self._set("2", baseline, mtp))
        return judged.verdict, judged.signature

    def _timed(self, sample: Sample) -> Sample:
        """Return the sample as a quiet machine would have timed it."""
        step_s = 0.010 if sample.arm is Arm.BASELINE else 0.012
        return replace(sample, ttft_s=0.05, decode_s=step_s * (sample.steps or 0), server_decode_tps=None)

    def _set(self, version: str, baseline: Answers, mtp: Answers) -> SampleSet:
        found_sessions, found = [], []
        for block in range(2):
            for order, (session, samples) in enumerate((baseline, mtp)):
                number = 2 * block + order
                found_sessions.append(replace(session, session=number, block=block, order=order))
                found += [self._timed(replace(sample, session=number)) for sample in samples]
        header = Header(
            check=self.check.id,
            check_digest=self.check.digest,
            project="xllamacpp",
            version=version,
            artifact_sha256=version * 64,
            host="here",
            hardware_class="cpu",
            draft_length=self.check.draft_length,
            sampling=dict(self.check.sampling),
            judging={"lossless_exact": True, **self.check.judging},
            model_sha256="e" * 64,
        )
        return SampleSet(header, tuple(found_sessions), tuple(found))


@pytest.fixture
def bench(environment_for: Callable[[str], Environment], tiny_model: Path, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(environment_for(NEWEST), tiny_model, tmp_path, load_check("synthetic-qwen35-tiny"))
    assert not any((tmp_path / "scratch").iterdir())


@pytest.fixture
def baseline(bench: Bench) -> Answers:
    return bench.answers(Arm.BASELINE)


@pytest.fixture
def healthy(bench: Bench) -> Answers:
    return bench.answers(Arm.MTP)


def drafted(answers: Answers) -> int:
    return sum(sample.drafted or 0 for sample in answers[1])


def texts(answers: Answers) -> list[object]:
    return [sample.token_ids for sample in answers[1]]


# --- Provoked in a real build ---------------------------------------------------------------------


def test_a_draft_length_without_a_type_serves_without_speculation(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    mtp = bench.answers(Arm.MTP, Misconfigured(without="speculative.types"))
    # It starts, answers, says the same, and its answers lack the keys of drafting.
    assert texts(mtp) == texts(healthy)
    assert drafted(mtp) == 0
    assert (mtp[0].effective or {})["slot.speculative"] is False
    assert bench.named(mtp, healthy, baseline) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_speculation_asked_for_in_a_request_is_accepted_and_ignored(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    asked = {"speculative.types": "draft-mtp", "speculative.n_max": 3, "speculative.n_min": 0}
    mtp = bench.answers(Arm.BASELINE, sampling={**bench.check.sampling, **asked})
    assert drafted(mtp) == 0
    served = (replace(mtp[0], arm=Arm.MTP), tuple(replace(sample, arm=Arm.MTP) for sample in mtp[1]))
    assert bench.named(served, healthy, baseline) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_a_draft_model_without_a_type_is_taken_for_another_thing_by_another_build(
    bench: Bench, healthy: Answers, environment_for: Callable[[str], Environment]
) -> None:
    """The newest build infers from the file that it is an MTP head, the oldest takes it for a plain model."""
    named = Misconfigured(
        without="speculative.types", added={"speculative.draft.mparams.path": str(bench.model)}
    )
    newest = bench.answers(Arm.MTP, named)
    oldest = replace(bench, environment=environment_for(OLDEST)).answers(Arm.MTP, named)
    assert texts(newest) == texts(oldest) == texts(healthy)
    assert drafted(newest) == drafted(healthy)
    assert 0 < drafted(oldest) != drafted(newest)


def test_a_dead_head_drafts_and_nothing_is_accepted(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    """As some quantisations have it: weights that are there and wrong."""
    recipe = replace(SyntheticRecipe.from_dict(bench.check.model.recipe), noise=DEAD)
    dead = replace(bench, model=write_model(recipe, bench.folder / "dead.gguf").path)
    mtp = dead.answers(Arm.MTP)
    assert texts(mtp) == texts(healthy)
    assert drafted(mtp) > 200
    assert sum(sample.accepted or 0 for sample in mtp[1]) < 0.02 * drafted(mtp)
    assert bench.named(mtp, healthy, baseline) == (Verdict.REGRESSED, Signature.DRAFTER_DEAD)


def test_what_props_say_of_speculation_is_not_believed(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    # It is asked before the first request, and says what it will run only once something ran.
    assert (healthy[0].effective or {}).get("speculative.types") in {None, "none"}
    assert drafted(healthy) > 0
    assert bench.named(healthy, healthy, baseline)[1] is None


def test_token_ids_tell_what_logprobs_of_verified_tokens_cannot(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    assert all(sample.token_ids is not None for sample in (*baseline[1], *healthy[1]))
    assert texts(baseline) == texts(healthy)


# --- Stand-ins: a real answer, changed as the issue says ------------------------------------------


def changed(answers: Answers, **changes: Callable[[int, Sample], Any]) -> Answers:
    session, samples = answers
    return session, tuple(
        replace(sample, **{name: value(place, sample) for name, value in changes.items()})
        for place, sample in enumerate(samples)
    )


@pytest.mark.parametrize(
    "cause",
    [
        "an exception while speculation is set up is only logged (server-context.cpp)",
        "a memory without sequence removal is only logged (server-context.cpp)",
        "a draft model that is loaded and never used (issue 25345)",
    ],
)
def test_a_server_that_means_to_draft_and_does_not_is_speculation_off(
    bench: Bench, baseline: Answers, healthy: Answers, cause: str
) -> None:
    assert cause, "to the client all of them look the same: answers without `draft_n`"
    off = changed(
        healthy,
        drafted=lambda *_: 0,
        accepted=lambda *_: 0,
        steps=lambda _, sample: sample.n - sample.n_first,
        accepted_per_position=lambda *_: None,
    )
    quiet = (replace(off[0], effective={}), off[1])
    assert bench.named(quiet, healthy, baseline) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_acceptance_that_falls_with_uptime_is_decay(bench: Bench) -> None:
    """Issue 27151: from request to request fewer are accepted, and a restart restores it."""
    prompts = [prompt for workload in bench.check.workloads for prompt in workload.prompts]
    many = [replace(prompt, id=f"{prompt.id}-{n}") for n in range(6) for prompt in prompts]
    longer = replace(
        bench,
        check=replace(bench.check, workloads=(replace(bench.check.workloads[0], prompts=tuple(many)),)),
    )
    baseline, healthy = longer.answers(Arm.BASELINE), longer.answers(Arm.MTP)

    def fewer(place: int, sample: Sample) -> int:
        return max(0, (sample.accepted or 0) - place)

    def steps(place: int, sample: Sample) -> int:
        return sample.n - sample.n_first - fewer(place, sample)

    worn = changed(
        healthy,
        accepted=fewer,
        steps=steps,
        # As many a step as before.
        drafted=lambda place, sample: round(
            (sample.drafted or 0) * steps(place, sample) / (sample.steps or 1)
        ),
        accepted_per_position=lambda *_: None,
    )
    plain = (replace(worn[0], effective={}), worn[1])
    assert longer.named(plain, healthy, baseline) == (Verdict.REGRESSED, Signature.DECAY)


def test_another_text_with_speculation_than_without_is_output_changed(
    bench: Bench, baseline: Answers, healthy: Answers
) -> None:
    """Issues 25618 and 23302: greedy output differs."""
    other = changed(healthy, token_ids=lambda _, sample: (*(sample.token_ids or ())[:-1], 258))
    assert bench.named(other, healthy, baseline)[1] is Signature.OUTPUT_CHANGED
