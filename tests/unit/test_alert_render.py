"""What people are told: sentences, figures, and values that keep to the published schema."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import factories
from factory_values import HOSTILE, NOW, host
from monitor.alerts.render import (
    Change,
    incident_data,
    quarantine_data,
    release_data,
    run_data,
    stale_data,
)
from monitor.alerts.webhook import MAX_BODY_BYTES, body
from monitor.domain import Arm, IncidentState, RunState, Signature
from monitor.domain.incidents import Action, MessageType
from monitor.views.cost import CostRow, Costs
from standins import messages
from standins.messages import PUBLIC_URL, broken, by_person, message, opened, resolved

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "messages.schema.json"

PEOPLE = (
    by_person(Action.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED, "looking at it"),
    by_person(Action.SNOOZED, IncidentState.SNOOZED),
    by_person(Action.ACCEPTED, IncidentState.ACCEPTED, "the new head is worth it"),
    by_person(Action.FALSE_ALARM, IncidentState.FALSE_ALARM, "the fan was broken"),
    by_person(Action.REOPENED, IncidentState.OPEN, "it is back"),
)


def strict(schema: Any) -> Any:
    """Return the schema with every object closed: we send no field that is not described."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if "required" in closed and "properties" in closed and "$defs" not in closed:
            closed["additionalProperties"] = False
        return closed
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = strict(json.loads(SCHEMA.read_text(encoding="utf-8")))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def told(*changes: Change, public_url: str | None = PUBLIC_URL) -> dict[str, Any]:
    return incident_data(changes, host=host(), public_url=public_url)


# ---------------------------------------------------------------------------------------------
# The schema


def _every_message() -> list[tuple[MessageType, dict[str, Any]]]:
    incident = [
        *((opened(step=messages.step(action)),) for action in Action if action not in _OF_PEOPLE),
        *((broken(step=messages.step(action)),) for action in Action if action not in _OF_PEOPLE),
        *((change,) for change in PEOPLE),
        (resolved(),),
        (opened(costs=Costs("EUR", (CostRow(Arm.MTP, 0.5, 0.6),))),),
        (
            opened(
                judgement=factories.speculation_off().judgement, predecessor=factories.unchanged().judgement
            ),
        ),
        (opened(judgement=factories.invalid().judgement), opened(6, judgement=factories.first().judgement)),
        tuple(opened(number) for number in range(1, 5)),
    ]
    runs = [
        run_data(messages.run(), view.judgement, host=host(), public_url=None)
        for view in factories.every_kind()
        if view.judgement
    ]
    return [
        *((MessageType.INCIDENT_OPENED, told(*changes)) for changes in incident),
        *((MessageType.RUN_FINISHED, data) for data in runs),
        (
            MessageType.RUN_FINISHED,
            run_data(
                messages.run(state=RunState.FAILED, reason="hang"), None, host=host(), public_url=PUBLIC_URL
            ),
        ),
        (MessageType.RELEASE_DISCOVERED, release_data("vllm", "stable", ["1.0"], public_url=PUBLIC_URL)),
        (MessageType.SERVICE_STALE, stale_data(["no run finished"], host=host(), public_url=None)),
        (MessageType.SERVICE_STALE, stale_data([], host=None, public_url=None)),
        (MessageType.GPU_QUARANTINED, quarantine_data(messages.quarantine(), host=host(), public_url=None)),
        (
            MessageType.GPU_RELEASED,
            quarantine_data(
                messages.quarantine(released_at=NOW, who="ada", why="restarted"),
                host=host(),
                public_url=PUBLIC_URL,
            ),
        ),
    ]


_OF_PEOPLE = {change.step.action for change in PEOPLE}


def test_every_message_is_as_the_schema_says(validator: jsonschema.Draft202012Validator) -> None:
    for kind, data in _every_message():
        content = json.loads(body(message(data, kind)))
        validator.validate(content)
        assert "shortened" not in content["data"]


def test_the_schema_refuses_what_is_not_described(validator: jsonschema.Draft202012Validator) -> None:
    content = json.loads(body(message()))
    content["data"]["incidents"][0]["extra"] = 1
    assert not validator.is_valid(content)
    content = json.loads(body(message()))
    del content["data"]["incidents"][0]["rows"][0]["ci_low"]
    assert not validator.is_valid(content)
    assert not validator.is_valid(json.loads(body(message(kind=MessageType.RUN_FINISHED))))


def test_numbers_that_are_not_finite_and_text_that_breaks_out_are_told_safely(
    validator: jsonschema.Draft202012Validator,
) -> None:
    judgement = messages.quiet_drop()
    wild = replace(
        judgement,
        headline=HOSTILE,
        effects=tuple(
            replace(row, ci_low=-math.inf, ci_high=math.nan, reference=math.inf, workload=HOSTILE)
            for row in judgement.effects
        ),
    )
    data = told(
        opened(
            incident=messages.incident(headline=HOSTILE, check_id=HOSTILE, signature=HOSTILE),
            step=messages.step(who=HOSTILE, why=HOSTILE + "\ud800" + "x" * 9999),
            run=messages.run(version=HOSTILE, project=HOSTILE),
            judgement=wild,
            reference_version=HOSTILE,
        )
    )

    content = body(message(data)).decode()
    validator.validate(json.loads(content))
    assert not any(mark in content for mark in ("\\u0000", "\\u001b", "\u202e", "NaN", "Infinity"))


# ---------------------------------------------------------------------------------------------
# Sentences


def test_the_headline_says_which_release_lost_what_where_and_why() -> None:
    data = told(opened())

    assert data["title"] == f"Regressed: xllamacpp {factories.PLANTED} on bench-01"
    assert data["headline"] == (
        f"xllamacpp {factories.PLANTED} lost MTP speedup on bench-01: 1.03× instead of 1.53× "
        "(acceptance drop)."
    )
    assert data["release"]["planted"] is True


def test_acceptance_and_speed_are_two_facts_with_the_share_of_the_loss_that_each_explains() -> None:
    acceptance, speed = told(opened())["incidents"][0]["facts"]

    assert (acceptance["about"], acceptance["moved"]) == ("acceptance", True)
    assert "62.2 % → 30.5 %" in acceptance["text"]
    assert "explains all of the lost speedup" in acceptance["text"]
    assert acceptance["share"] > 0.95
    assert (speed["about"], speed["moved"]) == ("speed", False)
    assert "Step time with MTP did not move" in speed["text"]
    assert abs(speed["share"]) < 0.05


def test_slower_steps_are_told_as_a_fact_of_speed_alone() -> None:
    still = factories.Machine(session_noise=0.002)
    slower = replace(still, draft_cost=1.6)
    judged = factories.run(
        factories.NEW,
        factories.samples(factories.NEW, slower, blocks=4),
        factories.samples(factories.OLD, still, blocks=6),
    ).judgement
    assert judged is not None
    incident = messages.incident(signature=judged.signature)
    acceptance, speed = told(opened(judgement=judged, incident=incident))["incidents"][0]["facts"]

    assert judged.signature is Signature.STEP_SLOWER
    assert (
        acceptance["text"]
        == "Acceptance is exactly the same, 62.2 %. It explains nothing of the lost speedup."
    )
    assert speed["text"].startswith("Step time with MTP got worse: 14.7 → 20.6 ms, +40")
    assert "explains" in speed["text"]


def test_speculation_that_is_off_is_said_so() -> None:
    judged = factories.speculation_off().judgement
    [fact] = told(opened(judgement=judged))["incidents"][0]["facts"]

    assert fact["text"] == "Not one token was drafted with MTP switched on."


def test_the_worst_rows_come_first_and_at_most_five() -> None:
    incident = told(opened())["incidents"][0]
    changes = [row["change_percent"] for row in incident["rows"]]

    assert 1 < len(changes) <= 5
    assert changes == sorted(changes)
    assert incident["rows_total"] >= len(changes)
    assert incident["rows"][0]["text"].startswith(
        "Acceptance length on chat: 2.89 → 1.74 tokens, −39.7 % (exact)"
    )
    assert {row["metric"] for row in incident["rows"]} == {"acceptance_length"}


def test_of_an_invalid_measurement_no_figure_is_told() -> None:
    [incident] = told(opened(judgement=factories.invalid().judgement))["incidents"]

    assert incident["verdict"] == "invalid"
    assert (incident["speedup"], incident["attribution"]) == (None, None)
    assert (incident["facts"], incident["rows"]) == ([], [])


def test_a_resolved_incident_names_the_release_that_fixed_it_and_the_one_that_brought_it() -> None:
    data = told(resolved())
    [incident] = data["incidents"]

    assert data["headline"].startswith(
        f"xllamacpp 0.2.42 took back the loss that {factories.PLANTED} brought on bench-01"
    )
    assert (incident["fixed_by_version"], incident["first_bad_version"]) == ("0.2.42", factories.PLANTED)


def test_a_release_that_does_not_run_comes_before_one_that_is_slower() -> None:
    data = told(opened(1), opened(2), broken(3))

    assert data["title"] == "Does not run: xllamacpp 0.2.41 on bench-01"
    assert data["headline"] == (
        "xllamacpp 0.2.41 does not run on bench-01: does not start: llama-server ended with code 1. "
        "3 incidents in all."
    )
    assert [item["id"] for item in data["incidents"]] == [3, 1, 2]


def test_the_title_counts_what_it_names_and_nothing_else() -> None:
    title = told(opened(1), resolved(2), opened(3))["title"]

    assert title == f"Regressed in 2 checks: xllamacpp {factories.PLANTED} on bench-01"


def test_of_losses_the_greatest_comes_first() -> None:
    less = replace(
        messages.quiet_drop(),
        candidate_summary=tuple(replace(row, speedup=1.4) for row in messages.quiet_drop().candidate_summary),
    )

    assert [item["id"] for item in told(opened(1, judgement=less), opened(2))["incidents"]] == [2, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (PEOPLE[0], "acknowledged the incident of CHECK on bench-01: looking at it."),
        (
            PEOPLE[1],
            (
                "snoozed the incident of CHECK on bench-01 until 26 November 2026, 04:05 UTC: "
                "Acceptance dropped: acceptance length −33.2 %."
            ),
        ),
        (PEOPLE[2], "accepted RELEASE as the new reference of CHECK on bench-01: the new head is worth it."),
        (PEOPLE[3], "called the incident of CHECK on bench-01 a false alarm: the fan was broken."),
        (
            by_person(Action.RESOLVED, IncidentState.RESOLVED, "the host was moved"),
            "resolved the incident of CHECK on bench-01 by hand: the host was moved.",
        ),
        (PEOPLE[4], "opened the incident of CHECK on bench-01 again: it is back."),
    ],
)
def test_what_a_person_did_is_told_with_name_and_reason(change: Change, sentence: str) -> None:
    names = {"CHECK": "synthetic-qwen35-cpu", "RELEASE": f"xllamacpp {factories.PLANTED}"}
    for name, value in names.items():
        sentence = sentence.replace(name, value)

    assert told(change)["headline"] == f"Ada {sentence}"


@pytest.mark.parametrize(
    ("action", "beginning"),
    [
        (Action.WORSE, "It got worse: "),
        (Action.REMINDED, "Still open since 24 November 2026: "),
        (Action.WOKEN, "No longer snoozed: "),
        (Action.SEEN_AGAIN, f"xllamacpp 0.2.43 still has the loss of {factories.PLANTED} on bench-01: 1.03×"),
    ],
)
def test_news_of_an_open_incident_says_what_is_new(action: Action, beginning: str) -> None:
    change = opened(
        step=messages.step(action), run=messages.run(50, "0.2.43"), first_bad_version=factories.PLANTED
    )

    assert told(change)["headline"].startswith(beginning)


def test_links_lead_to_pages_and_without_pages_the_command_is_there() -> None:
    one, several, none = told(opened()), told(opened(1), opened(2)), told(opened(), public_url=None)

    assert one["url"] == f"{PUBLIC_URL}/incidents/5"
    assert one["incidents"][0]["run_url"] == f"{PUBLIC_URL}/runs/34"
    assert (several["url"], several["total"]) == (f"{PUBLIC_URL}/incidents", 2)
    assert none["url"] is None
    assert none["command"] == "mtp-monitor report 34 -o run-34.html"
    assert told(opened(), public_url=f"{PUBLIC_URL}/")["url"] == one["url"]


def test_without_a_change_there_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="something to tell"):
        told()


def test_a_first_measurement_is_called_so_and_a_failed_run_by_its_reason() -> None:
    first = run_data(messages.run(), factories.first().judgement, host=host(), public_url=None)
    failed = run_data(
        messages.run(state=RunState.FAILED, reason="hang: no answer"), None, host=host(), public_url=None
    )

    assert first["title"].startswith("First measurement: ")
    assert (failed["headline"], failed["title"][:7]) == ("hang: no answer", "Failed:")


def test_many_releases_and_reasons_are_counted_not_listed() -> None:
    found = release_data("vllm", "nightly", [f"1.{number}" for number in range(40)], public_url=None)
    stale = stale_data([f"reason {number}" for number in range(40)], host=host(), public_url=None)

    assert (found["headline"], found["total"]) == (
        "40 releases of vllm were found on the channel nightly.",
        40,
    )
    assert len(found["versions"]) == 20
    assert (len(stale["reasons"]), stale["total"]) == (20, 40)
    assert stale["headline"] == "Reason 0. And 39 more."


# ---------------------------------------------------------------------------------------------
# Short enough


def test_a_body_that_is_too_long_loses_rows_first_and_keeps_headline_and_links(
    validator: jsonschema.Draft202012Validator,
) -> None:
    data = told(*(opened(number) for number in range(1, 12)))
    content = body(message(data))
    kept = json.loads(content)["data"]

    assert len(json.dumps(data, ensure_ascii=False).encode()) > MAX_BODY_BYTES > len(content)
    validator.validate(json.loads(content))
    assert kept["shortened"] is True
    assert (kept["headline"], kept["url"], kept["total"]) == (data["headline"], data["url"], 11)
    assert kept["incidents"][0]["url"] == data["incidents"][0]["url"]
    assert data["incidents"][0]["rows"], "the stored message stays whole"


def test_a_body_of_the_longest_texts_still_fits(validator: jsonschema.Draft202012Validator) -> None:
    long = "é𝕏" * 9999
    worst = opened(
        incident=messages.incident(headline=long, check_id=long, signature=long),
        step=messages.step(who=long, why=long, run_ids=tuple(range(10**9, 10**9 + 500))),
        run=messages.run(version=long, project=long, reason=long),
        reference_version=long,
        predecessor=replace(messages.quiet_drop(), headline=long),
    )

    content = body(message(told(*[worst] * 50)))

    assert len(content) < MAX_BODY_BYTES
    validator.validate(json.loads(content))
