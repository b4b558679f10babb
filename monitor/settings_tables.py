"""The tables of the configuration: what each holds and which values are allowed.

`monitor/settings.py` joins them and reads the file. The descriptions below become
`docs/configuration.md`. What is said of sources stands in `monitor/settings_sources.py`.
"""

from __future__ import annotations

import os
import re
from datetime import time
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from monitor.domain import MessageType
from monitor.settings_sources import GithubSettings, SourceSettings
from monitor.settings_values import (
    ENV_PREFIX,
    AnyPath,
    CmakeOption,
    Hours,
    Minutes,
    Name,
    Price,
    SecretFile,
    Table,
    Text,
    TorchBackend,
    Window,
    clock_times,
)

__all__ = [
    "ENV_PREFIX",
    "AnyPath",
    "Assignment",
    "BuildSettings",
    "DestinationSettings",
    "GithubSettings",
    "HostSettings",
    "ModelSettings",
    "ScheduleSettings",
    "SourceSettings",
    "Text",
    "UvSettings",
    "WebSettings",
    "destination_variable",
]


class Assignment(Table):
    """Which checks the releases of a project are put through."""

    project: Name = Field(description="A project that `sources` follows.")
    checks: tuple[Name, ...] = Field(
        min_length=1, description="Ids as `mtp-monitor checks` lists them, in the order they are run."
    )


class HostSettings(Table):
    """This machine, which usually serves somebody: when and for how long it may be used."""

    name: Name | None = Field(None, description="How the machine is called in pages. Default: its host name.")
    gpu: Text | None = Field(
        None,
        description="UUID of the GPU to measure on (`mtp-monitor gpu` shows it). Default: the first one.",
    )
    window: Window | None = Field(
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
    price_per_kwh: Price | None = Field(
        None,
        description="What a kilowatt-hour costs: reports, messages, `run` and the API then say what a "
        "million tokens cost.",
    )
    price_per_gpu_hour: Price | None = Field(
        None,
        description="What an hour of the GPU costs, rented or written off. Added to the other price.",
    )
    currency: Name = Field("EUR", description="What the prices are in.")

    @property
    def window_times(self) -> tuple[time, time] | None:
        """The window's begin and end in local time; the end may lie on the next day."""
        return clock_times(self.window) if self.window else None


class ScheduleSettings(Table):
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


class BisectSettings(Table):
    """The search for the first bad release after a confirmed regression ([bisect.md](bisect.md))."""

    automatic: bool = Field(
        default=False,
        description="Whether it is found by itself where a confirmed regression began. Such runs go last in "
        "the queue, and keep to the hours and budgets of `host`.",
    )
    commits: bool = Field(
        default=True,
        description="Whether a search goes on to single commits once every release has answered, where a "
        "source of kind `commit-wheels` follows the project.",
    )


class DestinationSettings(Table):
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
            MessageType.GPU_QUARANTINED,
            MessageType.GPU_RELEASED,
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
            self.fill_secret(name)
        if self.url is None:
            raise PydanticCustomError(
                "no_url",
                f"the address is missing; give url_file or {destination_variable(self.name, 'url')}",
            )
        return self


def destination_variable(name: str, secret: str) -> str:
    """Return the environment variable that holds a destination's `url` or `secret`."""
    return f"{ENV_PREFIX}DESTINATION_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_{secret.upper()}"


class WebSettings(Table):
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
        self.fill_secret("token")
        return self


class ModelSettings(Table):
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
        self.fill_secret("token")
        return self


class UvSettings(Table):
    """How environments are built."""

    python: Text | None = Field(
        None, description="Python for environments, a version or a path. Default: the monitor's own."
    )
    cache_dir: AnyPath | None = Field(None, description="Folder of uv's cache. Default: uv's own choice.")
    torch_backend: TorchBackend | None = Field(
        None,
        description="Build of PyTorch that engines get, from PyTorch's own index: `auto` (what the driver "
        "runs), `cpu`, `cu129`, `cu130`, … It has to be the CUDA that the engine's wheel was built for; a "
        "wheel whose version ends with that (`….cu129`) gets it in any case. Default: the package index's.",
    )


class BuildSettings(Table):
    """How a release that is a source archive is compiled here."""

    cache_dir: AnyPath | None = Field(
        None, description="Folder where what was compiled is kept. Default: `builds` in `state`."
    )
    jobs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Compilers at work at once. Default: as many as the machine has cores."
    )
    cuda: bool | None = Field(
        None, description="Whether to compile for CUDA. Default: where there is an NVIDIA GPU."
    )
    cmake_options: tuple[CmakeOption, ...] = Field(
        (),
        description="Further options of cmake, such as `-DCMAKE_CUDA_ARCHITECTURES=120`. Others are another "
        "environment of every release.",
    )
