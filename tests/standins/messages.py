"""Handmade changes of incidents and the messages about them, for tests of what people are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import factories
from factory_values import NOW, artifact, host
from monitor.alerts.render import Change, incident_data
from monitor.domain import Direction, Incident, IncidentState, IncidentStep, Judgement, RunState, Tier
from monitor.domain.incidents import Action, Message, MessageType
from monitor.store.queries.quarantines import Quarantine
from monitor.store.queries.run_rows import Run

PUBLIC_URL = "https://mtp.example/monitor"
MESSAGE_ID = "msg_3f9c2a7d1e5b48606d0f4c1e6b3d4f0e"


def run(number: int = 34, version: str = factories.PLANTED, **other: Any) -> Run:
    values: dict[str, Any] = {
        "id": number,
        "check_id": "synthetic-qwen35-cpu",
        "check_digest": "d1",
        "project": "xllamacpp",
        "version": version,
        "artifact_sha256": artifact(version).sha256,
        "host": host().machine_id,
        "tier": Tier.QUICK,
        "reference_run_id": 12,
        "environment_key": None,
        "state": RunState.DONE,
        "stage": "",
        "reason": "",
        "permanent": None,
        "attempts": 1,
        "planned_at": NOW,
        "started_at": NOW,
        "finished_at": NOW + timedelta(minutes=20),
        "requested_by": "the daemon",
        "channel": "stable",
        "epoch_id": 1,
        "against": "last-good",
        "confirm": True,
        "priority": 0,
        "due_at": None,
        "waiting": "",
        "announced_at": None,
        "artifact_id": 7,
    }
    return Run(**values | other)


def quarantine(**other: Any) -> Quarantine:
    values: dict[str, Any] = {
        "id": 3,
        "gpu": "GPU-1",
        "reason": "its memory did not come back",
        "began_at": NOW,
        "released_at": None,
        "who": "",
        "why": "",
    }
    return Quarantine(**values | other)


def incident(number: int = 5, **other: Any) -> Incident:
    values: dict[str, Any] = {
        "id": number,
        "key": f"key-{number}",
        "project": "xllamacpp",
        "channel": "stable",
        "machine_id": host().machine_id,
        "check_id": "synthetic-qwen35-cpu",
        "epoch_id": 1,
        "direction": Direction.REGRESSED,
        "state": IncidentState.OPEN,
        "signature": "acceptance drop",
        "headline": "Acceptance dropped: acceptance length −33.2 %.",
        "opened_at": NOW,
        "changed_at": NOW,
        "ended_at": None,
        "first_bad_run_id": 34,
        "latest_bad_run_id": 34,
        "worst_run_id": 34,
        "fixed_by_run_id": None,
        "snoozed_until": None,
        "reminders": 0,
        "remind_at": None,
    }
    return Incident(**values | other)


def step(action: Action = Action.OPENED, **other: Any) -> IncidentStep:
    values: dict[str, Any] = {
        "action": action,
        "source": None,
        "target": IncidentState.OPEN,
        "who": "monitor",
        "why": "",
        "run_ids": (12, 34),
        "at": NOW,
    }
    return IncidentStep(**values | other)


def opened(number: int = 5, **other: Any) -> Change:
    """Return the news that a release lost acceptance while its steps take as long as before."""
    values: dict[str, Any] = {
        "incident": incident(number),
        "step": step(),
        "run": run(),
        "judgement": quiet_drop(),
        "reference_version": factories.OLD,
        "predecessor": None,
    }
    return Change(**values | other)


@cache
def quiet_drop() -> Judgement:
    """Return a confirmed drop of acceptance on a machine that is quiet enough to tell."""
    still = factories.Machine(session_noise=0.002)
    worse, later = replace(still, acceptance=0.5), NOW + timedelta(minutes=5)
    confirm = (
        factories.samples(factories.OLD, still, blocks=3, role=factories.Role.CONFIRM, began=later),
        factories.samples(
            factories.PLANTED,
            worse,
            blocks=3,
            role=factories.Role.CONFIRM,
            began=later + timedelta(seconds=10),
        ),
    )
    judged = factories.run(
        factories.PLANTED,
        factories.samples(factories.PLANTED, worse),
        factories.samples(factories.OLD, still, blocks=4),
        confirm=confirm,
    ).judgement
    assert judged is not None
    return judged


def resolved(number: int = 5, **other: Any) -> Change:
    """Return the news that a later release is as good as the reference again."""
    ended = incident(number, state=IncidentState.RESOLVED, fixed_by_run_id=40, ended_at=NOW)
    values: dict[str, Any] = {
        "incident": ended,
        "step": step(Action.RESOLVED, target=IncidentState.RESOLVED, run_ids=(40,)),
        "run": run(40, "0.2.42"),
        "judgement": factories.unchanged().judgement,
        "reference_version": factories.OLD,
        "predecessor": None,
        "first_bad_version": factories.PLANTED,
    }
    return Change(**values | other)


def broken(number: int = 6, **other: Any) -> Change:
    """Return the news that a release does not start."""
    values: dict[str, Any] = {
        "incident": incident(number, direction=Direction.BROKEN, signature="broken release"),
        "step": step(),
        "run": run(
            35,
            "0.2.41",
            state=RunState.FAILED,
            reason="does not start: llama-server ended with code 1.\nWhat to do: read the log",
        ),
        "judgement": None,
        "reference_version": factories.OLD,
        "predecessor": None,
    }
    return Change(**values | other)


def by_person(action: Action, state: IncidentState, why: str = "") -> Change:
    """Return what a person did to an incident."""
    changed = incident(state=state, snoozed_until=NOW + timedelta(days=2) if "snooze" in action else None)
    return opened(incident=changed, step=step(action, target=state, who="Ada", why=why))


def message(
    data: dict[str, Any] | None = None,
    kind: MessageType = MessageType.INCIDENT_OPENED,
    number: str = MESSAGE_ID,
) -> Message:
    told = incident_data([opened()], host=host(), public_url=PUBLIC_URL) if data is None else data
    return Message(number, kind, NOW, told)


def readable(payload: dict[str, Any]) -> str:
    """Return a Slack message as a reader sees it, line by line."""
    lines: list[str] = []
    for block in payload["blocks"]:
        match block["type"]:
            case "header":
                lines.append(f"# {block['text']['text']}")
            case "divider":
                lines.append("———")
            case "context":
                lines += [f"  ({element['text']})" for element in block["elements"]]
            case "section":
                texts = [block["text"]] if "text" in block else block["fields"]
                lines += [text["text"] for text in texts]
    return "\n\n".join(lines)
