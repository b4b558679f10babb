"""Several answers at a time, of a server that answers prompts in different times."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.domain import Arm, Check, Prompt, Sample, Session
from monitor.engines.base import Completion, Dialect, Event, Request
from monitor.engines.llama_http import LlamaServerHttp
from monitor.errors import EngineCrashError, EngineError, EngineHangError, EngineReplyError
from monitor.gpu.watch import NoWatch, Stretch
from tests.standins.engine import StandinEngine, measure, tagged_by

STREAMS = 4
LENGTHS = (21, 60, 30, 45, 25, 75, 21, 33, 90, 27, 38, 52)
PROMPTS = tuple(
    Prompt(id=f"p{i}", workload="code", max_tokens=n, text=f"p{i}") for i, n in enumerate(LENGTHS)
)
BAD = Prompt(id="bad", workload="code", max_tokens=70, text="bad")
LONGEST_FIRST = [f"p{i}" for i in sorted(range(len(LENGTHS)), key=lambda i: -LENGTHS[i])]


class Heard(LlamaServerHttp):
    """The protocol, noting what was asked in which order; its answers tell counts or not."""

    def __init__(self, *, tells_counts: bool = True) -> None:
        self.asked: list[str] = []
        self._tells_counts = tells_counts

    def request(self, prompt: Prompt, check: Check) -> Request:
        self.asked.append(prompt.id)
        return super().request(prompt, check)

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        found = super().read(events, prompt, check)
        return found if self._tells_counts else replace(found, drafted=None, accepted=None)


class Engine(StandinEngine):
    def __init__(self, fault: str, heard: Heard) -> None:
        super().__init__(fault)
        self.heard = heard

    def dialect(self, _check: Check, /) -> Dialect:
        return self.heard


class DisturbedGpu(NoWatch):
    """A GPU that is slowed down while some answers come: `disturbs(lap, sent_s, ended_s)`."""

    def __init__(self, disturbs: Callable[[int, float, float], bool]) -> None:
        super().__init__()
        self._disturbs = disturbs
        self.laps = 0

    def since(self, _mark: float) -> Stretch:
        self.laps += 1
        return Stretch(energy_j=10.0 * self.laps)

    def between(self, from_s: float, to_s: float) -> Stretch:
        slowed = self._disturbs(self.laps, from_s, to_s)
        return Stretch(contaminated_by=("hardware slowdown",) if slowed else ())


@pytest.fixture(autouse=True)
def _clock_and_leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # How late a busy test machine reads is another test's matter.
    monkeypatch.setattr("monitor.bench.laps._LATE_FACTOR", 1e6)
    yield
    assert tagged_by(os.getpid()) == []


def ask(
    folder: Path, fault: str = "paced", heard: Heard | None = None, **changes: object
) -> tuple[Session, tuple[Sample, ...]]:
    given = {"concurrency": STREAMS, "prompts": PROMPTS, "warmup_prompts": 0, **changes}
    return measure(folder, fault, engine=Engine(fault, heard or Heard()), **given)


def log_of(folder: Path) -> str:
    return (folder / "logs" / "engine.log").read_text(encoding="utf-8")


def under_way(folder: Path) -> list[int]:
    """Return how many requests the server had at the beginning of each, itself included."""
    return [int(found) for found in re.findall(r"begin \w+: (\d+)", log_of(folder))]


def facts(session: Session) -> dict[str, object]:
    assert session.effective is not None
    return session.effective


def test_as_many_as_asked_for_are_under_way_until_the_last_has_started(tmp_path: Path) -> None:
    session, samples = ask(tmp_path)
    counts = under_way(tmp_path)
    assert len(counts) == len(PROMPTS)
    assert sorted(counts[:STREAMS]) == list(range(1, STREAMS + 1))
    # Two answers may end at the same moment: then the first that follows finds one place empty still.
    assert set(counts[STREAMS:]) <= {STREAMS, STREAMS - 1}
    assert STREAMS in counts[STREAMS:]
    # The samples are in the order of the tier, whatever was asked when.
    assert [sample.prompt for sample in samples] == [prompt.id for prompt in PROMPTS]
    assert [sample.n for sample in samples] == list(LENGTHS)
    # The end, when nothing waits, is a seventh of it; on a busy machine it takes a while to start another.
    assert 0.5 < float(str(facts(session)["streams.full_share"])) < 1


def test_the_longest_are_asked_first_and_in_both_arms_alike(tmp_path: Path) -> None:
    for arm in (Arm.BASELINE, Arm.MTP):
        heard = Heard()
        ask(tmp_path, heard=heard, arm=arm)
        assert heard.asked == LONGEST_FIRST


def test_repeats_are_kept_apart(tmp_path: Path) -> None:
    heard = Heard()
    _, samples = ask(tmp_path, heard=heard, prompts=PROMPTS[:4], repeats=2, concurrency=3)
    assert heard.asked == ["p1", "p1", "p3", "p3", "p2", "p2", "p0", "p0"]
    assert [(s.prompt, s.repeat) for s in samples] == [
        (f"p{i}", repeat) for repeat in (0, 1) for i in range(4)
    ]


def test_warm_up_keeps_every_stream_busy_once_and_counts_for_nothing(tmp_path: Path) -> None:
    heard = Heard()
    session, samples = ask(tmp_path, heard=heard, prompts=PROMPTS[:2], warmup_prompts=1)
    assert sorted(heard.asked[:STREAMS]) == ["p0", "p0", "p1", "p1"]
    assert len(samples) == 2
    assert facts(session)["counter.accepted"] == 2 * 4


def test_at_one_stream_prompts_are_asked_in_their_order_and_nothing_is_said_of_streams(
    tmp_path: Path,
) -> None:
    heard = Heard()
    session, _ = ask(tmp_path, heard=heard, concurrency=1, prompts=PROMPTS[:3])
    assert heard.asked == ["p0", "p1", "p2"]
    assert under_way(tmp_path) == [1, 1, 1]
    assert "streams.full_share" not in facts(session)


def test_a_slowdown_is_laid_to_the_answers_that_it_met_and_all_are_asked_again(tmp_path: Path) -> None:
    met: list[tuple[float, float]] = []

    def at_the_start(lap: int, from_s: float, to_s: float) -> bool:
        # Of the first lap only what was under way right after its beginning.
        met.append((from_s, to_s))
        return lap == 1 and from_s - min(start for start, _ in met) < 0.05

    heard, gpu = Heard(), DisturbedGpu(at_the_start)
    session, samples = ask(tmp_path, heard=heard, watch=gpu)
    assert gpu.laps == 2
    assert heard.asked == 2 * LONGEST_FIRST
    assert set(under_way(tmp_path)[len(PROMPTS) + STREAMS :]) <= {STREAMS, STREAMS - 1}, "at the same load"
    assert len(samples) == len(PROMPTS)
    assert facts(session)["counter.asked_again"] == len(PROMPTS)
    assert session.energy_j == 20.0, "that of the second lap"
    assert "contaminated" not in (session.gpu or {})


@pytest.mark.parametrize("tells_counts", [True, False])
def test_counters_cover_the_answers_that_became_samples_and_no_other(
    tmp_path: Path, tells_counts: bool
) -> None:
    told: list[Sample] = []
    gpu = DisturbedGpu(lambda lap, *_: lap == 1)
    heard = Heard(tells_counts=tells_counts)
    session, samples = ask(tmp_path, heard=heard, watch=gpu, on_sample=told.append)
    assert gpu.laps == 2
    assert told == list(samples)
    assert {(s.drafted, s.accepted) for s in samples} == ({(9, 4)} if tells_counts else {(None, None)})
    assert {s.accepted_per_position for s in samples} == {None}
    found = facts(session)
    assert (found["counter.drafted"], found["counter.accepted"]) == (9 * len(PROMPTS), 4 * len(PROMPTS))
    assert found["counter.accepted.0"] == 3 * len(PROMPTS)


def test_of_laps_that_are_all_disturbed_the_least_disturbed_counts_and_it_is_told(tmp_path: Path) -> None:
    seen = {1: 0, 2: 0, 3: 0}

    def disturbed(lap: int, *_: float) -> bool:
        seen[lap] += 1
        return seen[lap] <= {1: 3, 2: 1, 3: 2}[lap]

    session, _ = ask(tmp_path, watch=DisturbedGpu(disturbed))
    assert facts(session)["counter.asked_again"] == 2 * len(PROMPTS), "three laps at most"
    assert facts(session)["counter.accepted"] == 4 * len(PROMPTS)
    assert session.energy_j == 20.0, "the second lap had the fewest"
    assert session.gpu is not None
    assert session.gpu["contaminated"] == 1
    assert session.gpu["contaminated_by"] == ["hardware slowdown"]


LONG = tuple(replace(prompt, max_tokens=3000) for prompt in PROMPTS)
"""Each takes half a minute."""


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("paced-status-500", EngineReplyError, "status 500"),
        ("paced-crashes", EngineCrashError, "SIGSEGV"),
    ],
)
def test_an_answer_that_fails_ends_the_others(
    tmp_path: Path, fault: str, error: type[EngineError], says: str
) -> None:
    heard = Heard()
    began = time.monotonic()
    with pytest.raises(error, match=says) as caught:
        ask(tmp_path, fault, heard, prompts=(replace(BAD, max_tokens=4000), *LONG))
    assert time.monotonic() - began < 25, "the others were not waited for"
    assert re.findall(r"end p\d", log_of(tmp_path)) == []
    if error is EngineReplyError:
        assert "prompt 'bad' of 'code'" in str(caught.value)
        assert len(heard.asked) == STREAMS
    else:
        assert len(heard.asked) <= 2 * STREAMS, "each stream finds out by its next question, at the latest"


def test_an_answer_that_does_not_end_is_given_up_at_its_deadline_and_named(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(EngineHangError, match="prompt 'bad' of 'code'"):
        ask(tmp_path, "paced-hangs", heard, prompts=(BAD, *PROMPTS), request_timeout_s=5.0)
    assert len(heard.asked) == 1 + len(PROMPTS), "the other streams went on meanwhile"
