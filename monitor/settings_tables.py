"""The tables of the configuration: what each holds and which values are allowed.

`monitor/settings.py` joins them and reads the file. The descriptions below become
`docs/configuration.md`.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from monitor.domain import MessageType

ENV_PREFIX = "MTP_MONITOR_"


# ---------------------------------------------------------------------------------------------
# Values


def _private_file(path: Path) -> Path:
    path = path.expanduser()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise PydanticCustomError("secret_file", f"a file that can be read ({error.strerror})") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise PydanticCustomError(
            "secret_file",
            f"a regular file that only its owner may read (its mode is {stat.S_IMODE(mode):04o}; chmod 600)",
        )
    return path


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise PydanticCustomError("specifier", "version limits such as '>=0.20,<1'") from None
    return text


def _window(text: str) -> str:
    try:
        begin, end = _clock_times(text)
    except ValueError:
        begin = end = time(0)
    if begin == end:
        raise PydanticCustomError("window", "two different local times such as '22:00-06:00'")
    return text


def _clock_times(text: str) -> tuple[time, time]:
    found = re.fullmatch(r"(\d{2}:\d{2})-(\d{2}:\d{2})", text)
    if not found:
        raise ValueError(text)
    return time.fromisoformat(found[1]), time.fromisoformat(found[2])


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _interpreter(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise PydanticCustomError("interpreter", "an absolute path, such as /srv/vllm/bin/python")
    return path


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Text = Annotated[str, StringConstraints(min_length=1)]
SecretFile = Annotated[Path, AfterValidator(_private_file)]
AnyPath = Annotated[Path, AfterValidator(_absolute)]
Interpreter = Annotated[Path, AfterValidator(_interpreter)]
Minutes = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def _fill_secret(self, name: str) -> None:
        """Put the content of `<name>_file` where the secret itself would stand."""
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            return
        if getattr(self, name) is not None:
            raise PydanticCustomError("secret_twice", f"{name} and {name}_file are both given; give one")
        self.__dict__[name] = SecretStr(path.read_text(encoding="utf-8").strip())


# ---------------------------------------------------------------------------------------------
# Tables


class SourceSettings(_Table):
    """Where the releases of one project are read, and which of them are wanted.

    A source of kind `attached` watches an engine that runs here already ([attach.md](attach.md)); it has the
    keys `python`, `version_command` and `image_command`, and the others have the rest.
    """

    project: Name = Field(
        description="The distribution to follow, as the index names it; of an attached engine what it is."
    )
    kind: Literal["package-index", "attached"] = Field("package-index", description="What is asked.")
    index_url: Text | None = Field(
        None,
        description="Address of the index's simple API, for discovery and for installation. Without it the "
        "address that uv and pip use here (`UV_DEFAULT_INDEX`, `PIP_INDEX_URL`, pip's configuration).",
    )
    find_links: tuple[Text, ...] = Field(
        (), description="Folders or pages with further files, used for discovery and for installation."
    )
    channel: Literal["stable", "nightly", "attached"] = Field(
        "stable", description="The stream of releases followed. Of an attached engine always `attached`."
    )
    settle_minutes: Minutes = Field(
        30.0, description="Minutes to wait after a release's last wanted file before it counts as complete."
    )
    minimum_age_hours: Hours = Field(
        0.0, description="Hours a release must be old; one without an upload time is never old enough."
    )
    wanted: tuple[Text, ...] = Field(
        (), description="File name patterns (`*`, `?`, `[…]`); a file must fit one. Empty: any that installs."
    )
    versions: Annotated[str, AfterValidator(_specifier)] | None = Field(
        None, description="Version limits such as `>=0.20`; releases outside are skipped as too old."
    )
    include_prereleases: bool = Field(default=False, description="Whether pre-releases are measured too.")
    backfill: Annotated[int, Field(ge=0, le=20)] = Field(
        0,
        description="Releases before the newest that are measured at the first start, oldest first, so that "
        "there is a reference from the first day on.",
    )
    python: Interpreter | None = Field(
        None, description="Attached: the Python that the engine runs on; its list of packages is watched."
    )
    version_command: tuple[Text, ...] = Field(
        (),
        description="Attached: command (program and arguments, no shell) that prints the engine's version.",
    )
    image_command: tuple[Text, ...] = Field(
        (),
        description="Attached: command that prints the digest of the container image the engine runs from.",
    )

    @model_validator(mode="after")
    def _own_keys(self) -> Self:
        attached = self.kind == "attached"
        foreign = sorted(
            key
            for key in self.model_fields_set - {"project", "kind", "channel"}
            # A key that only says its default is no mistake: so a configuration is written out whole.
            if (key in _ATTACHED_KEYS) is not attached
            and getattr(self, key) != type(self).model_fields[key].default
        )
        if foreign:
            raise PydanticCustomError(
                "foreign_keys", f"a source of kind '{self.kind}' has no {' and no '.join(foreign)}"
            )
        if "channel" in self.model_fields_set and (self.channel == "attached") is not attached:
            raise PydanticCustomError(
                "foreign_channel", f"a source of kind '{self.kind}' is not on the channel '{self.channel}'"
            )
        if attached:
            self.__dict__["channel"] = "attached"
        return self


_ATTACHED_KEYS = {"python", "version_command", "image_command"}


class Assignment(_Table):
    """Which checks the releases of a project are put through."""

    project: Name = Field(description="A project that `sources` follows.")
    checks: tuple[Name, ...] = Field(
        min_length=1, description="Ids as `mtp-monitor checks` lists them, in the order they are run."
    )


class HostSettings(_Table):
    """This machine, which usually serves somebody: when and for how long it may be used."""

    name: Name | None = Field(None, description="How the machine is called in pages. Default: its host name.")
    window: Annotated[str, AfterValidator(_window)] | None = Field(
        None, description="Local hours in which measuring may start, such as `22:00-06:00`. Default: always."
    )
    before: tuple[Text, ...] = Field(
        (), description="Command (program and arguments, no shell) run before measuring: stop your server."
    )
    after: tuple[Text, ...] = Field(
        (), description="Command run after measuring, also after a crash: start your server again."
    )
    command_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        300.0, description="Seconds `before` and `after` may take."
    )
    gpu_minutes_per_release: Minutes | None = Field(
        None, description="Most GPU minutes one release may use. Default: no limit."
    )
    gpu_minutes_per_day: Minutes | None = Field(
        None, description="Most GPU minutes used in 24 hours. Default: no limit."
    )

    @property
    def window_times(self) -> tuple[time, time] | None:
        """The window's begin and end in local time; the end may lie on the next day."""
        return _clock_times(self.window) if self.window else None


class ScheduleSettings(_Table):
    """When the daemon looks."""

    poll_minutes: Annotated[float, Field(ge=0.05, allow_inf_nan=False)] = Field(
        15.0, description="Minutes between two looks at a source."
    )
    attempts: Annotated[int, Field(ge=1)] = Field(
        5, description="Attempts at a run that is interrupted again and again before it counts as failed."
    )
    announce_after_hours: Hours = Field(
        6.0, description="Hours after which what is known of a release is told, although checks of it wait."
    )
    remind_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        24.0, description="Hours until an open incident is told again; doubles each time, up to a week."
    )
    calibrate_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Days between two measurements of the reference against itself, which tell a check's "
        "noise and the service's own false alarms. Default: never by itself.",
    )
    stale_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        72.0,
        description="Hours for which releases may wait, or sources be silent, until `service.stale` is told.",
    )


class DestinationSettings(_Table):
    """Where messages go."""

    name: Name = Field(description="How the destination is called in logs and pages.")
    kind: Literal["slack", "webhook"] = Field(description="What is spoken there.")
    url: SecretStr | None = Field(
        None, description="The address. Only from the environment: `MTP_MONITOR_DESTINATION_<NAME>_URL`."
    )
    url_file: SecretFile | None = Field(None, description="File (mode 600) that holds the address.")
    secret: SecretStr | None = Field(
        None,
        description="Signs messages to a webhook. Only from `MTP_MONITOR_DESTINATION_<NAME>_SECRET`.",
    )
    secret_file: SecretFile | None = Field(None, description="File (mode 600) that holds the secret.")
    events: tuple[MessageType, ...] = Field(
        (
            MessageType.INCIDENT_OPENED,
            MessageType.INCIDENT_UPDATED,
            MessageType.INCIDENT_ACKNOWLEDGED,
            MessageType.INCIDENT_RESOLVED,
            MessageType.SERVICE_STALE,
        ),
        description="Types of messages it gets.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in ("url", "secret"):
            if getattr(self, f"{name}_file") is None and getattr(self, name) is None:
                variable = destination_variable(self.name, name)
                if os.environ.get(variable):
                    self.__dict__[name] = SecretStr(os.environ[variable].strip())
            self._fill_secret(name)
        if self.url is None:
            raise PydanticCustomError(
                "no_url",
                f"the address is missing; give url_file or {destination_variable(self.name, 'url')}",
            )
        return self


def destination_variable(name: str, secret: str) -> str:
    """Return the environment variable that holds a destination's `url` or `secret`."""
    return f"{ENV_PREFIX}DESTINATION_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_{secret.upper()}"


class WebSettings(_Table):
    """The pages and the API."""

    host: Text = Field("127.0.0.1", description="Address listened on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8640, description="Port listened on; 0 picks one.")
    allowed_hosts: tuple[Text, ...] = Field(
        (),
        description="Host names the pages may be asked for by, beside the loopback names and `host`.",
    )
    public_url: Text | None = Field(
        None, description="Address of the pages as people reach them; messages link to it."
    )
    token: SecretStr | None = Field(
        None,
        description="Bearer token for changes. Only from the environment; without one pages are read-only.",
    )
    token_file: SecretFile | None = Field(None, description="File (mode 600) that holds the token.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._fill_secret("token")
        return self


class ModelSettings(_Table):
    """Where weights come from and where they lie."""

    directory: AnyPath | None = Field(None, description="Folder for weights. Default: `models` in `state`.")
    endpoint: Text | None = Field(
        None, description="Address of the model hub or a mirror. Default: `HF_ENDPOINT`, else the public hub."
    )
    token: SecretStr | None = Field(
        None, description="Token for gated models. Only from the environment; engines never see it."
    )
    token_file: SecretFile | None = Field(None, description="File (mode 600) that holds the token.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._fill_secret("token")
        return self


class UvSettings(_Table):
    """How environments are built."""

    python: Text | None = Field(
        None, description="Python for environments, a version or a path. Default: the monitor's own."
    )
    cache_dir: AnyPath | None = Field(None, description="Folder of uv's cache. Default: uv's own choice.")
