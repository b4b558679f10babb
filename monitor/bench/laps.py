"""Laps: what is asked together, and asked again together when an answer of it is spoiled.

At one stream a lap is a single prompt, above that all prompts of the session (`monitor/bench/streams.py`).
An answer is *spoiled* when its times are worth nothing: it was read late, or the GPU was slowed down or
shared meanwhile. Above one stream each answer is judged by its own stretch of time, and the whole lap is
asked again: at another load it would be another measurement, and what an engine counts only for all answers
together can only be had of all of them. The lap with the fewest spoiled answers counts, of equal ones the
last; nothing of the others is kept, neither samples nor counts nor energy. What stays contaminated is told
with the session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

from monitor.bench import probe, streams
from monitor.bench.client import record
from monitor.bench.counters import Counts, read_counts, renamed
from monitor.bench.server import Server
from monitor.bench.tape import Tape, decode
from monitor.domain import Prompt
from monitor.engines.answers import check_status, refuse
from monitor.engines.base import Completion
from monitor.errors import EngineCrashError, EngineError
from monitor.gpu.watch import NoWatch, Stretch

PAGE_S = 10.0
_REPLY_BYTES = 2**20
_REPLY_BYTES_PER_TOKEN = 8192  # a chunk of a chat with timings takes about 700
_TRIES = 3
"""How often a lap is asked of which an answer is spoiled."""
_LATE_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt, asked for the so manieth time in its session."""

    prompt: Prompt
    repeat: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; times on the monotonic clock."""

    question: Question
    sent_s: float
    ended_s: float
    completion: Completion


@dataclass(frozen=True, slots=True)
class Lap:
    """What was asked together, answered."""

    replies: tuple[Reply, ...]
    stretches: tuple[Stretch, ...]
    """What the GPU did during each reply."""
    energy_j: float | None
    counted: Counts | None
    """What the server's counters rose by."""

    @property
    def spoiled(self) -> int:
        """Return how many answers have times that are worth nothing."""
        pairs = zip(self.replies, self.stretches, strict=True)
        return sum(bool(stretch.contaminated_by) or _read_late(one.completion) for one, stretch in pairs)


class Asker:
    """Asks one server, and counts with it."""

    def __init__(self, server: Server, watch: NoWatch) -> None:
        self.asked_again = 0
        self.renamed: str | None = None
        """A counter of speculation under a name that nobody here knows."""
        self._server, self._watch = server, watch
        self._dialect, self._check = server.dialect, server.setup.check
        self._before: Counts | None = None

    async def warm_up(self, prompts: Sequence[Prompt]) -> None:
        """Have the first prompts answered and throw it away; each of several streams gets one."""
        count = self._check.warmup_prompts
        if self._check.concurrency == 1:
            for prompt in prompts[:count]:
                await self._ask([Question(prompt, 0)])
        elif count and prompts:
            first = islice(cycle(prompts), max(count, self._check.concurrency))
            await self._ask([Question(prompt, 0) for prompt in first])
        self._before = await self._counts()

    async def measured(self, questions: Sequence[Question]) -> Lap:
        """Ask until no answer is spoiled, or often enough; return the lap that counts."""
        best = lap = await self._lap(questions)
        for _ in range(1, _TRIES):
            if not lap.spoiled:
                break
            self.asked_again += len(questions)
            lap = await self._lap(questions)
            if lap.spoiled <= best.spoiled:
                best = lap
        return best

    async def _lap(self, questions: Sequence[Question]) -> Lap:
        mark = self._watch.mark()
        tapes = await self._record_all(questions)
        whole = self._watch.since(mark)
        replies = self._replies(questions, tapes)
        after = await self._counts()
        counted = after.since(self._before) if after is not None else None
        self._before = after
        # Alone, an answer has the looks right before and after it to itself.
        stretches = (
            [whole]
            if len(replies) == 1
            else [self._watch.between(one.sent_s, one.ended_s) for one in replies]
        )
        return Lap(replies, tuple(stretches), whole.energy_j, counted)

    async def _ask(self, questions: Sequence[Question]) -> tuple[Reply, ...]:
        return self._replies(questions, await self._record_all(questions))

    async def _record_all(self, questions: Sequence[Question]) -> list[Tape]:
        jobs = [partial(self._record, question) for question in questions]
        lengths = [question.prompt.max_tokens for question in questions]
        return await streams.keep_busy(jobs, lengths, streams=self._check.concurrency)

    async def _record(self, question: Question) -> Tape:
        request = self._dialect.request(question.prompt, self._check)
        with _named(question.prompt):
            tape = await record(
                self._server.address + request.path,
                request.body,
                deadline_s=self._check.request_timeout_s,
                max_bytes=_REPLY_BYTES + _REPLY_BYTES_PER_TOKEN * question.prompt.max_tokens,
            )
        if not tape.says_ok:
            # It ends the session: other streams are neither waited for nor disturbed.
            self._reply(question, tape)
        return tape

    def _replies(self, questions: Sequence[Question], tapes: Sequence[Tape]) -> tuple[Reply, ...]:
        """Take the tapes apart: not before all have ended."""
        return tuple(self._reply(*pair) for pair in zip(questions, tapes, strict=True))

    def _reply(self, question: Question, tape: Tape) -> Reply:
        with _named(question.prompt):
            answer = decode(tape)
            check_status(answer.status, answer.text)
            completion = self._dialect.read(answer.events, question.prompt, self._check)
            if completion.first_s < answer.sent_s:
                raise refuse("its first token came before the request was sent")
        return Reply(question, answer.sent_s, answer.ended_s, completion)

    async def _counts(self) -> Counts | None:
        """Return what the server has counted so far, None when it has no such counters."""
        page = await probe.get(self._server.address + self._dialect.metrics_path, deadline_s=PAGE_S)
        if page.status == 0:
            what = "The server answers requests, but not any more when asked for its counters."
            raise EngineCrashError(what, kept="nothing of this session.", advice="see the engine's log.")
        if not page.ok:
            return None
        self.renamed = renamed(page.text, self._dialect.series)
        return read_counts(page.text, self._dialect.series)


@contextmanager
def _named(prompt: Prompt) -> Iterator[None]:
    """Have an error of the engine say at which prompt it was."""
    try:
        yield
    except EngineError as error:
        error.what = f"{error.what.rstrip('.')} (prompt {prompt.id!r} of {prompt.workload!r})."
        raise


def _read_late(completion: Completion) -> bool:
    """Tell whether this process did not run while tokens came, so that it does not know when they came.

    On a machine where engine and monitor share few cores that happens; the whole answer is then read at once.
    """
    if completion.server_decode_tps is None or completion.n == completion.n_first:
        return False
    server_s = (completion.n - completion.n_first) / completion.server_decode_tps
    seen_s = completion.last_s - completion.first_s
    return not server_s / _LATE_FACTOR <= seen_s <= server_s * _LATE_FACTOR
