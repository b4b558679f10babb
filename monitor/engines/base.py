"""What every engine is to the bench: what to start, what to ask, and what its answers mean.

An engine only translates. It starts nothing, sends nothing and measures nothing: `monitor/bench/session.py`
does, in the same way for all of them. So each engine can be tested with recorded answers alone.

What an engine under test says is untrusted. The helpers at the end of this file take its answers apart and
raise `EngineReplyError` for whatever is not a sound value; nothing that is out of range reaches a sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monitor.domain import Arm, Check, Environment, Prompt
from monitor.errors import ConfigurationError, EngineReplyError

LENGTH = "length"
"""Stop reason: as many tokens as were asked for."""
STOP = "stop"
"""Stop reason: the model ended its text."""

_DECIDED = {
    "prompt",
    "messages",
    "tools",
    "model",
    "stream",
    "stream_options",
    "n_predict",
    "max_tokens",
    "n",
}
_MAX_COUNT = 2**53
_SHOWN = 120  # characters of a wrong value in a message
_SHOWN_WORDS = 200  # characters of a name that a server gives itself


@dataclass(frozen=True, slots=True)
class Event:
    """One JSON value of a reply and the monotonic time, in seconds, when it was complete."""

    at_s: float
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """One server to be started: one arm of a check in one environment."""

    check: Check
    arm: Arm
    environment: Environment
    model: Path
    draft_model: Path | None
    scratch: Path
    """Private folder of this session; removed after it."""
    port: int
    """A loopback port that was free a moment ago, for servers that cannot choose one themselves."""
    log: Path | None = None
    """What the engine prints, bounded; None for one that runs already."""

    @property
    def serve(self) -> dict[str, Any]:
        """Return the check's engine settings for this arm."""
        beside = self.check.beside.get(self.arm)
        added = self.check.serve_mtp if self.arm is Arm.MTP else beside.serve if beside else {}
        return {**self.check.serve, **added}

    @property
    def draft_length(self) -> int:
        """Return how many tokens are drafted in a step, at most; 0 in the baseline."""
        if self.arm is Arm.BASELINE:
            return 0
        beside = self.check.beside.get(self.arm)
        return beside.draft_length if beside else self.check.draft_length

    @property
    def python(self) -> Path:
        """Return the Python of the environment.

        Raises:
            ConfigurationError: when the release came as programs without one.

        """
        if self.environment.python is None:
            raise ConfigurationError(
                f"The engine {self.check.engine!r} of the check {self.check.id} runs in a Python, and "
                f"{self.environment.artifact.filename} comes without one.",
                advice="give the project a check with the engine 'llama-server' (`assignments`)",
            )
        return self.environment.python

    def program(self, name: str) -> Path:
        """Return where a program of the environment lies."""
        return self.environment.path / "bin" / name


@dataclass(frozen=True, slots=True)
class Launch:
    """A program to run."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the few variables that every engine gets."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name in the scratch folder → text, written before the start."""
    path: tuple[Path, ...] = ()
    """Folders searched for programs before the system's."""
    libraries: tuple[Path, ...] = ()
    """Folders searched for shared libraries before the system's."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt as the engine wants it."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """What one answer says; times on the clock of the events, in seconds."""

    n: int
    """Tokens of the answer as the engine counts them."""
    n_first: int
    """Tokens in the first chunk that carries any."""
    first_s: float
    last_s: float
    """When the chunk with the finish reason was complete."""
    stop: str
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens that were not computed; anything but 0 makes the time to the first token meaningless."""
    drafted: int | None = None
    """None when the answer does not say; the counters of the server then have to."""
    accepted: int | None = None
    server_decode_tps: float | None = None
    token_ids: tuple[int, ...] | None = None
    tokens_sha256: str | None = None
    """Where there are no ids for all tokens: of the text."""


@dataclass(frozen=True, slots=True)
class SpeculationSeries:
    """Names of an engine's Prometheus counters; the last has a label `position` that counts from 0."""

    drafts: str
    drafted: str
    accepted: str
    accepted_per_position: str


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of itself, None where it does not say."""

    version: str | None
    """Of the engine, in its own words."""
    model: str | None
    """Name of what it serves, and where that lies as far as it tells."""


class Dialect(Protocol):
    """How a server is asked and what its answers mean; several engines may speak the same."""

    metrics_path: str
    ready_path: str
    """Answers 200 to a GET as soon as requests can be served."""
    fact_paths: tuple[str, ...]
    """Asked with GET once the server is ready, for `effective`."""
    series: SpeculationSeries

    def request(self, prompt: Prompt, check: Check) -> Request:
        """Return the streamed request for `prompt` with the check's sampling in it.

        Raises:
            ConfigurationError: when the sampling sets what the monitor decides.

        """

    def read(self, events: Sequence[Event], prompt: Prompt, check: Check) -> Completion:
        """Return what the answer (status 200, streamed) to `prompt` says.

        Raises:
            EngineReplyError: when it is no whole, sound completion.

        """

    def effective(self, documents: Mapping[str, Any]) -> dict[str, Any]:
        """Return flat facts on what the server says it runs; `documents` is fact path → its JSON.

        Paths that did not answer with JSON are not in it.
        """

    def served(self, documents: Mapping[str, Any]) -> Served:
        """Return what tells one server from another; `documents` as for `effective`."""


class Engine(Protocol):
    """An inference server under test."""

    name: str

    def launch(self, setup: Setup, /) -> Launch | None:
        """Return what to start, None when the server already runs.

        Raises:
            ConfigurationError: when the check holds a setting this engine does not know, or lacks one.

        """

    def address(self, setup: Setup, /) -> str | None:
        """Return the server's URL without a trailing slash, None while it has not said it yet."""

    def dialect(self, check: Check, /) -> Dialect:
        """Return how the server is asked."""

    def facts(self, setup: Setup, /) -> dict[str, Any]:
        """Return flat facts known from the start itself, once the server is ready."""


@runtime_checkable
class PartialEngine(Protocol):
    """An engine of which not every release can serve every arm."""

    def lacks(self, environment: Environment, arm: Arm, /) -> str | None:
        """Return why the release in `environment` cannot serve `arm`, None when it can."""


# ---------------------------------------------------------------------------------------------
# Requests


def merge_sampling(body: dict[str, Any], check: Check) -> dict[str, Any]:
    """Return `body` with the check's sampling, which may change defaults but not what the monitor decides.

    Raises:
        ConfigurationError: naming the keys that are the monitor's.

    """
    if foreign := sorted(_DECIDED & check.sampling.keys()):
        raise ConfigurationError(
            f"`sampling.{foreign[0]}` of the check {check.id} is decided by the monitor.",
            advice="remove it; prompts and their output limits stand in the workload files",
        )
    return {**body, **check.sampling}


def known_settings(setup: Setup, allowed: Iterable[str]) -> dict[str, Any]:
    """Return the settings of the arm.

    Raises:
        ConfigurationError: for one that is not `allowed`.

    """
    settings = setup.serve
    if unknown := sorted(settings.keys() - set(allowed)):
        raise ConfigurationError(
            f"The engine {setup.check.engine!r} has no setting {unknown[0]!r} (check {setup.check.id}).",
            advice=f"`serve` and `serve_mtp` may hold: {', '.join(sorted(allowed))}",
        )
    return settings


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the setting `environment`: variables the check wants the engine to have."""
    return {str(name): str(value) for name, value in dict(settings.get("environment", {})).items()}


def text_settings(settings: Mapping[str, Any], key: str) -> list[str]:
    """Return the setting `key` as a list of texts, empty when it is not there.

    Raises:
        ConfigurationError: when it is something else.

    """
    value = settings.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"`serve.{key}` should be a list of texts, but is {_shown(value)}.")
    return value


def shares(setup: Setup, settings: Mapping[str, Any]) -> list[float]:
    """Return the setting `acceptance` of the arm `synthetic`: the share accepted at each place of a draft.

    Raises:
        ConfigurationError: when it is not one number from 0 to 1 for each drafted token, none above the one
        before.

    """
    value = settings.get("acceptance")
    sound = (
        isinstance(value, list)
        and len(value) == setup.draft_length
        and all(isinstance(one, int | float) and 0 <= one <= 1 for one in value)
        and value == sorted(value, reverse=True)
    )
    if not sound:
        raise ConfigurationError(
            f"The arm synthetic of the check {setup.check.id} has no usable `serve.acceptance`.",
            advice=f"give {setup.draft_length} numbers from 1 down to 0: the share accepted at each place",
        )
    return [float(one) for one in settings["acceptance"]]


# ---------------------------------------------------------------------------------------------
# Answers


def words(value: Any) -> str | None:
    """Return untrusted text on one line and at most 200 characters long, None for anything else."""
    if not isinstance(value, str):
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:_SHOWN_WORDS] or None


def refuse(what: str) -> EngineReplyError:
    """Return the error for an answer that is no sound completion."""
    return EngineReplyError(
        f"The engine's answer is no valid completion: {what}.",
        kept="the complete sessions; nothing of this one",
        advice="see the engine's log, and ask the same by hand (the report has the exact request)",
    )


def check_status(status: int, text: str) -> None:
    """Raise EngineReplyError unless `status` is 200; `text` is the body, for the message."""
    if status != HTTPStatus.OK:
        raise refuse(f"it has status {status} and says {_shown(text)}")


def refuse_error_bodies(events: Sequence[Event]) -> None:
    """Raise EngineReplyError for an error that came with status 200."""
    for event in events:
        if "error" in event.data and event.data["error"] is not None:
            raise refuse(f"status 200, but an error inside: {_shown(event.data['error'])}")


def count(data: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    """Return `data[key]`, which must be a whole number from 0 to 2^53."""
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise refuse(f"`{key}` should be a count, but is {_shown(value)}")
    return value


def amount(data: Mapping[str, Any], key: str) -> float:
    """Return `data[key]`, which must be a finite number that is not negative."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise refuse(f"`{key}` should be a number that is not negative, but is {_shown(value)}")
    return float(value)


def token_list(value: Any) -> list[int]:
    """Return a list of token ids."""
    if not isinstance(value, list) or not all(
        isinstance(token, int) and not isinstance(token, bool) and 0 <= token < _MAX_COUNT for token in value
    ):
        raise refuse(f"token ids should be a list of counts, but are {_shown(value)}")
    return value


def table(value: Any, name: str) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise refuse(f"`{name}` should be an object, but is {_shown(value)}")
    return value


def check_completion(completion: Completion, prompt: Prompt, check: Check) -> Completion:
    """Return `completion` when it can be an answer to `prompt`.

    Raises:
        EngineReplyError: when it has no tokens, more or fewer than it may, or impossible counts or times.

    """
    asked, n = prompt.max_tokens, completion.n
    if not 0 < completion.n_first <= n:
        raise refuse(f"{completion.n_first} tokens in the first chunk of {n} in all")
    if n > asked:
        raise refuse(f"{n} tokens, though at most {asked} were asked for")
    if completion.stop == LENGTH and n != asked:
        raise refuse(f"stopped for its length after {n} of {asked} tokens; the context may be too short")
    if check.sampling.get("ignore_eos") and n != asked:
        raise refuse(f"{n} tokens, though {asked} were asked for, end of text ignored")
    if completion.last_s < completion.first_s:
        raise refuse("its last chunk came before its first")
    if completion.accepted is not None:
        if completion.accepted > (completion.drafted or 0):
            raise refuse(f"{completion.accepted} draft tokens accepted of {completion.drafted}")
        if completion.accepted > n - completion.n_first:
            raise refuse(f"{completion.accepted} draft tokens accepted in {n} tokens")
    return completion


def text_sha256(parts: Iterable[str]) -> str:
    """Return the sha256, in hex, of a text that came in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


def flat(prefix: str, value: Any, *, limit: int = 200) -> dict[str, Any]:
    """Return untrusted JSON as dotted name → plain value, at most `limit` of them, texts shortened."""
    facts: dict[str, Any] = {}
    pending = [(prefix, value)]
    while pending and len(facts) < limit:
        name, item = pending.pop(0)
        if isinstance(item, dict):
            pending += [(f"{name}.{key}" if name else str(key), item[key]) for key in sorted(item, key=str)]
        elif isinstance(item, list):
            facts[name] = ", ".join(str(part) for part in item[:20])[:500]
        elif isinstance(item, float) and not math.isfinite(item):
            facts[name] = str(item)
        elif isinstance(item, str):
            facts[name] = item[:500]
        elif item is None or isinstance(item, bool | int | float):
            facts[name] = item
    return facts


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
