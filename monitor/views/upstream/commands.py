"""The commands that reproduce a loss without the monitor: one shell script, in steps with words between."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from monitor.checks import standalone
from monitor.checks.synthetic_recipe import Form, SyntheticRecipe
from monitor.domain import (
    ATTACHED_ENGINES,
    JUDGED_ARMS,
    Arm,
    Artifact,
    Check,
    Environment,
    ModelSpec,
    Packaging,
    Prompt,
    is_attached,
    packaging_of,
)
from monitor.views.packages import package_rows
from monitor.views.upstream.servers import Asking, Starting, asking, starting

GOOD, BAD = "good", "bad"
"""Folders of the two releases, and their names in the text."""
PUBLIC_HOSTS = ("github.com", "wheels.vllm.ai", "ghcr.io")
"""Hosts that a text may name: anybody can reach them. Others may be an owner's own."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two releases, with the environment it was measured in."""

    name: str
    artifact: Artifact
    environment: Environment
    index_url: str | None = None
    """Of a further package index that has it, where that is a public one."""
    published: bool = True
    """Its index, or its own address, can be reached by anybody."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the script."""

    title: str
    words: str
    """Markdown, the monitor's own."""
    script: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How to see the loss by hand."""

    steps: tuple[Step, ...]
    where: str
    """Where the answers tell what was drafted, as Markdown."""
    notes: tuple[str, ...]
    """For whoever posts the text: what it does not hold."""

    @property
    def script(self) -> str:
        """All steps as one script."""
        return "\n".join(step.script for step in self.steps)


def reproduction(
    check: Check, good: Side, bad: Side, prompt: Prompt, *, model_sha256: str | None
) -> Reproduction | None:
    """Return the commands; None where the monitor neither installs nor starts the servers."""
    attached = any(is_attached(side.artifact) for side in (good, bad))
    if attached or check.engine in ATTACHED_ENGINES:
        return None
    servers = {
        (side.name, arm): starting(check, arm, side.environment)
        for side in (good, bad)
        for arm in JUDGED_ARMS
    }
    started = {key: server for key, server in servers.items() if server is not None}
    if len(started) < len(servers):
        return None
    asked = asking(check, prompt)
    notes: list[str] = []
    steps = (
        Step("Begin in an empty folder", "", _begin(check)),
        _model_step("MODEL", check.model, model_sha256, notes),
        *([] if check.draft_model is None else [_model_step("DRAFT", check.draft_model, None, notes)]),
        _install_step(good, bad, notes),
        _serve_step(started),
        _ask_step(asked),
    )
    notes += [f"Left out of the start command: {what}." for item in started.values() for what in item.hidden]
    return Reproduction(steps, asked.where, tuple(dict.fromkeys(notes)))


def _begin(check: Check) -> str:
    wait = f'WAIT="${{WAIT:-{check.start_timeout_s:.0f}}}"  # seconds that a server may take to start'
    return f'set -eu\nPORT="${{PORT:-8080}}"  # a free one\n{wait}'


def _here(name: str, content: str) -> str:
    end = "END_OF_FILE"
    while end in content:
        end += "_"
    return f"cat > {shlex.quote(name)} <<'{end}'\n{content.rstrip()}\n{end}"


# ---------------------------------------------------------------------------------------------
# Weights


def _model_step(variable: str, spec: ModelSpec, sha256: str | None, notes: list[str]) -> Step:
    title = "The model" if variable == "MODEL" else "The draft model"
    checked = f'echo "{sha256}  ${variable}" | sha256sum --check' if sha256 and "+" not in sha256 else ""
    if spec.kind == "synthetic":
        recipe = SyntheticRecipe.from_dict(spec.recipe)
        one_file = recipe.form is Form.GGUF
        needs = " ".join(standalone.requirements())
        script = [
            *(_here(name, source) for name, source in standalone.files(recipe).items()),
            "uv venv --quiet --allow-existing --python '>=3.11' tools",
            f"uv pip install --quiet --python tools/bin/python {needs}",
            f"{variable}=$PWD/{variable.lower()}{'.gguf' if one_file else ''}",
            f'tools/bin/python {standalone.PROGRAM} "${variable}"',
            checked if one_file else "",
        ]
        words = (
            "A small model with a real MTP head and random weights, written from a seed by this script: "
            "nothing has to be downloaded, and the bytes are the same everywhere."
        )
        return Step(title, words, "\n".join(filter(None, script)), folded=True)
    if spec.kind == "huggingface":
        folder = variable.lower()
        files = " ".join(shlex.quote(name) for name in spec.files)
        where = f"$PWD/{folder}/{spec.files[0]}" if len(spec.files) == 1 else f"$PWD/{folder}"
        fetch = f"hf download {shlex.quote(spec.repository or '')} {files}".strip()
        script = [
            "uv venv --quiet --allow-existing tools",
            "uv pip install --quiet --python tools/bin/python huggingface_hub",
            f"tools/bin/{fetch} --revision {shlex.quote(spec.revision or 'main')} --local-dir {folder}",
            f'{variable}="{where}"',
            *(
                f"echo {shlex.quote(f'{digest}  {folder}/{name}')} | sha256sum --check"
                for name, digest in sorted(spec.sha256.items())
            ),
        ]
        return Step(title, "From the Hugging Face hub, at the revision that was measured.", "\n".join(script))
    names = ", ".join(PurePosixPath(name).name for name in spec.files) or spec.name
    notes.append(f"The model {names} is a file of yours: say where others get it.")
    script = [f'{variable}="${{{variable}:?where your copy of {_plain(names)} lies}}"', checked]
    return Step(title, "A file that has to be at hand.", "\n".join(filter(None, script)))


def _plain(name: str) -> str:
    return "".join(character for character in name if character.isalnum() or character in " .,_+-")


# ---------------------------------------------------------------------------------------------
# Releases


_MOST_PINNED = 12_000
"""Characters of installing that still leave room for the rest of an issue."""
_WHEELS = 'WHEELS="${WHEELS:-$PWD}"  # the folder in which the files named below lie'


def _install_step(good: Side, bad: Side, notes: list[str]) -> Step:
    rows = package_rows(good.environment, bad.environment)
    own = good.artifact.project.lower().replace("_", "-")
    lines: list[str] = []
    local = [side for side in (good, bad) if not side.published]
    if local:
        lines.append(_WHEELS)
    for side in (good, bad):
        pins = [
            f"{package.name}=={package.version}"
            for row in rows
            if (package := row.reference if side.name == GOOD else row.candidate) is not None
            and row.name.lower().replace("_", "-") != own
            and package.is_distribution
        ]
        lines += _install(side, pins)
    many = sum(map(len, lines)) > _MOST_PINNED
    if many:
        lines = [line for side in (good, bad) for line in _install(side, ())]
        lines = [*([_WHEELS] if local else []), *lines]
        notes.append("The packages that differ are too many to be pinned in the text.")
    words = "Each in an environment of its own"
    words += ", with the packages that differ pinned." if len(rows) > 1 and not many else "."
    for side in local:
        name = side.artifact.filename
        notes.append(
            f"{name} is on no public index: attach it, or say where others get it. Here it lies at "
            f"{_place(side.artifact.url)}."
        )
        words += f" `{_plain(name)}` is on no public index: it has to lie in `$WHEELS`."
    return Step("Both releases", words, "\n".join(lines))


def _place(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else url


def _install(side: Side, pins: Iterable[str]) -> list[str]:
    artifact, python = side.artifact, side.environment.python_version
    packaging = packaging_of(artifact)
    if packaging is Packaging.ARCHIVE:
        name = shlex.quote(artifact.filename)
        get = (
            f"curl -fsSL -o {name} {shlex.quote(artifact.url)}"
            if side.published
            else f'cp "$WHEELS"/{name} .'
        )
        return [
            get,
            f"echo {shlex.quote(f'{artifact.sha256}  {artifact.filename}')} | sha256sum --check",
            f"mkdir -p {side.name}/bin && tar -xf {name} -C {side.name}",
            f'ln -sf "$(find "$PWD/{side.name}" -name llama-server -type f | head -n 1)" {side.name}/bin/',
        ]
    wanted = [shlex.quote(f"{artifact.project}=={artifact.version}"), *map(shlex.quote, pins)]
    options = [f"--python {side.name}/bin/python"]
    if packaging is Packaging.SOURCE:
        options.append(f"--no-binary {shlex.quote(artifact.project)}")
    if not side.published:
        options.append('--find-links "$WHEELS"')
    elif side.index_url is not None:
        options.append(f"--extra-index-url {shlex.quote(side.index_url)} --index-strategy unsafe-best-match")
    lines = []
    if not side.published:
        lines.append(
            f'echo "{artifact.sha256}  $WHEELS"/{shlex.quote(artifact.filename)} | sha256sum --check'
        )
    minor = ".".join(python.split(".")[:2])
    lines.append(f"uv venv --quiet {f'--python {shlex.quote(minor)} ' if minor else ''}{side.name}")
    lines.append(f"uv pip install --quiet {' '.join(options)} {' '.join(wanted)}")
    return lines


def is_public(url: str | None) -> bool:
    """Say whether a text may name an address, because anybody can reach it."""
    return url is not None and (urlsplit(url).hostname or "") in PUBLIC_HOSTS


# ---------------------------------------------------------------------------------------------
# Serving and asking


def _serve_step(started: dict[tuple[str, Arm], Starting]) -> Step:
    files = {name: content for server in started.values() for name, content in server.files.items()}
    cases: dict[str, str] = {}
    for (side, arm), server in started.items():
        other = started[BAD if side == GOOD else GOOD, arm]
        cases[f"*-{arm}" if server.command == other.command else f"{side}-{arm}"] = server.command
    lines = [_here(name, content) for name, content in sorted(files.items())]
    lines += ["serve() {  # RELEASE ARM", '  case "$1-$2" in']
    lines += [f"    {case}) exec {command} ;;" for case, command in cases.items()]
    lines += ["  esac", "}"]
    words = "The same for both releases, without MTP (`baseline`) and with it (`mtp`)."
    if any(not case.startswith("*") for case in cases):
        words = "Without MTP (`baseline`) and with it (`mtp`); the releases name their options differently."
    return Step("The server", words, "\n".join(lines))


def _ask_step(asked: Asking) -> Step:
    address, header = "http://127.0.0.1:$PORT", '-H "Content-Type: application/json"'
    lines = [
        _here("request.json", asked.body),
        _here("read.py", asked.reader),
        "ask() {  # RELEASE ARM",
        '  serve "$1" "$2" > "$1-$2.log" 2>&1 &',
        "  server=$!",
        "  waited=0",
        f'  until curl -fs "{address}{asked.ready_path}" > ready.txt; do',
        '    kill -0 "$server" || { tail -n 20 "$1-$2.log"; exit 1; }',
        '    waited=$((waited + 1)); [ "$waited" -le "$WAIT" ] || { kill "$server"; exit 1; }',
        "    sleep 1",
        "  done",
        f'  curl -fsS "{address}{asked.path}" -o "$1-$2.json" {header} -d @request.json',
        f'  curl -fs "{address}{asked.metrics_path}" > "$1-$2.metrics" || : > "$1-$2.metrics"',
        '  kill "$server"; wait "$server" || true',
        "}",
    ]
    names = [f"{side} {arm}" for side in (GOOD, BAD) for arm in JUDGED_ARMS]
    lines += [f"ask {name}" for name in names]
    lines.append(f"python3 read.py {' '.join(name.replace(' ', '-') for name in names)}")
    return Step(
        "One prompt",
        f"Each server is asked the same once. Read {asked.where}; `read.py` prints them.",
        "\n".join(lines),
    )
