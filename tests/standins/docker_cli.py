"""The command behind `docker.py`: `docker_cli.py FOLDER ARGUMENTS…`, with docker's own exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(sys.argv[1])
ASKED = sys.argv[2:]
STATE: dict[str, Any] = json.loads((FOLDER / "registry.json").read_text(encoding="utf-8"))
CONTAINERS = FOLDER / "containers"
NOT_RUN, NOT_FOUND = 125, 127
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
VALUED = {
    *("--name", "--label", "--pull", "--network", "--user", "--cap-drop", "--security-opt", "--shm-size"),
    *("--workdir", "--mount", "--gpus", "--device", "--env", "--entrypoint", "--userns"),
}


def die(text: str, code: int = 1) -> NoReturn:
    sys.stderr.write(text + "\n")
    sys.exit(code)


def place_of(reference: str) -> Path:
    return FOLDER / "pulled" / reference.replace("/", "_")


def pull(reference: str) -> None:
    if STATE.get("pull_error"):
        die(STATE["pull_error"])
    if reference not in STATE["images"]:
        die(f"Error response from daemon: manifest for {reference} not found: manifest unknown")
    place_of(reference).parent.mkdir(exist_ok=True)
    place_of(reference).touch()
    sys.stdout.write(reference + "\n")


def image(what: str, reference: str) -> None:
    if not place_of(reference).exists():
        sys.stdout.write("[]\n")
        die(f"Error response from daemon: No such image: {reference}")
    if what == "rm":
        place_of(reference).unlink()
    else:
        sys.stdout.write(json.dumps([STATE["images"][reference]["inspect"]]))


def ps(label: str) -> None:
    for one in sorted(CONTAINERS.glob("*.json")):
        if label in json.loads(one.read_text(encoding="utf-8"))["labels"]:
            sys.stdout.write(one.stem + "\n")


def inspect(name: str) -> None:
    one = CONTAINERS / f"{name}.json"
    if not one.exists():
        die(f"Error: No such object: {name}")
    sys.stdout.write(f"{json.loads(one.read_text(encoding='utf-8'))['pid']}\n")


def remove(names: list[str]) -> None:
    for name in names:
        one = CONTAINERS / f"{name}.json"
        if not one.exists():
            sys.stderr.write(f"Error response from daemon: No such container: {name}\n")
            continue
        with suppress(ProcessLookupError):
            os.killpg(json.loads(one.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
        one.unlink(missing_ok=True)


def parse(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    options: dict[str, list[str]] = {}
    place = 0
    while words[place].startswith("--"):
        if words[place] in VALUED:
            options.setdefault(words[place], []).append(words[place + 1])
            place += 2
        elif words[place] in {"--rm", "--init"}:
            place += 1
        else:
            die(f"unknown flag: {words[place]}", NOT_RUN)
    return options, words[place:]


def run(words: list[str]) -> None:
    options, (reference, *arguments) = parse(words)
    if not place_of(reference).exists():
        die(f"Unable to find image '{reference}' locally", NOT_RUN)
    programs = STATE["images"][reference]["programs"]
    entry = options["--entrypoint"][0]
    if entry not in programs:
        die(f"exec: {entry!r}: executable file not found in $PATH: unknown.", NOT_FOUND)
    name = options.get("--name", [f"random-{os.getpid()}"])[0]
    CONTAINERS.mkdir(exist_ok=True)
    mine = CONTAINERS / f"{name}.json"
    if mine.exists():
        die(f'Conflict. The container name "/{name}" is already in use', NOT_RUN)
    inside = {"PATH": os.defpath}
    for one in options.get("--env", []):
        key, given, value = one.partition("=")
        if given or key in os.environ:
            inside[key] = value if given else os.environ[key]
    # In a session of its own, so that it outlives the command as a container does.
    child = subprocess.Popen(
        [*programs[entry], *arguments],
        env=inside,
        cwd=options.get("--workdir", ["/"])[0],
        start_new_session=True,
    )
    facts = {"pid": child.pid, "labels": options.get("--label", []), "environment": inside}
    part = mine.with_suffix(".part")
    part.write_text(json.dumps(facts), encoding="utf-8")
    part.replace(mine)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    mine.unlink(missing_ok=True)
    sys.exit(code if code >= 0 else 128 - code)


def main() -> None:
    with (FOLDER / "asked.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"arguments": ASKED, "environment": dict(os.environ)}) + "\n")
    if STATE.get("down"):
        die(DOWN)
    match ASKED:
        case ["version", *_]:
            sys.stdout.write("28.2.2\n")
        case ["pull", *_, reference]:
            pull(reference)
        case ["image", "inspect" | "rm" as what, reference]:
            image(what, reference)
        case ["ps", *_, label]:
            ps(label.removeprefix("label="))
        case ["inspect", "--format", "{{.State.Pid}}", name]:
            inspect(name)
        case ["rm", "--force", *names]:
            remove(names)
        case ["run", *words]:
            run(words)
        case _:
            die(f"docker: '{ASKED[0]}' is not a docker command.", NOT_RUN)


if __name__ == "__main__":
    main()
