"""How exact the measuring client is, and what it costs: python benchmarks/client.py [--write].

A server in a process of its own (`exact_server.py`) emits tokens on an exact schedule and notes when it
really wrote each chunk. The client's decode rate is compared with the rate of those writes, so what the
server itself or a busy machine adds to the schedule (its *slip*) does not count for or against the client.
Beside it, a loop over the `openai` package's stream does the same work on the same schedule.

`--write` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from openai import AsyncOpenAI

from monitor.bench.client import record
from monitor.bench.tape import decode

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- client: begin -->", "<!-- client: end -->"
ALLOWED = 0.005
STREAMS = (1, 16)
RATES = (50, 200, 500, 1000, 2000)  # tokens/s in each stream
SIZES = {"1": [1], "1–6": [1, 2, 3, 4, 5, 6]}
SECONDS = 3.0  # of one stream
DEADLINE_S = 60.0
MAX_BYTES = 64 * 2**20

Times = list[tuple[float, float]]
"""For each stream, when its first and its last chunk came."""


@dataclass
class Row:
    """One setting: figures of all its rounds."""

    streams: int
    rate: int
    size: str
    chunks_per_s: float = 0.0
    slip: list[float] = field(default_factory=list)
    error: dict[str, list[float]] = field(default_factory=lambda: {"llama": [], "openai": []})
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {"llama": [], "openai": []})

    @property
    def worst(self) -> float:
        """The client's largest error in any stream of any round, as a fraction."""
        return max(map(abs, self.error["llama"]))


class Server:
    """The exact server, one round at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line())

    def ask(self, wanted: dict[str, Any]) -> None:
        """Announce a round; its requests may follow at once."""
        if self._process.stdin is None:
            raise RuntimeError("the server was started without a pipe")
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()

    def told(self) -> dict[str, list[list[float]]]:
        """Return when each chunk of the round was due and written."""
        return dict(json.loads(self._line()))

    def _line(self) -> str:
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError("the server ended")
        return line


@contextmanager
def server() -> Iterator[Server]:
    """Run the exact server in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("exact_server.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.communicate()  # it ends with its input


async def ours(port: int, streams: int, tokens: int) -> Times:
    """Record all streams, then decode them, as a session does."""
    url = f"http://127.0.0.1:{port}/completion"
    body = {"prompt": "x", "n_predict": tokens, "stream": True, "return_tokens": True}
    tapes = await asyncio.gather(
        *(record(url, body, deadline_s=DEADLINE_S, max_bytes=MAX_BYTES) for _ in range(streams))
    )
    times = []
    for tape in tapes:
        events = decode(tape).events
        if sum(len(event.data["tokens"]) for event in events) != tokens or not events[-1].data["stop"]:
            raise RuntimeError("the reply is not what was asked for")
        times.append((events[0].at_s, events[-1].at_s))
    return times


async def openai_loop(port: int, streams: int, tokens: int) -> Times:
    """Do what most benchmarks do: iterate over the package's stream and look at the clock."""
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:

        async def one() -> tuple[float, float]:
            first = last = 0.0
            stream = await client.completions.create(model="x", prompt="x", max_tokens=tokens, stream=True)
            async for chunk in stream:
                last = time.monotonic()
                if chunk.choices[0].text and not first:
                    first = last
            return first, last

        return await asyncio.gather(*(one() for _ in range(streams)))


CLIENTS: dict[str, Callable[[int, int, int], Awaitable[Times]]] = {"llama": ours, "openai": openai_loop}


def measure(row: Row, place: Server, shape: str, seed: int) -> None:
    """Run one round and note its figures in `row`."""
    tokens = round(row.rate * SECONDS)
    place.ask(
        {
            "shape": shape,
            "streams": row.streams,
            "tokens": tokens,
            "rate": row.rate,
            "sizes": SIZES[row.size],
            "seed": seed,
        }
    )
    before = time.process_time()
    times = asyncio.run(_awaited(CLIENTS[shape], place.port, row.streams, tokens))
    cpu_s = time.process_time() - before
    told = place.told()
    row.cpu_us[shape].append(cpu_s / (tokens * row.streams) * 1e6)
    # Which connection became which stream is not known; in order of their first chunk they match.
    written = sorted((marks[0], marks[-1]) for marks in told["written"])
    for (first, last), (sent_first, sent_last) in zip(sorted(times), written, strict=True):
        row.error[shape].append((sent_last - sent_first) / (last - first) - 1)
    if shape == "llama":
        row.chunks_per_s = sum(len(marks) for marks in told["due"]) / SECONDS
        row.slip += [
            (due[-1] - due[0]) / (marks[-1] - marks[0]) - 1
            for due, marks in zip(told["due"], told["written"], strict=True)
        ]


async def _awaited(
    client: Callable[[int, int, int], Awaitable[Times]], port: int, streams: int, tokens: int
) -> Times:
    return await client(port, streams, tokens)


def table(rows: list[Row]) -> str:
    """Return the figures as a table in Markdown."""
    heading = (
        "| streams | tokens/s, each | tokens a chunk | chunks/s | server's slip | **rate error**, median "
        "| worst | `openai` loop, worst | **CPU a token** | `openai` loop |"
    )
    lines = [
        heading,
        "| ---: | ---: | :---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        median = statistics.median(map(abs, row.error["llama"]))
        other = max(map(abs, row.error["openai"]))
        cpu = {shape: statistics.median(values) for shape, values in row.cpu_us.items()}
        lines.append(
            f"| {row.streams} | {row.rate:,} | {row.size} | {row.chunks_per_s:,.0f} "
            f"| {max(map(abs, row.slip)):.4%} | {median:.4%} | {row.worst:.4%} | {other:.4%} "
            f"| {cpu['llama']:.1f} µs | {cpu['openai']:.1f} µs |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Return where and when the figures were taken."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    model = names[0] if names else platform.machine()
    load = psutil.getloadavg()[0]
    return (
        f"{model}, {psutil.cpu_count()} cores, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, load average {load:.1f} when it began."
    )


def main() -> int:
    """Measure every setting, print the table, and say whether the client is exact enough."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="times each setting is measured")
    parser.add_argument("--quick", action="store_true", help="the slowest and the fastest schedule only")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    where = machine()
    rates = (RATES[0], RATES[-1]) if given.quick else RATES
    rows = [Row(streams, rate, size) for streams, rate, size in product(STREAMS, rates, SIZES)]
    with server() as place:
        for shape in CLIENTS:  # the first use of each loads more code
            measure(Row(1, RATES[-1], "1"), place, shape, seed=0)
        for number, row in enumerate(rows, start=1):
            print(f"{number}/{len(rows)}: {row.streams} × {row.rate} tokens/s", file=sys.stderr, flush=True)
            for seed in range(given.rounds):
                for shape in CLIENTS:
                    measure(row, place, shape, seed)
    worst = max(row.worst for row in rows)
    exact = worst <= ALLOWED
    verdict = f"Worst error of a decode rate: {worst:.4%}; allowed: {ALLOWED:.1%}."
    text = f"{where}\n\n{table(rows)}\n\n{verdict}"
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
