"""One session: one server of one arm, all prompts, and nothing left of it afterwards.

A sample's times come from our own clock and its counts from the engine (`docs/judging.md`, "Metrics"). State
pages are read between the answers, never during one, so they cost no time that is measured. What is asked at
the same time, and what is asked again, is told in `monitor/bench/laps.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.bench import load, margins, probe, streams
from monitor.bench.counters import Counts
from monitor.bench.laps import PAGE_S, Asker, Lap, Question, Reply
from monitor.bench.margins import Inquiry
from monitor.bench.server import Server, cannot_prepare, free_port
from monitor.checks.scoring import is_right
from monitor.domain import Arm, Check, Environment, Margin, Prompt, Role, Sample, Session
from monitor.engines.answers import refuse
from monitor.engines.base import Engine, Setup
from monitor.errors import EngineError
from monitor.gpu.watch import NoWatch, Stretch, Watched
from monitor.proc import inherited


def measure_session(
    *,
    check: Check,
    engine: Engine,
    environment: Environment,
    model: Path,
    draft_model: Path | None,
    arm: Arm,
    number: int,
    block: int,
    order: int,
    role: Role,
    prompts: Sequence[Prompt],
    log: Path,
    scratch: Path,
    on_sample: Callable[[Sample], None] | None = None,
    caches: Path | None = None,
    watch: NoWatch | None = None,
    inquiry: Inquiry | None = None,
) -> tuple[Session, tuple[Sample, ...]]:
    """Start a server for `arm`, have it answer `prompts` `check.repeats` times, end it; return what was seen.

    The first `check.warmup_prompts` prompts are asked beforehand and not counted, above one stream as many as
    there are streams. A prompt is asked again when its time and the server's own differ by more than a factor
    of two (nobody looked at the clock then), and when the GPU was slowed down or used by others meanwhile.
    Must not be called from a running event loop.

    Args:
        check: what is measured; `check.concurrency` requests are kept under way.
        engine: the one that `check.engine` names.
        environment: where the engine is installed.
        model: file or folder of the weights.
        draft_model: of the MTP head, where it is a model of its own.
        arm: whether to serve with speculation.
        number: of the session in its run.
        block: the session's.
        order: within the block.
        role: why it is run.
        prompts: those of the tier, in the order of the samples; above one stream the longest are asked first.
        log: takes what the engine prints, bounded.
        scratch: a private folder is made in it for the engine and removed again.
        on_sample: told each sample as it comes, between two laps.
        caches: kept folder for what compilers leave for this environment's next start; None: nothing is kept.
        watch: over the GPU that is measured on.
        inquiry: what a baseline server is to be asked for once everything is measured.

    Raises:
        ConfigurationError: when the check holds settings the engine does not know.
        EngineError: a subclass that says what the engine did, with `log_tail`.
        GpuFaultError: when the GPU is lost or its memory errs.
        HostError: when the engine's processes cannot be started or ended.
        DiskFullError: when there is no room for the engine's files.

    """
    with _private_folder(scratch) as folder:
        draft = draft_model.absolute() if draft_model is not None else None
        # The engine runs in another folder.
        kept = caches.absolute() if caches is not None else None
        setup = Setup(check, arm, environment, model.absolute(), draft, folder, free_port(), log, kept)
        started_at = datetime.now(UTC)
        watch = watch or NoWatch()
        server = Server(engine, setup, log, watch.device)
        watch.attend(server.owns)
        try:
            work = _Work(server, number, on_sample or (lambda _: None), watch, inquiry)
            effective = asyncio.run(work.run(prompts))
        except EngineError as error:
            explained = server.explain(error)
            if explained is error:
                raise
            raise explained from error
        finally:
            server.stop()
    session = Session(
        session=number,
        arm=arm,
        block=block,
        order=order,
        role=role,
        started_at=started_at,
        startup_s=server.startup_s,
        gpu_memory_bytes=work.gpu.gpu_memory_bytes,
        energy_j=work.energy_j,
        effective=effective,
        gpu=work.gpu.facts,
        margins=work.margins,
    )
    return session, tuple(work.samples)


class _Work:
    """The answers of one server."""

    def __init__(
        self,
        server: Server,
        number: int,
        on_sample: Callable[[Sample], None],
        watch: NoWatch,
        inquiry: Inquiry | None,
    ) -> None:
        self.samples: list[Sample] = []
        self.margins: tuple[Margin, ...] | None = None
        self.gpu = Watched()
        self.energy_j: float | None = None
        self._watch = watch
        self._inquiry = inquiry
        self._server = server
        self._asker = Asker(server, watch)
        self._dialect, self._setup, self._check = server.dialect, server.setup, server.setup.check
        self._number = number
        self._on_sample = on_sample
        self._cached_tokens = 0
        self._added: Counts | None = None
        self._contaminated: list[Stretch] = []
        self._spans: list[streams.Span] = []
        self._started = load.read(server.pid)

    async def run(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Ask everything and return the session's flat facts; the samples stand in `samples`."""
        await self._server.wait_until_ready()
        documents = await self._documents()
        await self._asker.warm_up(prompts)
        load_before = load.read(self._server.pid)
        measured_from = self._watch.mark()
        asked = [Question(prompt, repeat) for repeat in range(self._check.repeats) for prompt in prompts]
        for questions in [asked] if self._check.concurrency > 1 else [[one] for one in asked]:
            self._keep(await self._asker.measured(questions))
        self.gpu = _with_contamination(self._watch.watched(measured_from), self._contaminated)
        self._refuse_unread_counters()
        load_after = load.read(self._server.pid)
        memory_bytes = load.memory_bytes(self._server.pid)
        # A very short session is told by its whole life, with the start.
        others = _others(load_before, load_after)
        if others is None:
            others = _others(self._started, load_after)
        facts = {
            **self._dialect.effective(documents),
            **self._server.engine.facts(self._setup),
            "engine": self._server.engine.name,
            **self._inherited(),
            "cached_prompt_tokens": self._cached_tokens,
            **_counter_facts(self._added),
            "counter.asked_again": self._asker.asked_again,
            **self._stream_facts(),
            **({} if others is None else {load.FACT: round(others, 3)}),
            **({} if memory_bytes is None else {load.MEMORY_FACT: memory_bytes}),
        }
        return facts | await self._inquire(prompts)

    def _inherited(self) -> dict[str, str]:
        """Return what the engine got of this machine; one that runs already, or in an image, got nothing."""
        return inherited(on_gpu=bool(self._watch.device)) if self._server.inherits else {}

    async def _inquire(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Ask for margins, last of all: nothing that is measured comes after it."""
        if self._inquiry is None:
            return {}
        self.margins, facts = await margins.ask(self._server, self._inquiry, prompts, self.samples)
        return facts

    def _keep(self, lap: Lap) -> None:
        """Make samples of a lap."""
        self._contaminated += [stretch for stretch in lap.stretches if stretch.contaminated_by]
        if lap.energy_j is not None:
            self.energy_j = (self.energy_j or 0.0) + lap.energy_j
        if lap.counted is not None:
            self._added = lap.counted if self._added is None else self._added.plus(lap.counted)
        for reply in lap.replies:
            found = reply.completion
            self._cached_tokens += found.cached_tokens or 0
            self._spans.append(streams.Span(reply.sent_s, found.first_s, found.last_s))
            # Above one stream the counters of the server cannot be shared out among the answers.
            sample = self._sample(reply, lap.counted if len(lap.replies) == 1 else None)
            self.samples.append(sample)
            self._on_sample(sample)

    def _stream_facts(self) -> dict[str, Any]:
        if self._check.concurrency == 1:
            return {}
        share = streams.full_share(self._spans, self._check.concurrency)
        return {} if share is None else {streams.FACT: round(share, 3)}

    def _sample(self, reply: Reply, counted: Counts | None) -> Sample:
        question, completion = reply.question, reply.completion
        drafted, accepted = completion.drafted, completion.accepted
        if drafted is None and counted is not None:
            drafted, accepted = counted.drafted, counted.accepted
        steps = completion.n - completion.n_first - (accepted or 0)
        if steps < 0:
            raise refuse(f"{accepted} draft tokens accepted, but only {completion.n} tokens in all")
        return Sample(
            session=self._number,
            arm=self._setup.arm,
            workload=question.prompt.workload,
            prompt=question.prompt.id,
            repeat=question.repeat,
            n=completion.n,
            n_first=completion.n_first,
            ttft_s=completion.first_s - reply.sent_s,
            decode_s=completion.last_s - completion.first_s,
            prompt_tokens=completion.prompt_tokens,
            drafted=drafted,
            accepted=accepted,
            steps=steps,
            accepted_per_position=_per_position(counted),
            stop=completion.stop,
            server_decode_tps=completion.server_decode_tps,
            token_ids=completion.token_ids,
            tokens_sha256=completion.tokens_sha256,
            correct=is_right(completion.text, truth) if (truth := question.prompt.answer) else None,
        )

    def _refuse_unread_counters(self) -> None:
        """Raise EngineReplyError when it counts its drafts under names that nobody here knows."""
        if self._asker.renamed is not None and any(sample.drafted is None for sample in self.samples):
            raise refuse(
                f"metric missing: it counts speculation as {self._asker.renamed!a} and not as "
                f"{self._dialect.series.drafted!a}, so nothing is known of its drafts"
            )

    async def _documents(self) -> dict[str, Any]:
        documents = {}
        for path in self._dialect.fact_paths:
            page = await probe.get(self._server.address + path, deadline_s=PAGE_S)
            try:
                documents[path] = json.loads(page.text) if page.ok else None
            except (ValueError, RecursionError):
                documents[path] = None
        return {path: document for path, document in documents.items() if document is not None}


def _per_position(counted: Counts | None) -> tuple[int, ...] | None:
    if counted is None or not counted.drafted or not counted.accepted_per_position:
        return None
    return counted.accepted_per_position


def _counter_facts(total: Counts | None) -> dict[str, Any]:
    if total is None:
        return {}
    places = {f"counter.accepted.{i}": n for i, n in enumerate(total.accepted_per_position)}
    return {
        "counter.drafts": total.drafts,
        "counter.drafted": total.drafted,
        "counter.accepted": total.accepted,
        **places,
    }


def _with_contamination(seen: Watched, stretches: Sequence[Stretch]) -> Watched:
    """Add how many answers stayed contaminated although they were measured again, and by what."""
    if not stretches:
        return seen
    by = sorted({text for stretch in stretches for text in stretch.contaminated_by})
    return replace(seen, facts={**(seen.facts or {}), "contaminated": len(stretches), "contaminated_by": by})


def _others(before: load.Usage | None, after: load.Usage | None) -> float | None:
    return after.others_since(before) if before is not None and after is not None else None


@contextmanager
def _private_folder(scratch: Path) -> Iterator[Path]:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="session-", dir=scratch.absolute()))
    except OSError as error:
        raise cannot_prepare(scratch, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
