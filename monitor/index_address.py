"""Where packages come from when the configuration does not say: where uv and pip get them here."""

from __future__ import annotations

import configparser
import os
import re
import sys
from pathlib import Path

from pypi_simple import PYPI_SIMPLE_ENDPOINT

from monitor.settings_tables import SourceSettings

_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def index_url_of(settings: SourceSettings) -> str:
    """Return the address of the simple API a source is read and installed from, credentials included.

    The first of: the source's own `index_url`, UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL, pip's
    configuration files, the public index.
    """
    if settings.index_url:
        return settings.index_url
    for variable in _VARIABLES:
        if value := os.environ.get(variable, "").strip():
            # uv allows a name before the address: `internal=https://…`.
            return re.sub(r"^[A-Za-z0-9._-]+=", "", value)
    return _from_pip("index-url") or PYPI_SIMPLE_ENDPOINT


def find_links_here() -> tuple[str, ...]:
    """Return the folders and pages that uv or pip look at beside the index.

    The first of: UV_FIND_LINKS, PIP_FIND_LINKS, pip's configuration files.
    """
    if value := os.environ.get("UV_FIND_LINKS", "").strip():
        return tuple(place.strip() for place in value.split(",") if place.strip())
    return tuple((os.environ.get("PIP_FIND_LINKS", "").strip() or _from_pip("find-links") or "").split())


def _from_pip(option: str) -> str | None:
    """Read an option as pip does: later files win, and `[install]` over `[global]`.

    https://pip.pypa.io/en/stable/topics/configuration/
    """
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return None
    home, config = Path.home(), os.environ.get("XDG_CONFIG_HOME")
    files = [
        *(
            Path(folder) / "pip/pip.conf"
            for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
        ),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        (Path(config) if config else home / ".config") / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(named)] if named else []),
    ]
    found: str | None = None
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself refuses it with a message of its own
        for section in ("global", "install"):
            for key in (option, option.replace("-", "_")):
                found = parser.get(section, key, fallback="").strip() or found
    return found
