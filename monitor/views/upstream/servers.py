"""How a server of a check is started and asked by hand, as shell commands.

The commands are made from what the monitor itself starts and sends (`Engine.launch`, `Dialect.request`), so
they cannot drift from it. Places of this machine become variables of the script, and what may be secret or
private is left out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from monitor.domain import Arm, Check, Environment, Prompt
from monitor.engines import engine_for
from monitor.engines.base import Dialect, Launch, Setup
from monitor.engines.llama_cpp_python import LlamaCppPythonHttp
from monitor.engines.llama_http import LlamaHttp
from monitor.engines.vllm_http import VllmHttp
from monitor.views.upstream import python_loop
from monitor.views.upstream.installing import SOURCE

_ENVIRONMENT, _MODEL, _DRAFT, _SCRATCH = "/mtp/environment", "/mtp/model", "/mtp/draft", "/mtp/scratch"
_PORT = 65_431
_LAUNCHERS = Path(str(files("monitor.engines") / "launchers"))
_PLACES = {
    _ENVIRONMENT: "$1",
    _MODEL: "$MODEL",
    _DRAFT: "$DRAFT",
    _SCRATCH: "$PWD",
    str(_PORT): "$PORT",
}
"""Placeholder in what the engine would start → variable of the script; `$1` is the folder of the release."""
_SECRET = re.compile(r"(?i)(?:^|[-_])(?:token|secret|password|passwd|credentials?|key)(?:$|[-_=])")
_STREAMING = ("stream", "stream_options", "timings_per_token")


@dataclass(frozen=True, slots=True)
class Starting:
    """How one server is started."""

    command: str
    """A line of shell: `$1` is the folder of the release, MODEL, DRAFT and PORT are variables."""
    files: Mapping[str, str]
    """Name → content of scripts that the command needs, beside it."""
    hidden: tuple[str, ...]
    """What was left out of the command, for the sender to look at."""
    words: str = ""
    """What a reader should know of it, as Markdown."""


def starting(check: Check, arm: Arm, environment: Environment) -> Starting | None:
    """Return how the server of one arm is started by hand.

    None where the monitor does not start it, or starts it by a program of its own that tells it everything.
    """
    placed = replace(
        environment,
        path=Path(_ENVIRONMENT),
        python=Path(_ENVIRONMENT, "bin", "python") if environment.python is not None else None,
    )
    draft = Path(_DRAFT) if check.draft_model is not None else None
    setup = Setup(check, arm, placed, Path(_MODEL), draft, Path(_SCRATCH), _PORT)
    launch = engine_for(check.engine).launch(setup)
    if launch is None:
        return None
    hidden: list[str] = []
    made = _from_order(launch, arm)
    if made is None:
        return None
    argv, scripts, said = made
    shown = {name: value for name, value in launch.environment.items() if not _SECRET.search(name)}
    hidden += [f"the variable {name}" for name in launch.environment.keys() - shown.keys()]
    words = [f"{name}={_word(value, hidden)}" for name, value in sorted(shown.items())]
    words = ["env", *words] if words else []
    secret = False
    for argument in argv:
        secret = secret and not argument.startswith("--")
        words.append("SECRET" if secret else _word(argument, hidden))
        hidden += ["a secret argument"] if secret else []
        secret = argument.startswith("--") and "=" not in argument and bool(_SECRET.search(argument))
    return Starting(" ".join(words), scripts, tuple(dict.fromkeys(hidden)), said)


def _word(argument: str, hidden: list[str]) -> str:
    """Return one argument for the shell, with variables in the places of this machine."""
    name, equals, _ = argument.partition("=")
    if equals and name.startswith("--") and _SECRET.search(name):
        hidden.append(f"the value of {name}")
        return f"{name}=SECRET"
    found = [place for place in _PLACES if place in argument]
    if not found:
        if argument.startswith("/"):
            hidden.append(f"the folder of {PurePosixPath(argument).name}")
            return shlex.quote(f"./{PurePosixPath(argument).name}")
        return shlex.quote(argument)
    quoted = re.sub(r'(["\\$`])', r"\\\1", argument)
    for place in found:
        quoted = quoted.replace(place, _PLACES[place])
    return f'"{quoted}"'


# ---------------------------------------------------------------------------------------------
# Packages that hold the server as a library

_SERVE = '''"""Starts llama.cpp's server out of the package xllamacpp: serve.py ARM MODEL PORT [DRAFT]"""
import os
import signal
import sys

import xllamacpp

arm, model, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
draft = sys.argv[4] if len(sys.argv) > 4 else ""
params = xllamacpp.CommonParams()


def put(value, *places):
    """Set a parameter at the first place this build has for it."""
    for place in places:
        *owners, name = place.split(".")
        target = params
        for owner in owners:
            target = getattr(target, owner, None)
        if target is not None and hasattr(target, name):
            setattr(target, name, [value] if isinstance(getattr(target, name), list) else value)
            return
    print("not known to this build:", places[0], file=sys.stderr)


{both}
if arm == "mtp":
{mtp}
server = xllamacpp.Server(params)
print("listening at", server.listening_address, flush=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()
'''


def _from_order(launch: Launch, arm: Arm) -> tuple[tuple[str, ...], dict[str, str], str] | None:
    """Return argv, the scripts it needs, and what is to be said of them.

    A launcher of the monitor's that reads an order of parameters becomes a script; one without an order is
    taken as it is, for launchers import nothing of the monitor. None for other orders.
    """
    order = next((json.loads(text) for name, text in launch.files.items() if name == "order.json"), None)
    if order is None:
        shipped = {str(path): path for path in map(Path, launch.argv) if path.parent == _LAUNCHERS}
        moved = (f"{_SCRATCH}/{shipped[word].name}" if word in shipped else word for word in launch.argv)
        texts = {path.name: path.read_text(encoding="utf-8") for path in shipped.values()}
        return tuple(moved), {**launch.files, **texts}, ""
    if "example" in order:
        return _from_python_order(order, arm)
    if "parameters" not in order:
        return None
    lines: dict[bool, list[str]] = {True: [], False: []}
    for parameter in order["parameters"]:
        places = parameter["places"]
        drafts = any(place.startswith(("speculative.", "load_mtp")) for place in places)
        value = _literal(parameter)
        lines[drafts].append(f"put({value}, {', '.join(map(repr, places))})")
    argv: tuple[str, ...] = (f"{_ENVIRONMENT}/bin/python", "serve.py", arm.value, _MODEL, str(_PORT))
    if any(line.startswith("put(draft,") for line in lines[True]):
        argv = (*argv, _DRAFT)
    if arm is not Arm.MTP:
        return argv, {}, ""  # the script of the mtp arm serves both
    script = _SERVE.format(both="\n".join(lines[False]), mtp="\n".join(f"    {line}" for line in lines[True]))
    return argv, {"serve.py": script}, ""


def _from_python_order(order: Mapping[str, Any], arm: Arm) -> tuple[tuple[str, ...], dict[str, str], str]:
    argv: tuple[str, ...] = (
        *(f"{_ENVIRONMENT}/bin/python", "-I", python_loop.NAME, arm.value, _MODEL, str(_PORT)),
        f"{_ENVIRONMENT}/{SOURCE}/examples/server/server.py",
    )
    if arm is not Arm.MTP:
        return argv, {}, ""
    if "draft_model_path" in order["model"]:
        argv = (*argv, _DRAFT)
    script = python_loop.script(order, {_MODEL: "model", _DRAFT: "draft"})
    return argv, {python_loop.NAME: script}, python_loop.WORDS


def _literal(parameter: Mapping[str, Any]) -> str:
    if "choice" in parameter:
        kind, wanted = parameter["choice"]
        return f"xllamacpp.{kind}.{wanted}"
    value = parameter["value"]
    if parameter["places"] == ["port"]:
        return "port"
    return (
        {_MODEL: "model", _DRAFT: "draft"}.get(value, repr(value)) if isinstance(value, str) else repr(value)
    )


# ---------------------------------------------------------------------------------------------
# Asking and reading


@dataclass(frozen=True, slots=True)
class Asking:
    """How one prompt is asked by hand, and where the answer tells what was drafted."""

    path: str
    body: str
    """JSON."""
    ready_path: str
    metrics_path: str
    reader: str
    """Python: prints a line for each answer it is given the name of."""
    where: str
    """Markdown: where drafted and accepted tokens stand."""


def asking(check: Check, prompt: Prompt) -> Asking:
    """Return how a prompt is asked without streaming, so that one answer can be read by eye."""
    dialect = engine_for(check.engine).dialect(check)
    request = dialect.request(prompt, check)
    body = {key: value for key, value in request.body.items() if key not in _STREAMING}
    reading = _reading(dialect)
    return Asking(
        path=request.path,
        body=json.dumps(body | {"stream": False}, indent=1, ensure_ascii=False),
        ready_path=dialect.ready_path,
        metrics_path=dialect.metrics_path,
        reader=_READER.replace("COUNTS", reading[0]),
        where=reading[1],
    )


_READER = '''"""Prints what was drafted and accepted in each answer: python read.py NAME..."""
import hashlib
import json
import re
import sys
from pathlib import Path

for name in sys.argv[1:]:
    answer = json.loads(Path(f"{name}.json").read_text())
    metrics = Path(f"{name}.metrics").read_text()
    said = answer.get("content") or json.dumps(answer.get("choices", answer), sort_keys=True)
    if isinstance(answer.get("choices"), list) and "text" in answer["choices"][0]:
        said = answer["choices"][0]["text"]
COUNTS
    text = hashlib.sha256(said.encode()).hexdigest()[:12]
    print(f"{name}: tokens={tokens} drafted={drafted} accepted={accepted} text={text}")
'''
_LLAMA = """    timings = answer["timings"]
    tokens = timings["predicted_n"]
    drafted, accepted = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
    print(f"{name}: {timings['predicted_per_second']:.4g} tokens a second", file=sys.stderr)"""
_VLLM = """    tokens = answer["usage"]["completion_tokens"]
    counted = re.findall(r"(?m)^vllm:spec_decode_num_(draft|accepted)_tokens_total.* (\\S+)$", metrics)
    drafted = sum(int(float(value)) for what, value in counted if what == "draft")
    accepted = sum(int(float(value)) for what, value in counted if what == "accepted")"""
_READINGS: tuple[tuple[type, str, str], ...] = (
    (LlamaCppPythonHttp, python_loop.READING, python_loop.WHERE),  # it is a LlamaHttp as well
    (LlamaHttp, _LLAMA, "`timings.draft_n` and `timings.draft_n_accepted` of the answer"),
    (
        VllmHttp,
        _VLLM,
        "`vllm:spec_decode_num_draft_tokens_total` and `…_accepted_tokens_total` of `/metrics`",
    ),
)
"""Dialect → the lines of `read.py` that find the counts, and where they stand in words."""


def _reading(dialect: Dialect) -> tuple[str, str]:
    return next((code, where) for kind, code, where in _READINGS if isinstance(dialect, kind))
