"""What lies in a source archive of llama-cpp-python, once it is unpacked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from monitor.domain import Artifact
from monitor.environments.wheel_file import Entry
from monitor.errors import ProvisionError

_COMMIT = re.compile(r"llama\.cpp@([0-9a-f]{7,40})")
# https://packaging.python.org/en/latest/specifications/inline-script-metadata/
_SCRIPT = re.compile(r"(?m)^# /// script$\s(?P<lines>(^#(| .*)$\s)+)^# ///$")


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The top folder of the archive."""

    folder: Path
    project: str

    @classmethod
    def of(cls, artifact: Artifact, unpacked: Path) -> SourceTree:
        """Return the tree of an archive that was unpacked into `unpacked`.

        Raises:
            ProvisionError: it is no source archive with a llama.cpp inside.

        """
        # https://packaging.python.org/en/latest/specifications/source-distribution-format/: one folder.
        found = [path for path in unpacked.iterdir() if path.is_dir()]
        if len(found) == 1:
            tree = cls(found[0], artifact.project)
            if (tree.folder / "PKG-INFO").is_file() and (tree.llama_cpp / "CMakeLists.txt").is_file():
                return tree
        raise ProvisionError(
            f"{artifact.filename} is no source archive with llama.cpp inside.",
            kept="every complete environment",
            advice="the next release is not affected",
        )

    @property
    def llama_cpp(self) -> Path:
        """The tree of llama.cpp."""
        return self.folder / "vendor" / "llama.cpp"

    @property
    def metadata(self) -> str:
        """What a wheel says of itself in METADATA."""
        return (self.folder / "PKG-INFO").read_text(encoding="utf-8")

    @property
    def commit(self) -> str | None:
        """The commit of llama.cpp that the changelog names first: its newest entry stands at the top."""
        try:
            text = (self.folder / "CHANGELOG.md").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        found = _COMMIT.search(text)
        return found[1] if found else None

    def package(self) -> Iterator[Entry]:
        """Yield the files of the Python package, as they lie in a wheel."""
        package = self.folder / "llama_cpp"
        for path in sorted(package.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield Entry(f"llama_cpp/{path.relative_to(package).as_posix()}", path)

    def example(self) -> Iterator[Entry]:
        """Yield the example server, where the release has one."""
        if self._server.is_file():
            yield Entry("share/llama-cpp-python/server.py", self._server, data=True)

    @property
    def example_requires(self) -> tuple[str, ...]:
        """What the example server asks for in its script metadata, without the project itself."""
        if not self._server.is_file():
            return ()
        found = _SCRIPT.search(self._server.read_text(encoding="utf-8", errors="replace"))
        lines = found["lines"].splitlines() if found else []
        try:
            table = tomllib.loads("\n".join(line[2:] for line in lines))
            asked = [Requirement(text) for text in table.get("dependencies", [])]
        except (tomllib.TOMLDecodeError, InvalidRequirement, TypeError):
            return ()
        mine = canonicalize_name(self.project)
        return tuple(str(one) for one in asked if canonicalize_name(one.name) != mine)

    @property
    def _server(self) -> Path:
        return self.folder / "examples" / "server" / "server.py"
