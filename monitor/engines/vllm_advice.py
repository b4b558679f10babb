"""What a version of vLLM makes of a command line: refused, ignored, deprecated, another default, a trap.

What a version takes comes from `monitor.engines.vllm_flags`. How it reads its arguments is that of
`argparse` with vLLM's additions: `--a_b` is `--a-b`, `--name=value` and an unambiguous beginning of a name
are taken, and `--speculative-config.method mtp` sets one key of a JSON option.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

from monitor.engines import vllm_flags
from monitor.engines.advice import Advice, Leads, in_order
from monitor.engines.command_line import CommandLine
from monitor.engines.vllm_flags import Entry, Options

_SPECULATIVE = "--speculative-config"
_PER_REQUEST = "--per-request-spec-decode-metrics"
_NUMBER = re.compile(r"-[\d.]")
_DEEP_GEMM = "VLLM_USE_DEEP_GEMM"
_DEEP_GEMM_SINCE = Version("0.24")  # on consumer and workstation cards of the Blackwell generation
_FP8 = re.compile(r"fp-?8", re.IGNORECASE)
_GEMMA, _QWEN = re.compile(r"gemma-?4", re.IGNORECASE), re.compile(r"qwen3", re.IGNORECASE)


@dataclass(slots=True)
class _Read:
    """A command as one version reads it."""

    options: Options
    command: CommandLine
    version: Version
    given: dict[str, str | None] = field(default_factory=dict)
    """Option, by its own name → value, the last one; None of a switch."""
    written: dict[str, str] = field(default_factory=dict)
    model: str = ""
    speculation: dict[str, Any] | None = None
    found: list[Advice] = field(default_factory=list)

    def tell(self, leads: Leads, kind: str, option: str, text: str, advice: str = "") -> None:
        """Add a finding."""
        self.found.append(Advice(leads, kind, option, text, advice))


def advise(command: CommandLine, options: Options, version: Version) -> list[Advice]:
    """Return what is to be said of `command` on `version`; `options` are its own or the nearest known."""
    read = _Read(options, command, version)
    _read_arguments(read)
    _read_variables(read)
    _read_speculation(read)
    for rule in _RULES:
        rule(read)
    return in_order(read.found)


def changes(
    command: CommandLine, old: Options, new: Options, versions: tuple[Version, Version]
) -> list[Advice]:
    """Return what moves under the command: defaults, and whose code speculates."""
    read = _Read(new, command, versions[1])
    _read_arguments(read)
    _read_speculation(read)
    found = []
    if read.speculation is not None:
        for change in vllm_flags.SPECULATION_CHANGES:
            if versions[0] < change.version <= versions[1]:
                text = f"Since {change.version} {change.text}."
                found.append(Advice(Leads.NOTE, "changed", _SPECULATIVE, text, change.advice, new=True))
    before = {entry.name: entry.default for entry in old.options.values()}
    for name, entry in {entry.name: entry for entry in new.options.values()}.items():
        was, now = before.get(name), entry.default
        # What is written out as Python's own text of an object says nothing of what is in effect.
        if name in read.given or was is None or now is None or was == now or "(" in was + now:
            continue
        text = (
            f"{name} is not given, and its default is {now} in {new.version}; it was {was} in {old.version}."
        )
        found.append(Advice(Leads.NOTE, "default", name, text, "write it out", new=True))
    return in_order(found)


# ---------------------------------------------------------------------------------------------
# Reading


def _read_arguments(read: _Read) -> None:
    arguments = list(read.command.arguments)
    while arguments:
        word = arguments.pop(0)
        if not _is_name(word):
            read.model = read.model or word
            continue
        name, has_value, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        stem, _, key = name.partition(".")
        entry = read.options.options.get(stem) or _abbreviated(read.options, stem)
        if entry is None:
            if arguments and not _is_name(arguments[0]) and not has_value:
                arguments.pop(0)
            _tell_unknown(read, word, stem)
            continue
        if not entry.switch and not has_value:
            if not arguments:
                read.tell(Leads.REFUSED, "value", word, f"{word} stands last and lacks its value.")
                continue
            value = arguments.pop(0)
        if entry.choices and value not in entry.choices and "$" not in value and not entry.switch:
            near = _near(value, entry.choices)
            advice = f"did you mean {near}?" if near else f"one of {', '.join(entry.choices)}"
            text = f"{name} knows no {value!r} in {read.options.version}; the server ends and says so."
            read.tell(Leads.REFUSED, "value", f"{name} {value}", text, advice)
        if entry.deprecated:
            read.tell(Leads.NOTE, "deprecated", name, f"{name} still works and is on its way out.")
        if key:
            earlier = read.given.get(entry.name) or "{}"
            value = json.dumps({**_json(earlier), key.replace("-", "_"): _plain(value)})
        read.given[entry.name] = None if entry.switch else value
        read.written[entry.name] = name
    read.model = read.given.get("--model") or read.model


def _read_variables(read: _Read) -> None:
    known = read.options.plain["variable"]
    for name, _ in read.command.variables:
        if name.startswith("VLLM_") and name not in known:
            near = _near(name, known)
            text = f"{name} is read by nothing in {read.options.version}; the server starts all the same."
            read.tell(
                Leads.SILENT, "ignored", name, text, f"did you mean {near}?" if near else "leave it out"
            )


def _read_speculation(read: _Read) -> None:
    text = read.given.get(_SPECULATIVE)
    if text is None or "$" in text:
        return
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        said = f"{_SPECULATIVE} is no JSON object, and the server ends; look at the quotes of the shell."
        read.tell(
            Leads.REFUSED, "value", _SPECULATIVE, said, '\'{"method": "mtp", "num_speculative_tokens": 3}\''
        )
        return
    read.speculation = value
    keys, methods = read.options.plain["key"], read.options.plain["method"]
    for key in value:
        _check_key(read, key, keys)
    method = value.get("method")
    if isinstance(method, str):
        _check_method(read, method, methods)
    rejection = value.get("rejection_sample_method")
    rejections = read.options.plain["rejection"]
    if (
        isinstance(rejection, str)
        and rejection not in rejections
        and not _past_table(read, vllm_flags.ADDED_REJECTIONS.get(rejection))
    ):
        said = (
            f"rejection_sample_method knows no {rejection!r} in {read.options.version}; it was renamed twice."
        )
        advice = f"one of {', '.join(sorted(rejections))}"
        read.tell(Leads.REFUSED, "value", f"rejection_sample_method {rejection}", said, advice)


def _check_key(read: _Read, key: str, keys: Collection[str]) -> None:
    option = f"{_SPECULATIVE} {key}"
    if key in vllm_flags.REMOVED_KEYS:
        since, advice = vllm_flags.REMOVED_KEYS[key]
        if read.version >= since:
            text = f"The key {key} was removed in {since}, and an unknown key stops the start."
            read.tell(Leads.REFUSED, "gone", option, text, advice)
        return
    added = vllm_flags.ADDED_KEYS.get(key)
    if added is not None and read.version < added:
        text = f"The key {key} came with {added}, and an unknown key stops the start."
        read.tell(Leads.REFUSED, "not yet", option, text, f"leave it out, or take {added} or newer")
    elif key not in keys and not _past_table(read, added):
        later = [e.first for e in vllm_flags.entries() if (e.kind, e.name) == ("key", key)]
        near = _near(key, keys)
        text = f"{read.options.version} knows no key {key}, and an unknown key stops the start."
        advice = f"{later[0]} has it" if later else f"did you mean {near}?" if near else "leave it out"
        read.tell(Leads.REFUSED, "not yet" if later else "unknown", option, text, advice)


def _check_method(read: _Read, method: str, methods: Collection[str]) -> None:
    option = f"method {method}"
    added, removed = vllm_flags.ADDED_METHODS.get(method), vllm_flags.REMOVED_METHODS.get(method)
    if removed is not None and read.version >= removed:
        text = f"The method {method} was removed in {removed}."
        read.tell(Leads.REFUSED, "gone", option, text, "set another one")
    elif added is not None and read.version < added:
        text = f"The method {method} came with {added}."
        read.tell(Leads.REFUSED, "not yet", option, text, "set mtp, which is the name of all of them")
    elif method not in methods and not _past_table(read, added):
        near = _near(method, methods)
        text = f"{read.options.version} knows no method {method!r}; the server ends and says so."
        read.tell(Leads.REFUSED, "value", option, text, f"did you mean {near}?" if near else "set mtp")
    elif method.endswith("_mtp"):
        text = f"The method {method} is an older name, taken for mtp with a warning."
        read.tell(Leads.NOTE, "deprecated", option, text, 'write "method": "mtp"')


def _past_table(read: _Read, added: Version | None) -> bool:
    """Say whether a version has what was read to have come after the table ends."""
    return added is not None and read.options.version < added <= read.version


def _tell_unknown(read: _Read, written: str, name: str) -> None:
    here, past = read.options.version, vllm_flags.history(name)
    added = vllm_flags.ADDED_OPTIONS.get(name)
    if _past_table(read, added):
        return
    if added is not None and here < added:
        text = f"{written} came later: {added} has it, {here} does not; the server ends."
        read.tell(Leads.REFUSED, "not yet", written, text, f"leave it out, or take {added} or newer")
    elif past and min(entry.first for entry in past) > here:
        first = added or min(entry.first for entry in past)
        text = f"{written} came later: {first} has it, {here} does not; the server ends."
        read.tell(Leads.REFUSED, "not yet", written, text, f"leave it out, or take {first} or newer")
    elif past:
        last = max(entry.last for entry in past)
        text = f"{written} is gone: {last} had it, {here} does not; the server ends."
        read.tell(Leads.REFUSED, "gone", written, text, "leave it out")
    else:
        near = _near(name, read.options.options)
        text = f"No version that is known takes {written}; the server ends."
        read.tell(Leads.REFUSED, "unknown", written, text, f"did you mean {near}?" if near else "")


# ---------------------------------------------------------------------------------------------
# What no parser says


def _method_missing(read: _Read) -> None:
    if read.speculation is not None and "method" not in read.speculation:
        text = (
            "The speculative configuration names no method: what it is taken for depends on the version; "
            "older releases took Gemma's assistant for a plain draft model."
        )
        read.tell(Leads.SILENT, "trap", "method", text, 'write "method": "mtp"')


def _length_missing(read: _Read) -> None:
    if read.speculation is not None and "num_speculative_tokens" not in read.speculation:
        text = "num_speculative_tokens is not given, and follows what the model's configuration says."
        read.tell(Leads.NOTE, "trap", "num_speculative_tokens", text, "write it out")


def _gemma(read: _Read) -> None:
    if read.speculation is None or not _GEMMA.search(read.model) or "model" in read.speculation:
        return
    text = "The MTP head of Gemma 4 is a model of its own, and the command names none."
    read.tell(Leads.NOTE, "trap", "model", text, 'add "model": "google/gemma-4-31B-it-assistant"')


def _synthetic(read: _Read) -> None:
    if (read.speculation or {}).get("rejection_sample_method") == "synthetic":
        text = "A fixed share of the drafts is accepted whatever they are: the text means nothing."
        read.tell(Leads.SILENT, "trap", "rejection_sample_method", text, "leave it out to serve")


def _metrics_without_speculation(read: _Read) -> None:
    if _PER_REQUEST in read.given and read.speculation is None and _SPECULATIVE not in read.given:
        text = f"Without {_SPECULATIVE} the server does not start with {_PER_REQUEST}."
        read.tell(Leads.REFUSED, "trap", _PER_REQUEST, text, "leave it out, or speculate")


def _prefix_cache(read: _Read) -> None:
    if read.speculation is None or "--enable-prefix-caching" in read.given:
        return
    text = "Prefix caching is left to the version: times to a first token depend on what came before."
    if _QWEN.search(read.model):
        text += " On hybrid models such as this, MTP has taken its hits to zero (issue 54360)."
    read.tell(
        Leads.NOTE, "trap", "--enable-prefix-caching", text, "say --enable-… or --no-enable-prefix-caching"
    )


def _streams(read: _Read) -> None:
    if read.speculation is not None and "--max-num-seqs" not in read.given:
        text = "--max-num-seqs is not given: many requests at once leave speculation little to gain."
        read.tell(Leads.NOTE, "trap", "--max-num-seqs", text, "say how many you serve, to compare versions")


def _deep_gemm(read: _Read) -> None:
    given = {name for name, _ in read.command.variables}
    if not _FP8.search(read.model) or _DEEP_GEMM in given or read.version < _DEEP_GEMM_SINCE:
        return
    text = (
        "Dense FP8 layers are computed by DeepGEMM where vLLM takes it for able. On cards such as the "
        "RTX PRO 6000 and RTX 5090, releases since 0.24 have failed with it while they load "
        "(issues 47436, 51884)."
    )
    advice = f"on such a card set {_DEEP_GEMM}=0, and keep it from one version to the next"
    read.tell(Leads.NOTE, "trap", _DEEP_GEMM, text, advice)


_RULES: tuple[Callable[[_Read], None], ...] = (
    _method_missing,
    _synthetic,
    _metrics_without_speculation,
    _gemma,
    _length_missing,
    _prefix_cache,
    _streams,
    _deep_gemm,
)


# ---------------------------------------------------------------------------------------------
# Names and values


def _is_name(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NUMBER.match(word)


def _abbreviated(options: Options, name: str) -> Entry | None:
    """Return the one option that a beginning of its name stands for."""
    if not name.startswith("--"):
        return None
    found = {entry.name: entry for known, entry in options.options.items() if known.startswith(name)}
    return next(iter(found.values())) if len(found) == 1 else None


def _near(word: str, known: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), None)


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
