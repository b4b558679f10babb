"""A Slack message: understood in five seconds, within the limits, and nothing from outside acts in it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import factories
from factory_values import HOSTILE, host
from monitor.alerts.blocks import MAX_BLOCKS, MAX_CHARACTERS, Blocks, cut, plain
from monitor.alerts.render import Change, incident_data, release_data, run_data, stale_data
from monitor.alerts.slack import payload
from monitor.domain import IncidentState
from monitor.domain.incidents import Action, MessageType
from standins import messages
from standins.messages import PUBLIC_URL, broken, by_person, message, opened, readable, resolved
from standins.receivers import as_shown, refusal_of, texts_of

RELEASE = f"xllamacpp {factories.PLANTED}"

WHOLE = f"""\
# ▼ Regressed: {RELEASE} on bench-01

*PLANTED.* A stand-in release made by this monitor to show what a regression looks like; not a real release. \
The project named here never published it.

*{RELEASE} lost MTP speedup on bench-01: 1.03× instead of 1.53× (acceptance drop).*

———

*Speedup*
expected 1.53× (1.53 to 1.54×)
found 1.03× (1.02 to 1.03×)

*Acceptance rate*
expected 62.2 %
found 30.5 %

• *Acceptance got worse*: 62.2 % → 30.5 %; a step gains 2.84 → 1.90 tokens, −33.2 % (exact). \
It explains all of the lost speedup.
• Step time with MTP did not move: 14.7 → 14.6 ms, −0.4 % (−0.7 to −0.1). \
It explains nothing of the lost speedup.

*Lost most*
• Acceptance length on chat: 2.89 → 1.74 tokens, −39.7 % (exact)
• Acceptance length overall: 2.84 → 1.90 tokens, −33.2 % (exact)
• Acceptance length on prose: 3.03 → 2.07 tokens, −31.8 % (exact)
• Acceptance length on code: 2.62 → 1.90 tokens, −27.6 % (exact)

*What to do:* Look at changes to drafting and verification, and to the MTP head's quantisation. \
Stay on the reference until it is understood.

  (check synthetic-qwen35-cpu  ·  against 0.2.40  ·  first bad {factories.PLANTED}  ·  confirmed  ·  \
state open  ·  runs 12, 34)

Incident 5  ·  Run 34 and its report"""


def sent(*changes: Change, public_url: str | None = PUBLIC_URL) -> dict[str, Any]:
    return payload(message(incident_data(changes, host=host(), public_url=public_url)))


def shown(posted: dict[str, Any]) -> str:
    return as_shown(readable(posted))


def size(posted: dict[str, Any]) -> int:
    return sum(len(text) for block in posted["blocks"] for text in texts_of(block))


# ---------------------------------------------------------------------------------------------
# What is read


def test_the_message_as_a_whole() -> None:
    assert shown(sent(opened())) == WHOLE


def test_the_notification_is_one_line_with_verdict_and_figures() -> None:
    assert sent(opened())["text"] == (
        f"▼ {RELEASE} lost MTP speedup on bench-01: 1.03× instead of 1.53× (acceptance drop)."
    )


def test_links_lead_to_pages_and_without_pages_the_exact_command_is_there() -> None:
    linked, plain_text = readable(sent(opened())), readable(sent(opened(), public_url=None))

    assert f"<{PUBLIC_URL}/incidents/5|Incident 5>" in linked
    assert f"<{PUBLIC_URL}/runs/34|Run 34 and its report>" in linked
    assert plain_text.endswith("See more: `mtp-monitor report 34 -o run-34.html`")
    assert "<http" not in plain_text


def test_no_preview_is_made_of_links() -> None:
    posted = sent(opened())

    assert (posted["unfurl_links"], posted["unfurl_media"]) == (False, False)


@pytest.mark.parametrize(
    ("action", "state", "title", "did"),
    [
        (Action.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED, "◇ Acknowledged", "acknowledged the incident of"),
        (Action.RESOLVED, IncidentState.RESOLVED, "▲ Resolved", "resolved the incident of"),
    ],
)
def test_what_a_person_did_repeats_no_figures(
    action: Action, state: IncidentState, title: str, did: str
) -> None:
    text = shown(sent(by_person(action, state, "looking at it")))

    assert text.startswith(f"# {title}: ")
    assert f"*Ada {did} synthetic-qwen35-cpu on bench-01" in text
    assert "Acceptance dropped: acceptance length −33.2 %." in text
    assert "expected" not in text


@pytest.mark.parametrize(
    ("change", "beginning"),
    [
        (broken(), "# ✕ Does not run: xllamacpp 0.2.41 on bench-01"),
        (resolved(), "# ▲ Resolved: xllamacpp 0.2.42 on bench-01"),
        (opened(step=messages.step(Action.REMINDED)), f"# ▼ Still regressed: {RELEASE} on bench-01"),
    ],
)
def test_the_first_line_is_the_verdict_the_release_and_the_host(change: Change, beginning: str) -> None:
    assert shown(sent(change)).partition("\n")[0] == beginning


def test_the_change_against_the_release_before_is_told_beside_the_one_against_the_reference() -> None:
    text = shown(sent(opened(predecessor=factories.unchanged().judgement)))

    assert "Against 0.2.40 alone: No change: acceptance is exactly the same" in text


def test_of_many_incidents_the_worst_five_are_shown_and_the_rest_counted() -> None:
    posted = sent(*(opened(number) for number in range(1, 9)))
    text = readable(posted)

    assert refusal_of(posted) == ""
    assert text.count("|Incident ") <= 5
    assert "more" in text
    assert f"<{PUBLIC_URL}/incidents|All incidents>" in text


def test_the_other_types_of_messages_are_readable_too() -> None:
    judgement = factories.unchanged().judgement
    told = (
        (
            run_data(messages.run(3, "0.2.41"), judgement, host=host(), public_url=None),
            MessageType.RUN_FINISHED,
        ),
        (
            release_data("vllm", "nightly", ["1.0", "1.1+planted.x"], public_url=PUBLIC_URL),
            MessageType.RELEASE_DISCOVERED,
        ),
        (
            stale_data(["no run finished", "the index is silent"], host=host(), public_url=None),
            MessageType.SERVICE_STALE,
        ),
    )
    run, release, stale = (payload(message(data, kind)) for data, kind in told)

    assert [refusal_of(posted) for posted in (run, release, stale)] == ["", "", ""]
    assert shown(run).startswith(
        "# = Unchanged: xllamacpp 0.2.41 on bench-01\n\n*No change: acceptance is exactly"
    )
    assert "• 1.1+planted.x (planted by this monitor)" in shown(release)
    assert f"<{PUBLIC_URL}/releases|See more>" in readable(release)
    assert shown(stale) == (
        "# ⚠ The MTP monitor on bench-01 needs attention\n\n*No run finished. And 1 more.*\n\n"
        "• No run finished.\n\n• The index is silent.\n\nSee more: `mtp-monitor doctor`"
    )


def test_every_kind_of_verdict_makes_a_message_that_slack_takes() -> None:
    for view in factories.every_kind():
        data = run_data(messages.run(), view.judgement, host=host(), public_url=PUBLIC_URL)
        assert refusal_of(payload(message(data, MessageType.RUN_FINISHED))) == ""


# ---------------------------------------------------------------------------------------------
# Text from outside


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U123> <#C1>", "&lt;@\u2060U123&gt; &lt;#C1&gt;"),
        ("@here @channel", "@\u2060here @\u2060channel"),
        ("`rm -rf`", "ˋrm -rfˋ"),
        ("*bold* ~gone~", "∗bold∗ ∼gone∼"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
    ],
)
def test_text_from_outside_is_made_harmless(text: str, harmless: str) -> None:
    assert plain(text) == harmless


def test_hostile_names_reach_slack_as_text_only() -> None:
    evil = "<!channel> `x` @here <https://evil.example|click> " + HOSTILE
    posted = sent(
        opened(
            incident=messages.incident(headline=evil, check_id=evil, signature=evil),
            step=messages.step(who=evil, why=evil),
            run=messages.run(version=evil, project=evil, reason=evil),
            judgement=replace(messages.quiet_drop(), headline=evil),
            reference_version=evil,
            predecessor=replace(messages.quiet_drop(), headline=evil),
        ),
        public_url=None,
    )

    text = json.dumps(posted, ensure_ascii=False)
    assert refusal_of(posted) == ""
    assert not any(mark in text for mark in ("<", "@here", "`x`", "\\u0000", "\\u001b", "\u202e"))
    for block in posted["blocks"]:
        if block["type"] in {"section", "context"}:
            parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
            assert all(part["verbatim"] for part in parts if part)


def test_an_address_cannot_end_its_link() -> None:
    text = readable(sent(opened(), public_url="https://mtp.example/?a=1&b=>|<!channel>"))

    assert "<https://mtp.example/?a=1&amp;b=%3E%7C%3C!channel%3E/incidents/5|Incident 5>" in text


# ---------------------------------------------------------------------------------------------
# Limits


def test_the_longest_texts_stay_within_all_limits() -> None:
    long = "&" * 5000
    worst = opened(
        incident=messages.incident(headline=long, check_id=long, signature=long),
        step=messages.step(who=long, why=long),
        run=messages.run(version=long, project=long, reason=long),
        reference_version=long,
        predecessor=replace(messages.quiet_drop(), headline=long),
    )
    for count in (1, 2, 5, 50):
        posted = sent(*[worst] * count)
        assert refusal_of(posted) == ""
        assert size(posted) <= MAX_CHARACTERS
        assert len(posted["text"]) <= 3000
    assert "Not all of it fits into one message." in readable(posted)


def test_blocks_stay_within_their_number_and_the_last_line_is_always_there() -> None:
    blocks = Blocks()
    for number in range(200):
        blocks.section(f"line {number}")
    made = blocks.closed("the end")

    assert len(made) == MAX_BLOCKS
    assert made[-1]["text"]["text"] == "Not all of it fits into one message. the end"


@pytest.mark.parametrize("most", [10, 11, 12, 13, 150])
def test_text_is_cut_between_entities(most: int) -> None:
    short = cut("<&>" * 200, most)

    assert len(short) <= most
    assert short.endswith("…")
    assert as_shown(short).strip("<&>…") == ""
    assert cut("short", most) == "short"
