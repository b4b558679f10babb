"""Writes `monitor/engines/llama_options.jsonl`: the options of llama-server in builds months apart.

    python benchmarks/llama_options/write_table.py [VERSION …]

Installs each version of `xllamacpp` from the package index in an environment of its own, asks its build for
its `--help`, and writes one line for each state an option was in: between which builds, under which names,
with which default. Takes about a minute, most of it for the downloads. Without versions: every one that has
MTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import uv

from monitor.engines import llama_flags
from monitor.engines.llama_help import HelpEntry, read_help
from monitor.releases.projects import build_number

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from standins.builds import MTP_BUILDS

TARGET = Path(llama_flags.__file__).with_name(llama_flags.TABLE)


def main() -> None:
    """Ask every build and write the table."""
    pages = {}
    for version in sys.argv[1:] or MTP_BUILDS:
        build = build_number("xllamacpp", version)
        assert build is not None, f"{version} names no build"
        pages[build] = read_help(help_page(version))
        print(f"b{build}: {len(pages[build])} options", file=sys.stderr)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows(pages)]
    TARGET.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} states of options in {len(pages)} builds: {TARGET.name}")


def help_page(version: str) -> str:
    """Return the `--help` of the build that a version of xllamacpp packages."""
    program = uv.find_uv_bin()
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([program, "venv", "--quiet", folder], check=True)
        wanted = ["--python", str(python), f"xllamacpp=={version}"]
        subprocess.run([program, "pip", "install", "--quiet", *wanted], check=True)
        asked = [str(python), "-I", "-B", str(Path(__file__).with_name("help_page.py"))]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout


def rows(pages: Mapping[int, Sequence[HelpEntry]]) -> Iterator[dict[str, object]]:
    """Yield the states, by option and build; an option is what shares a name with it in the next build."""
    found: list[tuple[list[int], HelpEntry, str]] = []
    current: list[int] = []
    for build in sorted(pages):
        following = []
        for entry in pages[build]:
            before = [at for at in current if set(found[at][1].names) & set(entry.names)]
            # Two that became one: the first name stays the option's.
            option = found[before[0]][2] if before else entry.title
            if len(before) == 1 and found[before[0]][1] == entry:
                found[before[0]][0].append(build)
                following.append(before[0])
            else:
                following.append(len(found))
                found.append(([build], entry, option))
        current = following
    # The sort is stable: states of one option stay in the order of builds.
    for builds, entry, option in sorted(found, key=lambda state: (state[2].lstrip("-"), state[0][0])):
        told = {key: value for key, value in asdict(entry).items() if value not in (None, False, ())}
        yield {"option": option, "first": builds[0], "last": builds[-1], **told}


if __name__ == "__main__":
    main()
