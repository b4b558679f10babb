"""A baseline server is asked for margins behind its measured answers; what it does then costs no session."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.bench.margins import Inquiry
from monitor.domain import Arm, Divergence, Margin, Sample, Session
from monitor.engines.llama_http import LlamaHttp
from standins.engine import StandinEngine, measure, tagged_by
from tests.integration.test_vllm_silent_failures import measured as measured_vllm

NEAR, FAR = 99, 77
"""What the stand-ins find nearly as likely as the right token, and what they do not tell of."""


@pytest.fixture(autouse=True)
def _nothing_outlives_a_session() -> Iterator[None]:
    yield
    assert tagged_by(os.getpid()) == []


def place(prompt: str = "p0", found: int = NEAR, expected: int = 12) -> Divergence:
    return Divergence(0, "code", prompt, 0, common=(10, 11), expected=expected, found=found)


def asked(folder: Path, fault: str, *places: Divergence, time_s: float = 60.0) -> tuple[Session, int]:
    """Measure a baseline session and ask; return it with how many samples it had when it was asked."""
    seen: list[Sequence[Sample]] = []

    def divergences(samples: Sequence[Sample]) -> Sequence[Divergence]:
        seen.append(tuple(samples))
        return places

    session, samples = measure(folder, fault, arm=Arm.BASELINE, inquiry=Inquiry(divergences, time_s))
    assert seen == [samples]
    return session, len(samples)


def facts(session: Session) -> dict[str, Any]:
    return {key: value for key, value in (session.effective or {}).items() if key.startswith("margins.")}


def test_llama_cpp_tells_margins_behind_all_answers(tmp_path: Path) -> None:
    session, answered = asked(tmp_path, "none", place(), place("p1", FAR))

    assert answered == 2
    assert session.margins == (
        Margin(0, "code", "p0", 0, 2, 12, NEAR, pytest.approx(0.2)),
        Margin(0, "code", "p1", 0, 2, 12, FAR, pytest.approx(7.3), at_least=True),
    )
    assert facts(session) == {"margins.asked": 2, "margins.told": 2}
    # What is asked for margins is no answer: the counters were read before.
    assert (session.effective or {})["counter.drafts"] == 6


def test_vllm_tells_margins_behind_all_answers(tmp_path: Path) -> None:
    inquiry = Inquiry(lambda _: (place(expected=2),), 60.0)
    session, samples = measured_vllm(tmp_path, Arm.BASELINE, inquiry=inquiry)

    assert len(samples) == 3
    assert session.margins == (Margin(0, "code", "p0", 0, 2, 2, NEAR, pytest.approx(0.2)),)


def test_where_nothing_parted_nothing_is_asked(tmp_path: Path) -> None:
    session, _ = asked(tmp_path, "margin-crashes")

    assert session.margins == ()
    assert facts(session) == {}


def test_a_session_that_is_to_ask_for_nothing_has_no_margins(tmp_path: Path) -> None:
    session, _ = measure(tmp_path, "none", arm=Arm.BASELINE)

    assert session.margins is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("margin-refused", "status 501"),
        ("margin-empty", "no probabilities"),
        ("margin-crashes", "closed the connection"),
    ],
)
def test_a_server_that_does_not_tell_costs_nothing_and_is_noted(
    tmp_path: Path, fault: str, reason: str
) -> None:
    session, answered = asked(tmp_path, fault, place(), place("p1"))

    assert (answered, session.margins) == (2, ())
    assert (facts(session)["margins.asked"], facts(session)["margins.told"]) == (2, 0)
    assert reason in facts(session)["margins.reason"]


def test_a_server_that_hangs_is_asked_for_no_longer_than_allowed(tmp_path: Path) -> None:
    session, answered = asked(tmp_path, "margin-hangs", place(), place("p1"), time_s=0.3)

    assert (answered, session.margins) == (2, ())
    # All places share the time: the second is not given another 0.3 s.
    assert facts(session)["margins.reason"] == "the 0.3 s for it were over"


def test_a_prompt_that_this_session_does_not_have_is_passed_over(tmp_path: Path) -> None:
    session, _ = asked(tmp_path, "none", place("elsewhere"), place())

    assert [margin.prompt for margin in session.margins or ()] == ["p0"]


def test_an_engine_that_cannot_be_asked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandinEngine, "dialect", lambda *_: LlamaHttp())
    session, _ = asked(tmp_path, "none", place())

    assert session.margins is None
    assert "standin" in facts(session)["margins.unavailable"]
