"""The kinds of value that the configuration holds, each with what is allowed, and what its tables share."""

from __future__ import annotations

import re
import stat
from datetime import time
from pathlib import Path
from typing import Annotated

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

ENV_PREFIX = "MTP_MONITOR_"


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
        begin, end = clock_times(text)
    except ValueError:
        begin = end = time(0)
    if begin == end:
        raise PydanticCustomError("window", "two different local times such as '22:00-06:00'")
    return text


def clock_times(text: str) -> tuple[time, time]:
    """Return begin and end of a window such as `22:00-06:00`; a ValueError when it is none."""
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
TorchBackend = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|xpu|cu\d{2,3}|rocm\d+(\.\d+)*)$")]
"""As uv's `--torch-backend` has it."""
CmakeOption = Annotated[str, StringConstraints(pattern=r"^-D[A-Za-z0-9_]+(:[A-Z]+)?=.*$")]
"""Such as `-DGGML_CUDA_F16=ON`."""
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Minutes = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Limits = Annotated[str, AfterValidator(_specifier)]
"""Version limits such as `>=0.20`."""
Window = Annotated[str, AfterValidator(_window)]
Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Table(BaseModel):
    """What all tables share: frozen, nothing unknown, and no value in an error, for it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def fill_secret(self, name: str) -> None:
        """Put the content of `<name>_file` where the secret itself would stand."""
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            return
        if getattr(self, name) is not None:
            raise PydanticCustomError("secret_twice", f"{name} and {name}_file are both given; give one")
        self.__dict__[name] = SecretStr(path.read_text(encoding="utf-8").strip())
