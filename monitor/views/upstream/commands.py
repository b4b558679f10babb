"""The commands that reproduce a loss without the monitor: one shell script, in steps with words between."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from monitor.checks import standalone
from monitor.checks.synthetic_recipe import Form, SyntheticRecipe
from monitor.domain import (
    ATTACHED_ENGINES,
    JUDGED_ARMS,
    Arm,
    Check,
    ModelSpec,
    Packaging,
    Prompt,
    is_attached,
    packaging_of,
)
from monitor.views.upstream.installing import install_step
from monitor.views.upstream.parts import BAD, GOOD, Side, Step, plain
from monitor.views.upstream.servers import Asking, Starting, asking, starting


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
) -> Reproduction | str:
    """Return the commands, or in words why there are none: the monitor cannot say how it is done by hand."""
    sides = (good, bad)
    if check.engine in ATTACHED_ENGINES or any(is_attached(side.artifact) for side in sides):
        return (
            "The servers were installed and started by their owner, so there are no commands here. The "
            "figures below were measured by sending the same prompts to both."
        )
    if any(packaging_of(side.artifact) is Packaging.IMAGE for side in sides):
        return (
            "The releases were measured in container images, which stand above with their digests. How a "
            "server is started in one is not put into commands here."
        )
    servers = {
        (side.name, arm): starting(check, arm, side.environment) for side in sides for arm in JUDGED_ARMS
    }
    started = {key: server for key, server in servers.items() if server is not None}
    if len(started) < len(servers):
        return (
            f"The engine `{plain(check.engine)}` is started by a program of the monitor's that is not put "
            "into commands here."
        )
    asked = asking(check, prompt)
    notes: list[str] = []
    steps = (
        Step("Begin in an empty folder", "", _begin(check)),
        _model_step("MODEL", check.model, model_sha256, notes),
        *([] if check.draft_model is None else [_model_step("DRAFT", check.draft_model, None, notes)]),
        install_step(check, good, bad, notes),
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
    script = [f'{variable}="${{{variable}:?where your copy of {plain(names)} lies}}"', checked]
    return Step(title, "A file that has to be at hand.", "\n".join(filter(None, script)))


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
    words = " ".join(dict.fromkeys([words, *(server.words for server in started.values() if server.words)]))
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
        f'  curl -fsS "{address}{asked.path}" -o "$1-$2.json" {header} -d @request.json \\',
        '    -w "$1-$2: the whole answer took %{time_total} s\\n" >&2',
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
