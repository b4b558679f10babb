"""What no help page of llama-server says: commands that start, and do not do what they seem to say."""

from __future__ import annotations

import re
from collections.abc import Callable

from monitor.engines import llama_flags
from monitor.engines.advice import Leads
from monitor.engines.llama_reading import TYPE, Read

MTP = "draft-mtp"
SPECULATION = re.compile(r"--spec-|--(?:model|hf-repo)-draft$")
_DRAFT_LENGTH = "--spec-draft-n-max"
_DRAFT_MODEL = ("--spec-draft-model", "--spec-draft-hf")
_GEMMA = re.compile(r"gemma-?4", re.IGNORECASE)
_GEMMA_ABSENT, _GEMMA_THERE = 9538, 9713
"""The last observed build without `gemma4-assistant` in it, and the first with it."""


def tell_traps(read: Read, build: int) -> None:
    """Add what is to be said of a command on `build` beside what is wrong with its words."""
    for rule in _RULES:
        rule(read, build)


def _speculation_without_type(read: Read, _build: int) -> None:
    drafting = [g for g in read.given if SPECULATION.match(g.state.option) and g.state.option != TYPE]
    if read.types() or not drafting:
        return
    names = ", ".join(dict.fromkeys(given.written for given in drafting))
    has_model = read.get(*_DRAFT_MODEL) is not None
    if read.get(TYPE) is not None:
        text = f"--spec-type is none, so nothing is drafted and {names} does nothing."
    elif has_model:
        text = (
            f"{names} without --spec-type: whether the draft model is used depends on the build and on what "
            "the file says of itself; builds have loaded one and never used it (issue 25345)."
        )
    else:
        text = f"{names} without --spec-type: the server starts, drafts nothing and does not say so."
    read.tell(Leads.SILENT, "trap", TYPE, text, f"add --spec-type {MTP}")


def _mtp_before_it_was_there(read: Read, build: int) -> None:
    if MTP in read.types() and build < llama_flags.FIRST_MTP:
        text = f"{MTP} came with b{llama_flags.FIRST_MTP}; this build is older and ends when it starts."
        read.tell(Leads.REFUSED, "not yet", f"{TYPE} {MTP}", text, "take a newer build")


def _broken_builds(read: Read, build: int) -> None:
    for broken in llama_flags.BROKEN_BUILDS:
        if broken.first <= build <= broken.last and broken.types & set(read.types()):
            text = f"b{broken.first} to b{broken.last}: {broken.what} (issue {broken.issue})."
            read.tell(Leads.REFUSED, "broken", TYPE, text, f"take b{broken.last + 1} or newer")


def _draft_length(read: Read, build: int) -> None:
    if MTP not in read.types():
        return
    for earlier in llama_flags.EARLIER_DEFAULTS:
        state = read.options.by_name.get(earlier.name)
        if state is None or earlier.name != _DRAFT_LENGTH or read.get(earlier.name) is not None:
            continue
        about = "about " if earlier.about else ""
        now = earlier.default if build < earlier.before else state.entry.default
        text = (
            f"{earlier.name} is not given and is {now}; before {about}b{earlier.before} it was "
            f"{earlier.default}, and nothing said so when it moved (pull request {earlier.pull_request})."
        )
        read.tell(Leads.NOTE, "trap", earlier.name, text, "write it out, so that an upgrade cannot move it")


def _gemma(read: Read, build: int) -> None:
    if MTP not in read.types():
        return
    model, draft = read.get("--model", "--hf-repo"), read.get(*_DRAFT_MODEL)
    if model is None or not _GEMMA.search(model.value or ""):
        return
    if draft is None:
        text = "The MTP head of Gemma 4 is a file of its own, and the command names none."
        read.tell(Leads.NOTE, "trap", "--spec-draft-model", text, "give the assistant's file with -md")
    elif build <= _GEMMA_ABSENT:
        text = f"Gemma 4's assistant is not known to b{_GEMMA_ABSENT} and older; b{_GEMMA_THERE} knows it."
        read.tell(Leads.REFUSED, "not yet", draft.written, text, f"take b{_GEMMA_THERE} or newer")


def _synthetic(read: Read, _build: int) -> None:
    if given := read.get("--spec-synth-rates", "--spec-synth-len"):
        text = f"{given.written} accepts a fixed share of drafts whatever they are: the text means nothing."
        read.tell(Leads.SILENT, "trap", given.written, text, "leave it out to serve; it measures kernels")


def _streams(read: Read, _build: int) -> None:
    if read.get("--parallel") is None:
        text = f"-np is not given: auto is {llama_flags.AUTO_STREAMS} streams, which share the context of -c."
        read.tell(Leads.NOTE, "trap", "--parallel", text, "for one user -np 1; else say how many")


def _memory(read: Read, _build: int) -> None:
    fit = read.get("--fit")
    if "--fit" in read.options.by_name and (fit is None or fit.value != "off"):
        text = "-fit is on: what is not given is changed to what fits the memory that is free at the start."
        read.tell(Leads.NOTE, "trap", "--fit", text, "-fit off, with -c and -ngl written out")


def _prefix_cache(read: Read, _build: int) -> None:
    prompt, ram = read.get("--cache-prompt"), read.get("--cache-ram")
    if (prompt is None or "--no-" not in prompt.written) or (ram is None or ram.value != "0"):
        text = "Earlier prompts are kept and used again: times to a first token depend on what came before."
        advice = "to compare times: --no-cache-prompt --cache-ram 0; to serve, leave it on"
        read.tell(Leads.NOTE, "trap", "--cache-prompt", text, advice)


def _metrics(read: Read, build: int) -> None:
    if MTP not in read.types() or read.get("--metrics") is not None:
        return
    if build >= llama_flags.SPECULATIVE_METRICS:
        text = "--metrics is not given: what is drafted and accepted then shows in each answer only."
        read.tell(Leads.NOTE, "trap", "--metrics", text, "add --metrics, and watch llamacpp:spec_decode_*")


_RULES: tuple[Callable[[Read, int], None], ...] = (
    _speculation_without_type,
    _mtp_before_it_was_there,
    _broken_builds,
    _gemma,
    _synthetic,
    _draft_length,
    _streams,
    _memory,
    _prefix_cache,
    _metrics,
)
