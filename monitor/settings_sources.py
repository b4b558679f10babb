"""The tables of the configuration that say where releases are read, and which of them are wanted."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from monitor.settings_values import Hours, Interpreter, Limits, Minutes, Name, SecretFile, Table, Text

_SOURCE_KINDS = Literal["package-index", "github", "registry", "commit-wheels", "attached"]
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _web_address(text: str) -> str:
    """Return an address without its last slash.

    A token is sent there, so only this machine may do without TLS.
    """
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host = None
    secure = host is not None and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))
    if not secure or "@" in parts.netloc:
        raise PydanticCustomError("web_address", "an address that begins with https://, without a user name")
    return text.rstrip("/")


def _tag(text: str) -> str:
    if text.count("{version}") != 1 or not re.fullmatch(r"[\w.-]+", text.replace("{version}", "1")):
        raise PydanticCustomError("tag", "a tag with {version} in it, such as 'v{version}'")
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
Variant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+$")]
Image = Annotated[
    str, StringConstraints(pattern=r"^(localhost|[a-z0-9.-]+\.[a-z0-9-]+)(:\d+)?(/[a-z0-9._-]+)+$")
]


class SourceSettings(Table):
    """Where the releases of one project are read, and which of them are wanted.

    What is asked is its `kind`: a `package-index`, the releases of a `github` repository, a container
    `registry`, the `commit-wheels` that vLLM builds of every commit, or with `attached` an engine that runs
    here already ([attach.md](attach.md)). Keys that only one kind has say so; [sources.md](sources.md) tells
    how each is read.
    """

    project: Name = Field(
        description="The distribution to follow, as the index names it; of an attached engine what it is."
    )
    kind: _SOURCE_KINDS = Field("package-index", description="What is asked.")
    index_url: Text | None = Field(
        None,
        description="Package index: address of its simple API, for discovery and for installation. Without "
        "it the address that uv and pip use here (`UV_DEFAULT_INDEX`, `PIP_INDEX_URL`, pip's configuration).",
    )
    find_links: tuple[Text, ...] = Field(
        (),
        description="Package index: folders or pages with further files, used for discovery and for "
        "installation. For installation those of uv and pip are added where `index_url` is not set.",
    )
    repository: Repository | None = Field(
        None,
        description="GitHub repository such as `ggml-org/llama.cpp`. Kind `github`: whose releases are read; "
        "default: the project's own. Package index: where release notes are read; default: nowhere.",
    )
    image: Image | None = Field(
        None, description="Registry: the image with its registry, such as `ghcr.io/ggml-org/llama.cpp`."
    )
    tag: Annotated[str, AfterValidator(_tag)] = Field(
        "v{version}", description="Registry: how a version is tagged, such as `server-cuda-b{version}`."
    )
    variant: Variant | None = Field(
        None, description="Commit wheels: what they are built for: `cu130`, `cu129` or `cpu`."
    )
    wheels_url: WebAddress | None = Field(
        None, description="Commit wheels: where they lie. Default: `https://wheels.vllm.ai`."
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
    every_hours: Hours | None = Field(
        None,
        description="Hours between two releases that are planned: the newest of each such time is, the "
        "others are coalesced. Default: 24 on `nightly`; elsewhere 0, each release as it comes.",
    )
    wanted: tuple[Text, ...] = Field(
        (),
        description="File name patterns (`*`, `?`, `[…]`); a file must fit one. Of a package index the best "
        "fitting wheel is taken, else a source archive that is compiled here. On GitHub the first pattern "
        "that fits decides. Empty: anything that installs, on GitHub what this machine needs.",
    )
    beside: tuple[Text, ...] = Field(
        (),
        description="GitHub: file name patterns of what is unpacked beside the wanted file. Empty: what "
        "belongs to the files for this machine.",
    )
    history_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = Field(
        30.0, description="GitHub: days back from now for which releases are read."
    )
    versions: Limits | None = Field(
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
        foreign = sorted(
            key
            for key in self.model_fields_set - {"project", "kind", "channel"} - _KEYS[self.kind]
            # A key that only says its default is no mistake: so a configuration is written out whole.
            if getattr(self, key) != type(self).model_fields[key].default
        )
        if foreign:
            raise PydanticCustomError(
                "foreign_keys", f"a source of kind '{self.kind}' has no {' and no '.join(foreign)}"
            )
        missing = [key for key in _NEEDED.get(self.kind, ()) if getattr(self, key) is None]
        if missing:
            raise PydanticCustomError(
                "missing_keys", f"a source of kind '{self.kind}' needs {' and '.join(missing)}"
            )
        attached = self.kind == "attached"
        if "channel" in self.model_fields_set and (self.channel == "attached") is not attached:
            raise PydanticCustomError(
                "foreign_channel", f"a source of kind '{self.kind}' is not on the channel '{self.channel}'"
            )
        if attached:
            self.__dict__["channel"] = "attached"
        return self

    @property
    def hours_between(self) -> float:
        """Hours between two releases that are planned; 0: each is."""
        if self.every_hours is not None:
            return self.every_hours
        return _NIGHTLY_HOURS if self.channel == "nightly" else 0.0


_NIGHTLY_HOURS = 24.0
_CHOOSING = {"settle_minutes", "minimum_age_hours", "every_hours", "versions", "backfill"}
_KEYS = {
    "package-index": {"index_url", "find_links", "repository", "wanted", "include_prereleases", *_CHOOSING},
    "github": {"repository", "wanted", "beside", "history_days", "include_prereleases", *_CHOOSING},
    "registry": {"image", "tag", "include_prereleases", *_CHOOSING},
    "commit-wheels": {"variant", "wheels_url", "include_prereleases", *_CHOOSING},
    "attached": {"python", "version_command", "image_command"},
}
"""Kind → the keys it has, beside those that every source has."""
_NEEDED = {"registry": ("image",), "commit-wheels": ("variant",)}


class GithubSettings(Table):
    """How GitHub is asked, for every source that reads something there.

    Without a token GitHub answers 60 requests an hour, with one 5,000. It needs no permissions.
    """

    token: SecretStr | None = Field(None, description="Token for the API. Only from the environment.")
    token_file: SecretFile | None = Field(None, description="File (mode 600) that holds the token.")
    api_url: WebAddress = Field(
        "https://api.github.com", description="Address of the API: another one for GitHub Enterprise."
    )
    web_url: WebAddress = Field(
        "https://github.com", description="Address of the site: feeds are read and files downloaded there."
    )
    file_hosts: tuple[Text, ...] = Field(
        ("release-assets.githubusercontent.com", "objects.githubusercontent.com"),
        description="Hosts the site may send a download on to. No token is ever sent there.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.fill_secret("token")
        return self

    @property
    def download_hosts(self) -> frozenset[str]:
        """Hosts (with their port, unless it is the usual one) that files are downloaded from."""
        return frozenset({urlsplit(self.web_url).netloc, *self.file_hosts})
