"""What is to be said of a user's command line for one version, and what changes for it from another.

The entry to `llama_advice` and `vllm_advice`: it knows which projects have which options, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging import version as versions

from monitor.domain.llama_builds import vendored
from monitor.engines import llama_advice, llama_flags, vllm_advice, vllm_flags
from monitor.engines.advice import Advice, compared, elsewhere, in_order, united
from monitor.engines.command_line import LLAMA_SERVER, CommandLine
from monitor.engines.llama_flags import Options
from monitor.engines.llama_help import read_help
from monitor.errors import UnknownNameError
from monitor.releases.projects import PROJECTS, build_number

Help = Callable[[str, str], str | None]
"""Project and version → what its server prints as `--help`, None where it is not installed here."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version that a command line is looked at for."""

    project: str
    version: str
    build: int | None
    """Of llama.cpp, None for other engines."""

    def __str__(self) -> str:
        """Return it as people write it."""
        return (
            f"{self.project} b{self.build}"
            if self.project == "llama.cpp"
            else f"{self.project} {self.version}"
        )


@dataclass(frozen=True, slots=True)
class Basis:
    """What the advice for a version rests on."""

    exact: bool
    """On what this very version says or is known to do; else on its neighbours."""
    text: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """A command line and what is to be said of it."""

    command: CommandLine
    version: Version
    running: Version | None
    basis: Basis
    findings: tuple[Advice, ...]


def version_of(spec: str, option: str) -> Version:
    """Return what `PROJECT==VERSION` names.

    Raises:
        UnknownNameError: when there is no such project, or the version cannot be placed.

    """
    project, _, version = (part.strip() for part in spec.partition("=="))
    if project not in PROJECTS or not version:
        raise UnknownNameError(
            f"{option} {spec} names no version of a known project.",
            advice=f"give PROJECT==VERSION, such as llama.cpp==b11549; projects: {', '.join(PROJECTS)}",
        )
    if PROJECTS[project].upstream != "llama.cpp":
        try:
            versions.Version(version)
        except versions.InvalidVersion as error:
            raise UnknownNameError(
                f"{option} {spec} holds no version.", advice="give one such as vllm==0.33.0"
            ) from error
        return Version(project, version, None)
    if project == "llama-cpp-python":
        build = vendored(version).number
    else:
        version = version.removeprefix("b") if project == "llama.cpp" else version
        build = build_number(project, version)
    if build is None:
        raise UnknownNameError(
            f"Which build of llama.cpp {spec} has in it is not known.",
            advice="name the build itself: llama.cpp==bNNNN (`llama-server --version` prints it)",
        )
    return Version(project, version, build)


def look_at(
    command: CommandLine, version: Version, running: Version | None, help_of: Help = lambda *_: None
) -> Configuration:
    """Return what is to be said of `command` for `version`, and what of that is new since `running`.

    Raises:
        UnknownNameError: when the command starts another server than the version is of.

    """
    for one in (version, running):
        engine = LLAMA_SERVER if one is None or one.build is not None else "vllm"
        if one is not None and engine != command.server:
            raise UnknownNameError(
                f"The command starts {command.server}, and {one} has none.",
                advice="name a version of the server that the command starts",
            )
    if version.build is None:
        return _of_vllm(command, version, running)
    below, above = _options(version, help_of)
    findings = _llama(command, version, below, above)
    if running is not None and running.build is not None:
        old, _ = _options(running, help_of)
        findings = compared(findings, _llama(command, running, *_options(running, help_of)))
        moved = llama_advice.changed_defaults(command, old, above, (running.build, version.build or 0))
        told = {finding.option for finding in moved}
        findings = [finding for finding in findings if finding.kind != "trap" or finding.option not in told]
        findings = in_order([*findings, *moved])
    return Configuration(command, version, running, _basis(version, below, above), tuple(findings))


def _of_vllm(command: CommandLine, version: Version, running: Version | None) -> Configuration:
    below, above = vllm_flags.options_of(_number(version))
    findings = _vllm(command, version)
    if running is not None:
        findings = compared(findings, _vllm(command, running))
        old, _ = vllm_flags.options_of(_number(running))
        moved = vllm_advice.changes(command, old, above, (_number(running), _number(version)))
        findings = in_order([*findings, *moved])
    known, number = vllm_flags.observed(), _number(version)
    if number in known:
        basis = Basis(exact=True, text=f"what the command line of {number} takes")
    elif number > known[-1]:
        text = f"{known[-1]}, the newest version that was asked, and what was read of later ones"
        basis = Basis(exact=False, text=text)
    elif number < known[0]:
        basis = Basis(exact=False, text=f"{known[0]}, the oldest version that is known, and release notes")
    else:
        basis = Basis(exact=False, text=f"its neighbours {below.version} and {above.version}")
    return Configuration(command, version, running, basis, tuple(findings))


def _vllm(command: CommandLine, version: Version) -> list[Advice]:
    number = _number(version)
    below, above = vllm_flags.options_of(number)
    earlier = vllm_advice.advise(command, below, number)
    if below.version == above.version:
        return earlier if below.version == number else elsewhere(earlier)
    names = (str(below.version), str(above.version))
    return united(earlier, vllm_advice.advise(command, above, number), names)


def _number(version: Version) -> versions.Version:
    return versions.Version(version.version)


def _llama(command: CommandLine, version: Version, below: Options, above: Options) -> list[Advice]:
    build = version.build or 0
    earlier = llama_advice.advise(command, below, build)
    if below.build == above.build:
        return earlier if below.exact else elsewhere(earlier)
    names = (f"b{below.build}", f"b{above.build}")
    return united(earlier, llama_advice.advise(command, above, build), names)


def _options(version: Version, help_of: Help) -> tuple[Options, Options]:
    build = version.build or 0
    page = help_of(version.project, version.version)
    own = read_help(page) if page is not None else []
    if own:
        return (llama_flags.options_in(own, build),) * 2
    return llama_flags.options_of(build)


def _basis(version: Version, below: Options, above: Options) -> Basis:
    build = version.build or 0
    known = llama_flags.observed()
    if below.exact:
        own = f"what b{build} itself prints as its --help"
        return Basis(exact=True, text=own)
    if build > known[-1]:
        return Basis(exact=False, text=f"b{known[-1]}, the newest build that is known; this one is newer")
    if build < known[0]:
        return Basis(exact=False, text=f"b{known[0]}, the oldest build that is known; this one is older")
    return Basis(exact=False, text=f"its neighbours b{below.build} and b{above.build}, whose --help is known")
