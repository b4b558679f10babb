"""What every engine is to the bench: what to start, what to ask, and what its answers mean.

An engine only translates. It starts nothing, sends nothing and measures nothing: `monitor/bench/session.py`
does, in the same way for all of them. So each engine can be tested with recorded answers alone.

What an engine under test says is untrusted: `monitor/engines/answers.py` takes it apart. What a check may set
is read by `monitor/engines/check_settings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monitor.domain import Arm, Check, Environment, Prompt
from monitor.errors import ConfigurationError

LENGTH = "length"
"""Stop reason: as many tokens as were asked for."""
STOP = "stop"
"""Stop reason: the model ended its text."""


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
    caches: Path | None = None
    """Folder for what compilers keep, of this environment and no other; None: they keep nothing."""

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
    text: str = ""
    """What is said in answer, without reasoning and tool calls: to be scored, never stored."""


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
