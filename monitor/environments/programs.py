"""The programs in an environment: found, asked what they are, and linked to where engines look for them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from monitor.domain.llama_builds import LlamaBuild, said_by_version
from monitor.environments.command import answer_of
from monitor.errors import ProvisionError
from monitor.proc import one_line

SERVER = "llama-server"
_ASK_S = 60.0
_MAX_BYTES = 2**16


def find(folder: Path, name: str) -> Path:
    """Return the one executable file called `name` below `folder`.

    Raises:
        ProvisionError: there is none, or more than one.

    """
    found = [path for path in sorted(folder.rglob(name)) if _is_program(path)]
    if len(found) != 1:
        raise ProvisionError(
            f"It holds {len(found) or 'no'} program{'s' if len(found) > 1 else ''} called {name}.",
            kept="every complete environment",
            advice="choose another file of the release with `wanted`, or report it to its makers",
        )
    return found[0]


def link(folder: Path, program: Path) -> Path:
    """Make `bin/<name>` in the environment at `folder`, a link to `program` inside it, and return it.

    The loader takes `$ORIGIN` from what the link leads to, so a program still finds the libraries beside it.
    """
    place = folder / "bin" / program.name
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(os.path.relpath(program, place.parent))
    return place


def build_of(program: Path) -> LlamaBuild:
    """Return the build that a `llama-server` says it is.

    Raises:
        ProvisionError: it does not run here, or says nothing of the kind.

    """
    said = _answer(program, "--version")
    build = said_by_version(said)
    if build is None:
        raise _unusable(program, "--version", f"says: {one_line(said) or 'nothing'}")
    return build


def check_cuda(program: Path) -> None:
    """Do nothing when a `llama-server` finds a GPU through CUDA.

    One whose CUDA libraries do not load serves from the CPU and says so only in its log; whoever took that
    for the speed of the release would be wrong by an order of magnitude.

    Raises:
        ProvisionError: it finds none.

    """
    said = _answer(program, "--list-devices")
    if "CUDA" not in said:
        raise _unusable(
            program, "--list-devices", f"names no CUDA device, but: {one_line(said) or 'nothing'}"
        )


def search_path(program: Path) -> tuple[Path, ...]:
    """Return the folders where the loader finds the libraries that a program brought along."""
    return (program.resolve().parent,)


def _answer(program: Path, flag: str) -> str:
    real = program.resolve()
    searched = [*map(str, search_path(real)), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": ":".join(part for part in searched if part)}
    code, out, error = answer_of(
        [str(real), flag], environment, real.parent, deadline_s=_ASK_S, max_bytes=_MAX_BYTES
    )
    if code == 0:
        return f"{out}\n{error}"
    how = f"was not done after {_ASK_S:g} s" if code is None else f"ends with {code}"
    raise _unusable(program, flag, f"{how} and says: {one_line(error or out) or 'nothing'}")


def _unusable(program: Path, flag: str, what: str) -> ProvisionError:
    return ProvisionError(
        f"`{program.name} {flag}` {what}",
        kept="every complete environment",
        advice="look whether this machine has what the program was built for",
    )


def _is_program(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) and bool(mode & 0o111)
