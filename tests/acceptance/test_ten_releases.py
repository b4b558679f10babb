"""Ten kinds of release, served one after another: each ends as it should, and in one incident at most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from acceptance.command import House, engines_of
from acceptance.service import SECRET, Service, configuration, publish, serving
from monitor.planted.wheels import Fault
from standins.index import IndexServer
from standins.receivers import WebhookReceiver

REGRESSED, BROKEN = "regressed", "broken"
_LOG_BYTES = 16 * 2**20  # a log may take, whatever an engine writes


@dataclass(frozen=True)
class Story:
    """A release and what must come of it."""

    fault: Fault
    state: str = "done"
    verdict: str | None = None
    """Any harmless one when None."""
    signature: str | None = None
    incident: str | None = None
    """Direction of the incident that goes on after it."""
    edition: int = 1
    level: float | None = None


STORIES = (
    Story(Fault.QUIET),
    Story(Fault.SPECULATION_OFF, verdict="regressed", signature="speculation off", incident=REGRESSED),
    Story(Fault.QUIET, edition=2),
    # Not the last before a recovery: on a shared CPU times are rarely decided as good again, counts are.
    Story(Fault.SLOWER_STEP, verdict="regressed", signature="step slower", incident=REGRESSED, level=0.9),
    Story(Fault.WORSE_HEAD, verdict="regressed", signature="acceptance drop", incident=REGRESSED),
    Story(Fault.ONE_DRAFT_FEWER, verdict="regressed", signature="configuration drift", incident=REGRESSED),
    Story(Fault.ALTERED_TOKENS, verdict="regressed", signature="output changed", incident=REGRESSED),
    Story(Fault.QUIET, edition=3),
    Story(Fault.CRASH, state="failed", incident=BROKEN),
    Story(Fault.HANG, state="failed", incident=BROKEN),
    Story(Fault.STRAY),
    Story(Fault.FLOOD),
)


def test_ten_kinds_of_release_end_as_they_should(wheel: Path, tmp_path: Path) -> None:
    with IndexServer() as index, WebhookReceiver(SECRET) as webhook:
        extra, variables = configuration(webhook.url)
        house = House.build(tmp_path / "house", index=index.url, check="brief", extra=extra)
        house.environment |= variables
        with serving(house) as service:
            versions = [_tell(story, index, wheel, tmp_path, service) for story in STORIES]
            found = service.get("/api/v1/incidents")["incidents"]
            wanted = 3
            service.wait(
                lambda: (
                    sum(message["type"] == "incident.resolved" for message in webhook.messages.values())
                    == wanted
                ),
                "the end of every incident",
            )
        assert len(found) == wanted
        opened = [m for m in webhook.messages.values() if m["type"] == "incident.opened"]
        resolved = [m for m in webhook.messages.values() if m["type"] == "incident.resolved"]
        assert [m["data"]["release"]["version"] for m in opened] == [versions[1], versions[3], versions[8]]
        # Each recovery names the release that fixed it.
        assert [m["data"]["release"]["version"] for m in resolved] == [
            *(versions[2], versions[7], versions[10])
        ]
        logs = list((house.state / "logs").rglob("*.log"))
        assert max(path.stat().st_size for path in logs) < _LOG_BYTES
    assert engines_of(house) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if "planted-stray" in str(p.info["cmdline"])]


def _tell(story: Story, index: IndexServer, wheel: Path, folder: Path, service: Service) -> str:
    which: dict[str, Any] = {"edition": story.edition, "level": story.level}
    version = publish(index, wheel, story.fault, folder / "planted", **which)
    run = service.run_of(version)
    assert run["state"] == story.state, (version, run)
    if story.state == "done":
        harmless = ("unchanged", "improved", "inconclusive")
        assert run["verdict"] in (harmless if story.verdict is None else (story.verdict,)), (version, run)
    if story.signature is not None:
        assert run["signature"] == story.signature, (version, run)

    def told() -> bool:
        live = service.get("/api/v1/incidents?state=open")["incidents"]
        return [item["direction"] for item in live] == ([story.incident] if story.incident else [])

    service.wait(told, f"the incidents after {version}: {story.incident or 'none'}")
    return version
