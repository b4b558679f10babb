"""Where the files that ship with the code lie: migrations, templates and check definitions."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED_NAMES = {"alembic": "alembic", "templates": "templates", "checks": "check_data"}
"""Name in the repository root → name inside the installed package (`force-include` in pyproject.toml)."""


def resource_dir(name: str) -> Path:
    """Return the folder `name` (`alembic`, `templates` or `checks`), in a checkout or in an installed wheel.

    The wheel is looked at first: its copy belongs to the code beside it, whatever lies one folder up.

    Raises:
        KeyError: for another name.
        FileNotFoundError: when the installation lacks the folder.

    """
    packaged = _PACKAGE / _PACKAGED_NAMES[name]
    # monitor/checks is code; only its packaged name check_data is the resource, so the two never mix.
    if packaged.is_dir():
        return packaged
    in_checkout = _PACKAGE.parent / name
    if (_PACKAGE.parent / "pyproject.toml").is_file() and in_checkout.is_dir():
        return in_checkout
    raise FileNotFoundError(
        f"The installation of mtp-monitor lacks its folder '{name}' "
        f"(looked for {packaged} and {in_checkout}). What to do: install mtp-monitor again."
    )
