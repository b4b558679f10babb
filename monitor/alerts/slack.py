"""Slack's incoming webhooks: a message as blocks, and what Slack's answers mean.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Text from outside can neither
format nor mention nor link.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any

from monitor import targets
from monitor.alerts.blocks import MAX_SECTION, Blocks, cut, link, plain
from monitor.alerts.changes import BY_PEOPLE
from monitor.domain import Message, MessageType, Metric
from monitor.domain.incidents import Action
from monitor.errors import DeliveryError
from monitor.net import Reply
from monitor.views import numbers, words

PACE_S = 1.0
"""Slack takes one message a second for each webhook, and short bursts."""
_INCIDENTS = 5
_REASONS = 10
_RELEASES = 12
_PERMANENT_REASONS = frozenset(
    {
        "invalid_payload",
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "no_text",
        "user_not_found",
        "action_prohibited",
        "invalid_token",
        "channel_not_found",
        "no_service",
        "no_service_id",
        "no_team",
        "team_disabled",
        "posting_to_general_channel_denied",
        "channel_is_archived",
    }
)
"""What Slack says when it will never take the message; the only words of an answer that are repeated."""


class SlackTransport:
    """One incoming webhook, which stands for one channel."""

    def __init__(self, url: str, *, allow_private_hosts: Collection[str] = ()) -> None:
        self._url = url
        self._allow_private_hosts = allow_private_hosts

    def notify(self, message: Message) -> None:
        """Send a message; it was taken when Slack answers 200 and `ok`."""
        content = json.dumps(payload(message), ensure_ascii=False).encode("utf-8", "replace")
        reply = targets.post(
            self._url,
            content,
            {"Content-Type": "application/json; charset=utf-8"},
            allow_private_hosts=self._allow_private_hosts,
        )
        _take(reply)


def _take(reply: Reply) -> None:
    said = reply.body.decode("utf-8", "replace").strip()
    if reply.status == HTTPStatus.OK and said == "ok":
        return
    reason = f" ({said})" if said in _PERMANENT_REASONS else ""
    client_error = HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
    patience = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
    if reply.status == HTTPStatus.OK:
        what = f"{reply.url} answered 200, but not as Slack does."
    else:
        what = f"{reply.url} answered {reply.status}{reason}."
    raise DeliveryError(
        what,
        advice="look at the app and its channel in Slack, and at the webhook's address",
        permanent=client_error and reply.status not in patience,
        retry_after_s=reply.retry_after_s,
    )


# ---------------------------------------------------------------------------------------------
# The message


def payload(message: Message) -> dict[str, Any]:
    """Return what is posted: blocks, and the text that notifications and screen readers use."""
    data = message.data
    mark = _mark(message)
    blocks = Blocks()
    blocks.header(f"{mark} {data.get('title', message.type.value)}")
    if (data.get("release") or {}).get("planted"):
        blocks.section(f"*PLANTED.* {plain(words.PLANTED)}")
    blocks.section(f"*{plain(data.get('headline', ''))}*")
    details: dict[MessageType, Callable[[Blocks, dict[str, Any]], None]] = {
        MessageType.RUN_FINISHED: _run,
        MessageType.RELEASE_DISCOVERED: _versions,
        MessageType.SERVICE_STALE: _reasons,
        MessageType.GPU_QUARANTINED: _gpu,
        MessageType.GPU_RELEASED: _gpu,
    }
    details.get(message.type, _incidents)(blocks, data)
    return {
        "text": cut(f"{mark} {data.get('headline', '')}", MAX_SECTION),
        "blocks": blocks.closed(_more(data)),
        # A preview would only repeat the page, and fetch it for everybody in the channel.
        "unfurl_links": False,
        "unfurl_media": False,
    }


_MARKS = {
    MessageType.SERVICE_STALE: "⚠",
    MessageType.GPU_QUARANTINED: "⚠",
    MessageType.GPU_RELEASED: "▲",
    MessageType.RELEASE_DISCOVERED: "◇",
}


def _mark(message: Message) -> str:
    if message.type in _MARKS:
        return _MARKS[message.type]
    if message.type is MessageType.RUN_FINISHED:
        verdict = (message.data.get("run") or {}).get("verdict")
        return next((shown.mark for key, shown in words.VERDICTS.items() if key == verdict), "◇")
    action = message.data.get("action")
    if action in {Action.RESOLVED, Action.ACCEPTED}:
        return "▲"
    if action in {Action.ACKNOWLEDGED, Action.SNOOZED, Action.FALSE_ALARM}:
        return "◇"
    broken = any(item.get("direction") == "broken" for item in message.data.get("incidents", ())[:1])
    return "✕" if broken else "▼"


def _incidents(blocks: Blocks, data: dict[str, Any]) -> None:
    several = data.get("incidents", [])
    for item in several[:_INCIDENTS]:
        blocks.divider()
        if len(several) > 1:
            blocks.section(f"*{plain(item['check'])}*\n{plain(item['headline'])}")
        by_hand = item["action"] == Action.RESOLVED and not item["runs"]["fixed_by"]
        if by_hand or item["action"] in BY_PEOPLE:
            # Who has been told the figures before wants to know who did what.
            blocks.section(plain(item["loss"]))
            blocks.context(_facts_of(item))
            continue
        if item.get("drift"):
            blocks.section(_series(item["drift"]))
        _finding(blocks, item)
        predecessor = item.get("predecessor")
        if predecessor:
            blocks.section(
                f"Against {plain(predecessor['version'] or 'the release before')} alone: "
                f"{plain(predecessor['headline'])}"
            )
        bisection = item.get("bisection")
        if bisection:
            blocks.section(_began(bisection))
        blocks.context(_facts_of(item))
        if len(several) > 1:
            blocks.section(_links(item))
    left = data.get("total", 0) - min(len(several), _INCIDENTS)
    if left > 0:
        blocks.section(f"… and {left} more.")


def _series(drift: dict[str, Any]) -> str:
    """Return how a slow drift came about, release by release."""
    points = drift["points"][-_RELEASES:]
    metric = words.METRICS[Metric(drift["metric"])]
    listed = [f"• {plain(point['version'])}: {_percent(point['change_percent'])}" for point in points]
    return "\n".join([f"*{metric}, change since {plain(drift['since_version'])}*", *listed])


def _percent(change: float | None) -> str:
    return plain(numbers.change(change)) if change else "the same"


def _began(bisection: dict[str, Any]) -> str:
    """Return where a loss began, with the commits where the versions name them."""
    text = f"*Where it began:* {plain(bisection['text'])}"
    if bisection["commits_url"]:
        text += f" Commits: {link(bisection['commits_url'], bisection['commits'])}"
    return text


def _run(blocks: Blocks, data: dict[str, Any]) -> None:
    run = data["run"]
    _finding(blocks, run)
    against = f"against {run['reference_version']}" if run["reference_version"] else "no reference yet"
    blocks.context([f"check {run['check']}", against, f"run {run['id']}", f"tier {run['tier']}"])


def _versions(blocks: Blocks, data: dict[str, Any]) -> None:
    names = [
        f"• {plain(item['version'])}{' (planted by this monitor)' if item['planted'] else ''}"
        for item in data["versions"]
    ]
    left = data["total"] - len(names)
    blocks.section("\n".join([*names, *([f"… and {left} more"] if left > 0 else [])]))


def _reasons(blocks: Blocks, data: dict[str, Any]) -> None:
    if data["total"] > 1:
        for reason in data["reasons"][:_REASONS]:
            blocks.section(f"• {plain(reason)}")
        if data["total"] > _REASONS:
            blocks.section(f"… and {data['total'] - _REASONS} more.")


def _gpu(blocks: Blocks, data: dict[str, Any]) -> None:
    since = f"in quarantine from {data['began_at'][:16].replace('T', ' ')} UTC"
    until = f"to {data['released_at'][:16].replace('T', ' ')} UTC" if data["released_at"] else "on"
    if data["released_at"]:
        blocks.section(f"It had been kept from measuring because of this: {plain(data['reason'])}")
    blocks.context([f"GPU {data['gpu']}", f"{since} {until}"])


def _finding(blocks: Blocks, item: dict[str, Any]) -> None:
    """Show the two figures that matter most, what moved, and the rows that lost most."""
    fields = []
    speedup, acceptance = item.get("speedup"), item.get("acceptance_rate")
    if speedup:
        bounds = {
            side: numbers.times_interval(speedup[f"{side}_low"], speedup[f"{side}_high"])
            for side in ("reference", "candidate")
        }
        fields.append(_figures("Speedup", speedup, numbers.times, bounds))
    if acceptance:
        fields.append(_figures("Acceptance rate", acceptance, numbers.percent, {}))
    blocks.fields(fields)
    facts = [f"• {_marked(fact)}" for fact in item.get("facts", ())]
    if facts:
        blocks.section("\n".join(facts))
    rows = item.get("rows", [])
    if rows:
        left = item.get("rows_total", 0) - len(rows)
        listed = [f"• {plain(row['text'])}" for row in rows]
        more = [f"… and {left} more rows"] if left > 0 else []
        blocks.section("\n".join(["*Lost most*", *listed, *more]))
    if item.get("advice"):
        blocks.section(f"*What to do:* {plain(item['advice'])}")
    if item.get("to_run"):
        blocks.section(f"*Meanwhile:* {plain(item['to_run']['text'])}")


def _figures(
    title: str, pair: dict[str, Any], shown: Callable[[float | None], str], bounds: dict[str, str]
) -> str:
    lines = [f"*{title}*"]
    for word, side in (("expected", "reference"), ("found", "candidate")):
        if pair[side] is None and side == "reference":
            continue
        interval = f" ({bounds[side]})" if bounds.get(side) else ""
        lines.append(f"{word} {shown(pair[side])}{interval}")
    return "\n".join(lines)


def _marked(fact: dict[str, Any]) -> str:
    """Return a fact; of what moved the first words, up to the colon, are bold."""
    first, colon, rest = plain(fact["text"]).partition(":")
    return f"*{first}*{colon}{rest}" if fact["moved"] else f"{first}{colon}{rest}"


def _facts_of(item: dict[str, Any]) -> list[str]:
    runs = item["runs"]
    found = [f"check {item['check']}"]
    if item.get("reference_version"):
        found.append(f"against {item['reference_version']}")
    if item.get("first_bad_version"):
        called = "noticed in" if item.get("drift") else "first bad"
        found.append(f"{called} {item['first_bad_version']}")
    if item.get("fixed_by_version"):
        found.append(f"fixed by {item['fixed_by_version']}")
    if item.get("confirmed"):
        found.append("confirmed")
    found.append(f"state {item['state']}")
    found.append("runs " + ", ".join(str(number) for number in runs["evidence"] or [runs["this"]]))
    return found


def _links(item: dict[str, Any]) -> str:
    """Return where to see an incident: its pages, or the exact command."""
    if item.get("url") and item.get("run_url"):
        incident = link(item["url"], f"Incident {item['id']}")
        run = link(item["run_url"], f"Run {item['runs']['this']} and its report")
        return f"{incident}  ·  {run}"
    return f"See more: `{plain(item['command'])}`"


def _more(data: dict[str, Any]) -> str:
    """Return the last line: where to see the rest."""
    incidents = data.get("incidents", ())
    if len(incidents) == 1 and data.get("total") == 1:
        return _links(incidents[0])
    if data.get("url"):
        return link(data["url"], "All incidents" if incidents else "See more")
    return f"See more: `{plain(data['command'])}`" if data.get("command") and not incidents else ""
