"""The whole job on real releases, here: no GPU, no configuration, a few minutes.

It uses the CPU packaging of llama.cpp, whose wheels hold the real server, and a synthetic model with a real
MTP head. The regression at the end is planted, and called so everywhere. People are told of it as of a real
one: by a signed webhook, to a receiver that this process runs on loopback.
"""

from __future__ import annotations

import base64
import secrets
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, Self

from packaging.version import Version
from pydantic import SecretStr
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from monitor import pipeline
from monitor.domain import (
    LIVE_STATES,
    Artifact,
    DeliveryState,
    Incident,
    Judgement,
    ModelSpec,
    ReleaseState,
)
from monitor.errors import MonitorError, ProvisionError, SourceError
from monitor.pipeline import RunOutcome, RunRequest, Station
from monitor.planted.names import is_planted
from monitor.planted.wheels import Fault, plant
from monitor.releases.policy import Decision
from monitor.settings import Settings
from monitor.settings_tables import DestinationSettings, SourceSettings, WebSettings
from monitor.steps import plan, provision
from monitor.steps.publish import release_line
from monitor.store.queries import incidents, outbox, runs
from monitor.views.models import ReleaseLine

PROJECT = "xllamacpp"
CHECK = "synthetic-qwen35-cpu"
_MAX_WHEEL_BYTES = 512 * 2**20
_DOWNLOAD_S = 900.0
_MAX_MESSAGE_BYTES = 2**20


class Audience(Protocol):
    """Who is shown what happens."""

    def heading(self, text: str) -> None:
        """Begin a part."""

    def say(self, text: str) -> None:
        """Say a sentence."""

    def releases(self, lines: list[ReleaseLine]) -> None:
        """Show releases and what was decided about them."""

    def judgement(self, judgement: Judgement, *, reference: str, candidate: str, planted: bool) -> None:
        """Show a verdict."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demo did."""

    runs: tuple[RunOutcome, ...]
    report: Path


def settings_for(state: Path, receiver: LoopbackReceiver) -> Settings:
    """Return the demo's configuration: one project, with a folder for planted wheels, and one destination."""
    planted = planted_folder(state)
    planted.mkdir(parents=True, exist_ok=True)
    return Settings(
        state=state,
        sources=(SourceSettings(project=PROJECT, find_links=(str(planted),), settle_minutes=0),),
        destinations=(
            DestinationSettings(
                name="loopback",
                kind="webhook",
                url=SecretStr(receiver.url),
                secret=SecretStr(receiver.secret),
            ),
        ),
        allow_private_hosts=(receiver.host,),
        web=WebSettings(port=0),
    )


def planted_folder(state: Path) -> Path:
    """Return the folder that stands in for an index of planted releases."""
    return state.absolute() / "planted"


def demonstrate(
    station: Station, audience: Audience, report: Path, receiver: LoopbackReceiver
) -> Demonstration:
    """Do the main job and write the report.

    Raises:
        SourceError: when no index can be reached and nothing is known from an earlier time.
        MonitorError: when something else around the releases is missing.

    """
    older, newer = _discover(station, audience)
    _prepare(station, audience, older, newer)

    audience.heading(f"Measuring {older.version}, then {newer.version} against it")
    first = _run(station, audience, older)
    second = _run(station, audience, newer)
    outcomes = [first, second]

    notes = []
    reference = newer if second.judgement is not None else older
    try:
        planted = _plant(station, audience, reference)
    except MonitorError as error:
        audience.say(f"The planted regression is left out: {error.what}")
        notes.append(f"The planted regression was left out: {error.what}")
    else:
        outcomes.append(_run(station, audience, planted))

    _tell(station, audience, receiver)

    audience.heading("Report")
    order = [outcome.run.id for outcome in (*outcomes[1:], first)]
    title = f"{PROJECT} {newer.version} against {older.version}"
    pipeline.publish(station, order, report, title=title, notes=notes)
    audience.say(f"{report.absolute()}")
    return Demonstration(tuple(outcomes), report)


def _discover(station: Station, audience: Audience) -> tuple[Artifact, Artifact]:
    """Return the artifacts of an earlier and of the newest release."""
    audience.heading("Which releases exist")
    polls = pipeline.discover(station, PROJECT)
    failure = next((poll.error for poll in polls if poll.error), None)
    if failure is not None:
        audience.say(f"{failure.what} Going on with what is known from before.")
    audience.releases([release_line(row) for row in pipeline.listing(station, PROJECT)])
    decisions = [d for d in pipeline.measurable(station, PROJECT) if not is_planted(d.release.version)]
    artifacts = [decision.artifact for decision in _ascending(decisions) if decision.artifact]
    if len(artifacts) < 2:  # noqa: PLR2004 - a comparison needs two
        raise failure or SourceError(
            f"{len(artifacts)} releases of {PROJECT} can be measured here; two are needed.",
            advice="look at the reasons above; UV_DEFAULT_INDEX or PIP_INDEX_URL can name another index",
        )
    older, newer = artifacts[-2:]
    if failure is not None:
        # Without a network only what was installed before can be measured.
        there = [artifact for artifact in artifacts if station.environments.find(artifact)]
        if len(there) < 2:  # noqa: PLR2004
            raise failure
        older, newer = there[-2:]
    audience.say(f"Comparing {newer.version} (newest) with {older.version} (the one before).")
    return older, newer


def _ascending(decisions: list[Decision]) -> list[Decision]:
    aged = [decision for decision in decisions if decision.state is ReleaseState.AGED]
    return sorted(aged, key=lambda decision: Version(decision.release.version))


def _prepare(station: Station, audience: Audience, *artifacts: Artifact) -> None:
    audience.heading("Environments and model")
    for artifact in artifacts:
        try:
            environment = provision.provision(station, artifact)
        except ProvisionError as error:
            audience.say(f"{artifact.version} does not install: {error.what}")
            continue
        how = "reused" if environment.reused else "built"
        audience.say(f"{artifact.version}: {how}, {len(environment.packages)} packages, each with its sha256")
    check = plan.runnable_check(station, CHECK, PROJECT)
    found = provision.weights(station, check)
    audience.say(
        f"{_model_line(check.model)}, {found.model.stat().st_size / 1e6:.0f} MB, sha256 {found.sha256[:16]}…"
    )


def _model_line(spec: ModelSpec) -> str:
    return f"Synthetic model {spec.name} from seed {spec.recipe.get('seed')}"


def _run(station: Station, audience: Audience, artifact: Artifact) -> RunOutcome:
    request = RunRequest(
        check=CHECK,
        release=f"{PROJECT}=={artifact.version}@{artifact.sha256}",
        requested_by="demo",
    )
    outcome = pipeline.run(station, request)
    if outcome.judgement is None:
        audience.say(f"{artifact.version} {outcome.run.state}: {outcome.run.reason}")
        return outcome
    if outcome.reused:
        audience.say(f"{artifact.version} was measured before; this is its stored result.")
    reference = outcome.judgement.reference
    audience.judgement(
        outcome.judgement,
        reference=f"{reference.project} {reference.version}" if reference else "",
        candidate=f"{PROJECT} {artifact.version}",
        planted=is_planted(artifact.version),
    )
    return outcome


def _tell(station: Station, audience: Audience, receiver: LoopbackReceiver) -> None:
    """Announce what was found, deliver it, and say what arrived."""
    audience.heading("Telling people")
    pipeline.tell(station)
    with station.store.read() as db:
        live = incidents.in_state(db, LIVE_STATES)
        sent = outbox.deliveries(db, state=DeliveryState.DELIVERED, destination="loopback")
    for incident in live:
        planted = " (planted)" if _is_of_planted(station, incident) else ""
        audience.say(f"Incident {incident.id} is {incident.state}{planted}: {incident.headline}")
    for message_id, body in receiver.received:
        audience.say(f"Received by webhook, signature verified: {body['type']} as {message_id}")
    if sent and not receiver.received:
        newest = sent[0]
        audience.say(
            f"Nothing new to tell: {newest.message.type} was delivered as {newest.message.id} "
            f"at {newest.delivered_at:%Y-%m-%d %H:%M} UTC."
        )


def _is_of_planted(station: Station, incident: Incident) -> bool:
    with station.store.read() as db:
        bad = runs.get(db, incident.latest_bad_run_id)
    return bad is not None and is_planted(bad.version)


class LoopbackReceiver:
    """A webhook on loopback that keeps what comes with a valid signature; use it as a context manager."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.received: list[tuple[str, dict[str, Any]]] = []
        """(message id, body) of each message, in order."""
        handler = self._handler()
        self._server = ThreadingHTTPServer((self.host, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("content-length", 0)), _MAX_MESSAGE_BYTES)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    document = Webhook(receiver.secret).verify(body, headers)
                except WebhookVerificationError:
                    self.send_response(HTTPStatus.UNAUTHORIZED)
                else:
                    receiver.received.append((headers["webhook-id"], document))
                    self.send_response(HTTPStatus.NO_CONTENT)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the demo tells what came."""

        return Handler


def _plant(station: Station, audience: Audience, good: Artifact) -> Artifact:
    """Make a stand-in release whose MTP head is worse, and let the monitor discover it."""
    audience.heading("What a regression looks like (PLANTED: made here, not a real release)")
    audience.say(f"A stand-in for the next release: {good.version} with a worse MTP head.")
    wheel = station.settings.state / "wheels" / good.sha256[:16] / good.filename
    if not wheel.is_file():
        wheel.parent.mkdir(parents=True, exist_ok=True)
        station.http.download(
            good.url, wheel, sha256=good.sha256, max_bytes=_MAX_WHEEL_BYTES, deadline_s=_DOWNLOAD_S
        )
    made = plant(wheel, Fault.WORSE_HEAD, planted_folder(station.settings.state))
    pipeline.discover(station, PROJECT)
    for decision in pipeline.measurable(station, PROJECT):
        if decision.artifact is not None and decision.artifact.filename == made.name:
            return decision.artifact
    raise SourceError(f"The planted release {made.name} was not discovered.")
