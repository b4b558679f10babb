"""Sessions, samples and judgements come back exactly as they were saved, on both kinds of database."""

from __future__ import annotations

from dataclasses import replace
from datetime import MAXYEAR, MINYEAR, UTC
from typing import Any

import pytest
import store_values as values
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from store_values import NOW

from monitor.domain import (
    Arm,
    Header,
    Margin,
    Role,
    Sample,
    SampleSet,
    Session,
    Verdict,
)
from monitor.errors import StoreError
from monitor.store import Store, Subject
from monitor.store.queries import judgements, sessions

COUNTS = st.integers(0, 2**53)
AMOUNTS = st.floats(0, allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
FACTS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
# Not in the first and the last year of all, whose first and last hours have no UTC.
DATES = (
    st.datetimes(timezones=st.sampled_from([UTC, values.KATHMANDU]))
    .filter(lambda date: MINYEAR < date.year < MAXYEAR)
    .map(lambda date: date.replace(fold=0))
)
TOKENS = st.lists(COUNTS, max_size=4).map(tuple)
MARGINS = st.builds(
    Margin,
    session=COUNTS,
    workload=NAMES,
    prompt=NAMES,
    repeat=COUNTS,
    position=COUNTS,
    expected=COUNTS,
    found=COUNTS,
    nats=st.floats(allow_nan=False, allow_infinity=False),
    at_least=st.booleans(),
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def sample_sets(draw: st.DrawFn) -> SampleSet:
    numbers = draw(st.lists(COUNTS, min_size=1, max_size=4, unique=True))
    made = tuple(
        draw(
            st.builds(
                Session,
                session=st.just(number),
                arm=st.sampled_from(Arm),
                block=COUNTS,
                order=COUNTS,
                role=st.just(Role.SCREEN),
                started_at=maybe(DATES),
                startup_s=maybe(AMOUNTS),
                gpu_memory_bytes=maybe(COUNTS),
                energy_j=maybe(AMOUNTS),
                effective=maybe(FACTS),
                margins=maybe(st.lists(MARGINS, max_size=3).map(tuple)),
            )
        )
        for number in numbers
    )
    places = draw(st.lists(st.tuples(st.sampled_from(made), NAMES, NAMES, COUNTS), max_size=5, unique_by=str))
    samples = tuple(
        draw(
            st.builds(
                Sample,
                session=st.just(one.session),
                arm=st.just(one.arm),
                workload=st.just(workload),
                prompt=st.just(prompt),
                repeat=st.just(repeat),
                n=COUNTS,
                n_first=maybe(COUNTS),
                ttft_s=maybe(AMOUNTS),
                decode_s=maybe(AMOUNTS),
                prompt_tokens=maybe(COUNTS),
                drafted=maybe(COUNTS),
                accepted=maybe(COUNTS),
                steps=maybe(COUNTS),
                accepted_per_position=maybe(TOKENS),
                stop=maybe(st.sampled_from(["length", "stop"])),
                server_decode_tps=maybe(AMOUNTS),
                token_ids=maybe(TOKENS),
                tokens_sha256=maybe(NAMES),
                correct=maybe(st.booleans()),
            )
        )
        for one, workload, prompt, repeat in places
    )
    header = st.builds(
        Header,
        check=NAMES,
        check_digest=NAMES,
        project=NAMES,
        version=NAMES,
        artifact_sha256=maybe(NAMES),
        host=maybe(NAMES),
        hardware_class=maybe(NAMES),
        draft_length=maybe(COUNTS),
        concurrency=maybe(st.integers(1, 64)),
        sampling=maybe(FACTS),
        judging=maybe(FACTS),
        calibration=maybe(FACTS),
        model_sha256=maybe(NAMES),
    )
    return SampleSet(draw(header), made, samples)


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # shrinking would write to the database for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(measured=sample_sets())
def test_any_sample_set_comes_back_equal_field_by_field(store: Store, measured: SampleSet) -> None:
    run = values.planned(store)
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, measured)
        sessions.save(db, run.id, Subject.CANDIDATE, measured)
    with store.read() as db:
        loaded = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
        assert sessions.count(db, run.id) == len(measured.sessions)
    assert loaded == measured
    # 1 == 1.0 == True: the text shows what equality hides.
    assert repr(loaded).replace("+00:00", "") == repr(as_utc(measured)).replace("+00:00", "")


def as_utc(measured: SampleSet) -> SampleSet:
    return replace(
        measured,
        sessions=tuple(
            replace(one, started_at=one.started_at and one.started_at.astimezone(UTC))
            for one in measured.sessions
        ),
    )


def test_a_set_that_grows_is_stored_once_and_in_its_order(store: Store) -> None:
    run = values.planned(store)
    for numbers in ((1, 0), (1, 0, 3), (1, 0, 3, 2), (4,)):
        with store.write() as db:
            sessions.save(db, run.id, Subject.CANDIDATE, values.sample_set(*numbers))
    with store.read() as db:
        assert sessions.count(db, run.id) == 5
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) == values.sample_set(1, 0, 3, 2, 4)


def test_roles_and_subjects_are_loaded_apart(store: Store) -> None:
    run = values.planned(store)
    screen, confirm = values.sample_set(0, 1), values.sample_set(2, 3, role=Role.CONFIRM)
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, screen)
        sessions.save(db, run.id, Subject.CANDIDATE, confirm)
        sessions.save(db, run.id, Subject.REFERENCE, confirm)
    with store.read() as db:
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) == screen
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.CONFIRM) == confirm
        assert sessions.load(db, run.id, Subject.REFERENCE, Role.CONFIRM) == confirm
        assert sessions.load(db, run.id, Subject.REFERENCE, Role.SCREEN) is None
        assert sessions.load(db, run.id + 1, Subject.CANDIDATE, Role.SCREEN) is None


def test_thousands_of_samples_are_stored_in_one_transaction(store: Store) -> None:
    run = values.planned(store)
    one = values.session(0)
    many = tuple(values.sample(one, repeat=number, token_ids=tuple(range(128))) for number in range(3000))
    measured = SampleSet(values.header(), (one,), many)
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, measured)
    with store.read() as db:
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) == measured


def _altered(of: SampleSet, **change: Any) -> SampleSet:
    return replace(of, samples=(replace(of.samples[0], **change), *of.samples[1:]))


STORED = values.sample_set(0, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (_altered(STORED, n=63), "already holds another session 0"),
        (replace(STORED, samples=STORED.samples[1:]), "already holds another session 0"),
        (values.sample_set(0, role=Role.CONFIRM), "already holds another session 0"),
        (replace(values.sample_set(2), sessions=()), "belongs to no complete session"),
        (_altered(values.sample_set(2), arm=Arm.MTP), "belongs to no complete session"),
        (_altered(values.sample_set(2), ttft_s=float("nan")), "`ttft_s`"),
        (values.sample_set(2, host="another"), "`host`"),
        (values.sample_set(2, 2), "given twice"),
    ],
)
def test_what_contradicts_the_stored_sessions_is_refused_whole(
    store: Store, wrong: SampleSet, says: str
) -> None:
    run = values.planned(store)
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, STORED)
    fresh = values.sample_set(8, 9)
    mixed = replace(wrong, sessions=fresh.sessions + wrong.sessions, samples=fresh.samples + wrong.samples)
    with pytest.raises(StoreError, match=says), store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, mixed)
    with store.read() as db:
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) == STORED


def test_discarded_sessions_make_room_for_others_under_their_numbers(store: Store) -> None:
    run, other = values.planned(store), values.planned(store)
    with store.write() as db:
        for one in (run, other):
            sessions.save(db, one.id, Subject.CANDIDATE, STORED)
            sessions.save(db, one.id, Subject.REFERENCE, STORED)
        sessions.discard(db, run.id)
        assert (sessions.count(db, run.id), sessions.count(db, other.id)) == (0, 4)
        sessions.save(db, run.id, Subject.CANDIDATE, _altered(STORED, n=63))
    with store.read() as db:
        assert sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN) == _altered(STORED, n=63)
        assert sessions.load(db, other.id, Subject.REFERENCE, Role.SCREEN) == STORED


def test_what_is_learnt_later_of_the_header_is_kept(store: Store) -> None:
    run = values.planned(store)
    with store.write() as db:
        sessions.save(db, run.id, Subject.CANDIDATE, values.sample_set(0))
        sessions.save(db, run.id, Subject.CANDIDATE, values.sample_set(0, calibration={"floor": 0.1}))
    with store.read() as db:
        loaded = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
    assert loaded == values.sample_set(0, calibration={"floor": 0.1})


# ---------------------------------------------------------------------------------------------
# Judgements


def test_a_judgement_comes_back_to_the_last_digit(store: Store) -> None:
    run, rich = values.planned(store), values.judgement()
    with store.write() as db:
        assert judgements.get(db, run.id) is None
        judgements.save(db, run.id, rich, now=NOW)
    with store.read() as db:
        loaded = judgements.get(db, run.id)
        assert judgements.verdict_of(db, run.id) is Verdict.REGRESSED
    assert loaded == rich
    assert repr(loaded) == repr(rich)


def test_the_newest_judgement_counts_and_an_equal_one_is_no_news(store: Store) -> None:
    run = values.planned(store)
    first, second = values.judgement(), values.judgement(Verdict.UNCHANGED, reference=None, attribution=None)
    with store.write() as db:
        for judgement in (first, first, second):
            judgements.save(db, run.id, judgement, now=NOW)
    with store.read() as db:
        assert judgements.get(db, run.id) == second
        assert judgements.verdict_of(db, run.id) is Verdict.UNCHANGED
