"""Conditions that must hold before any number is believed.

A tripped guard whose outcome is `invalid` means that the two measurements cannot be compared or cannot be
right; it is never a statement about the release. Guards without an outcome only inform.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from monitor.domain import JUDGED_ARMS, Arm, Guard, Header, Sample, SampleSet, Session, Verdict
from monitor.judge import configuration, counts
from monitor.judge.configuration import shortened
from monitor.judge.metrics import (
    Cell,
    PromptKey,
    Table,
    contaminated_answers,
    others_share,
    tokens_after_first,
)
from monitor.judge.policy import JudgingPolicy

_SHOWN = 3  # examples named in a detail


@dataclass(frozen=True)
class Side:
    """One release's measurement as the guards see it."""

    name: str
    samples: SampleSet
    table: Table


def check_side(side: Side, policy: JudgingPolicy) -> list[Guard]:
    """Return the guards that one release's measurement must pass by itself."""
    return [
        _sessions(side),
        _busy(side, policy),
        _gpu_flags(side),
        _usable(side, policy),
        _count_sanity(side),
        _engine_counters(side),
        _server_rates(side, policy),
        _roofline(side),
        *_streams(side),
    ]


def check_pair(reference: Side, candidate: Side, policy: JudgingPolicy) -> list[Guard]:
    """Return the guards that decide whether two measurements may be compared at all."""
    old, new = reference.samples.header, candidate.samples.header
    return [
        _same("host", "measured on", old, new, ("host", "hardware_class")),
        _same("model", "served", old, new, ("model_sha256",)),
        _same("sampling", "sampled with", old, new, ("sampling", "concurrency")),
        _same_prompts(reference.table, candidate.table),
        _prompt_tokens(reference.table, candidate.table),
        _stops(reference.table, candidate.table),
        *(_divergence(reference.table, candidate.table, arm, policy) for arm in JUDGED_ARMS),
        _configuration(reference.samples, candidate.samples),
    ]


def _guard(name: str, found: Iterable[str], fine: str, outcome: Verdict | None = Verdict.INVALID) -> Guard:
    problems = list(found)
    if not problems:
        return Guard(name=name, tripped=False, detail=fine)
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return Guard(name=name, tripped=True, detail="; ".join(problems[:_SHOWN]) + more, outcome=outcome)


# --- one measurement -----------------------------------------------------------------------------


def _sessions(side: Side) -> Guard:
    table = side.table
    found = [f"the {side.name} has no complete {arm} session" for arm in JUDGED_ARMS if not table.of(arm)]
    if found:
        return _guard(f"sessions of the {side.name}", found, "")
    dropped = [f"session {number} lacks prompts and was left out" for number in table.dropped]
    fine = ", ".join(f"{len(table.of(arm))} {arm}" for arm in JUDGED_ARMS)
    return _guard(f"sessions of the {side.name}", dropped, f"{fine}, all complete", outcome=None)


def _busy(side: Side, policy: JudgingPolicy) -> Guard:
    """Tell of sessions during which other work took the host, so that their times are not the release's."""
    name, table = f"busy host ({side.name})", side.table
    shares = {s.session: others_share(s) for s in side.samples.sessions}
    slowed = {s.session: _slowed(s) for s in side.samples.sessions if contaminated_answers(s)}
    found = [
        f"session {number}: {slowed[number]}; it was left out"
        if number in slowed
        else f"session {number}: other work took {100 * shares[number]:.0f} % of the CPUs; it was left out"
        for number in table.disturbed
    ]
    if not table.busy_arms:
        worst = max((shares[s.session] for s in table.sessions if s.session in shares), default=0.0)
        return _guard(name, found, f"other work took at most {100 * worst:.0f} % of the CPUs", outcome=None)
    for arm in sorted(table.busy_arms):
        own = [slowed[s.session] for s in table.of(arm) if s.session in slowed]
        if own:
            found.append(f"{own[0]} in {arm} sessions, so their times decide nothing")
            continue
        least = min(shares[s.session] for s in table.of(arm))
        found.append(
            f"other work took {100 * least:.0f} % of the CPUs or more in every {arm} session "
            f"(allowed {100 * policy.busy_limit:.0f} %), so its times decide nothing"
        )
    return _guard(name, found, "", outcome=Verdict.INCONCLUSIVE)


def _slowed(session: Session) -> str:
    told = (session.gpu or {}).get("contaminated_by")
    by = told if isinstance(told, list) and told else ["it was not free"]
    answers = contaminated_answers(session)
    return f"the GPU was disturbed during {answers} answers ({', '.join(map(str, by))})"


_FLAG_SHARE = 0.01
"""Share of the looks at the GPU from which on a flag is told."""


def _gpu_flags(side: Side) -> Guard:
    """Inform about clocks that were held down by how the card is set up or cooled."""
    shares: dict[str, list[float]] = {}
    for session in side.samples.sessions:
        flags = (session.gpu or {}).get("flags")
        for flag, share in flags.items() if isinstance(flags, Mapping) else ():
            if isinstance(share, int | float):
                shares.setdefault(str(flag), []).append(float(share))
    found = [
        f"{flag} in up to {100 * max(values):.0f} % of a session ({len(values)} sessions)"
        for flag, values in shares.items()
        if max(values) >= _FLAG_SHARE
    ]
    watched = any(session.gpu for session in side.samples.sessions)
    fine = "nothing held them down" if watched else "no GPU was watched"
    return _guard(f"GPU clocks of the {side.name}", found, fine, outcome=None)


def _usable(side: Side, policy: JudgingPolicy) -> Guard:
    short = {
        f"{key[0]}/{key[1]} has under {policy.min_rate_tokens} tokens after its first chunk or no times"
        for session in side.table.sessions
        for key, cell in side.table.cells[session.session].items()
        if cell.log_rate is None
    }
    all_prompts = {key for s in side.table.sessions for key in side.table.cells[s.session]}
    nothing_left = len(short) == len(all_prompts)
    outcome = Verdict.INVALID if nothing_left and all_prompts else None
    return _guard(f"usable prompts of the {side.name}", sorted(short), "every prompt has a rate", outcome)


def _count_sanity(side: Side) -> Guard:
    found = [
        f"{sample.workload}/{sample.prompt} in session {sample.session}: {problem}"
        for sample in side.samples.samples
        if (problem := _impossible(sample, side.samples.header))
    ]
    return _guard(f"counts of the {side.name}", found, "possible and consistent")


def _impossible(sample: Sample, header: Header) -> str | None:
    drafted, accepted = sample.drafted or 0, sample.accepted or 0
    after = tokens_after_first(sample)
    slack = header.draft_length or 1
    problem = None
    if sample.n < 1 or after < 0:
        problem = f"{sample.n} tokens with {sample.n_first} in the first chunk"
    elif accepted > drafted:
        problem = f"{accepted} accepted of {drafted} drafted"
    elif accepted > sample.n:
        problem = f"{accepted} accepted of {sample.n} tokens"
    elif (
        sample.steps is not None
        and sample.accepted is not None
        and abs(sample.steps - (after - accepted)) > slack
    ):
        problem = f"{sample.steps} steps where {after - accepted} follow from the counts"
    elif (
        sample.accepted_per_position is not None and abs(sum(sample.accepted_per_position) - accepted) > slack
    ):
        problem = f"{sum(sample.accepted_per_position)} accepted by position, {accepted} in all"
    return problem


_ENGINE_COUNTERS = {"counter.drafted": "drafted", "counter.accepted": "accepted"}
"""Fact of a session (what the engine's own counters rose by) → the field of its samples that sums to it."""


def _engine_counters(side: Side) -> Guard:
    """Compare the samples' counts with the engine's own counters, where both are known."""
    found, compared = [], 0
    for session in side.samples.sessions:
        own = [s for s in side.samples.samples if s.session == session.session and s.drafted is not None]
        slack = (side.samples.header.draft_length or 1) * len(own)
        for fact, field in _ENGINE_COUNTERS.items():
            told = (session.effective or {}).get(fact)
            if not own or not isinstance(told, int | float):
                continue
            compared += 1
            counted = sum(getattr(sample, field) or 0 for sample in own)
            if abs(told - counted) > slack:
                found.append(
                    f"session {session.session}: {told:g} {field} by the engine, {counted} by its replies"
                )
    fine = "replies and counters agree" if compared else "the engine has no counters of its own"
    return _guard(f"engine counters of the {side.name}", found, fine)


def _server_rates(side: Side, policy: JudgingPolicy) -> Guard:
    """Compare the client's clock with the server's, where times may decide at all.

    On a host that others kept busy the client itself waits for a core, and its gap to the server says no more
    than that the host was busy; counts are not touched by it.
    """
    name = f"server rates of the {side.name}"
    found: list[str] = []
    informs: list[str] = []
    worst = 0.0
    for arm in JUDGED_ARMS:
        numbers = {session.session for session in side.table.of(arm)}
        gaps = [
            abs(math.log(tokens_after_first(sample) / sample.decode_s / sample.server_decode_tps))
            for sample in side.samples.samples
            if sample.session in numbers
            and sample.server_decode_tps
            and sample.decode_s
            and tokens_after_first(sample) >= policy.min_rate_tokens
        ]
        gap = median(gaps) if gaps else 0.0
        worst = max(worst, gap)
        if gap > policy.server_rate_tolerance:
            told = (
                f"{arm}: the server's own rate is {100 * gap:.1f} % off the client's "
                f"(allowed {100 * policy.server_rate_tolerance:.0f} %)"
            )
            (informs if arm in side.table.busy_arms else found).append(told)
    if found:
        return _guard(name, (*found, *informs), "")
    fine = f"within {100 * worst:.1f} % of the client's"
    return _guard(name, (f"{told}, on a busy host" for told in informs), fine, outcome=None)


def _roofline(side: Side) -> Guard:
    limit = side.samples.header.roofline_tokens_per_s
    if not limit:
        return _guard(f"roofline of the {side.name}", (), "not known for this check on this host")
    rates = [
        math.exp(cell.log_rate)
        for session in side.table.of(Arm.BASELINE)
        for cell in side.table.cells[session.session].values()
        if cell.log_rate is not None
    ]
    top = median(rates) if rates else 0.0
    found = [f"baseline {top:.0f} tokens/s is above what memory allows ({limit:.0f})"] if top > limit else []
    return _guard(f"roofline of the {side.name}", found, f"baseline at {100 * top / limit:.0f} % of it")


_FULL_SHARE = 0.7
"""Share of the decode time with all streams busy below which it is told."""


def _streams(side: Side) -> list[Guard]:
    """Inform, above one stream, about rates that are partly those of fewer streams."""
    wanted = side.samples.header.concurrency or 1
    told = {s.session: (s.effective or {}).get("streams.full_share") for s in side.table.sessions}
    shares = {number: share for number, share in told.items() if isinstance(share, int | float)}
    if wanted == 1 or not shares:
        return []
    found = [
        f"session {number}: all {wanted} streams were busy for only {100 * share:.0f} % of the decode time"
        for number, share in shares.items()
        if share < _FULL_SHARE
    ]
    fine = f"all {wanted} busy for {100 * min(shares.values()):.0f} % of the decode time or more"
    return [_guard(f"streams of the {side.name}", found, fine, outcome=None)]


# --- two measurements ----------------------------------------------------------------------------


def _same(name: str, verb: str, old: Header, new: Header, fields: tuple[str, ...]) -> Guard:
    found = []
    for field in fields:
        before, after = getattr(old, field), getattr(new, field)
        if before is not None and after is not None and before != after:
            found.append(f"reference {verb} {shortened(before)}, candidate {verb} {shortened(after)}")
    return _guard(name, found, "the same")


def _same_prompts(old: Table, new: Table) -> Guard:
    found, informs = [], []
    for arm in JUDGED_ARMS:
        before, after = old.prompts(arm), new.prompts(arm)
        if not before or not after or before == after:
            continue
        if before <= after or after <= before:  # a quick tier within a full one
            informs.append(f"{arm}: the {len(before & after)} prompts that both answered are compared")
        else:
            found.append(f"{arm}: {len(before ^ after)} prompts were answered by only one of the two")
    if found:
        return _guard("prompts", found, "")
    return _guard("prompts", informs, "the same", outcome=None)


def _shared(old: Table, new: Table, arm: Arm) -> dict[PromptKey, tuple[list[Cell], list[Cell]]]:
    """Return prompt → its cells in every session of an arm, (reference's, candidate's)."""
    common = old.prompts(arm) & new.prompts(arm)
    return {
        key: (
            [old.cells[s.session][key] for s in old.of(arm)],
            [new.cells[s.session][key] for s in new.of(arm)],
        )
        for key in sorted(common)
    }


def _prompt_tokens(old: Table, new: Table) -> Guard:
    found = []
    for arm in JUDGED_ARMS:
        for key, (before, after) in _shared(old, new, arm).items():
            seen = {cell.prompt_tokens for cell in (*before, *after)} - {None}
            if len(seen) > 1:
                found.append(
                    f"{key[0]}/{key[1]} was read as {' and '.join(map(str, sorted(seen, key=str)))} tokens"
                )
    return _guard("prompt tokens", dict.fromkeys(found), "every prompt is read as the same number of tokens")


def _stops(old: Table, new: Table) -> Guard:
    found = []
    for arm in JUDGED_ARMS:
        equal = counts.token_equal(old, new, arm, old.prompts(arm) & new.prompts(arm))
        for key, (before, after) in _shared(old, new, arm).items():
            seen = {cell.stops for cell in (*before, *after) if None not in cell.stops}
            if key in equal and len(seen) > 1:
                found.append(f"{arm} {key[0]}/{key[1]}: equal tokens, but another stop reason")
    return _guard("stop reasons", found, "equal where tokens are equal")


def _divergence(old: Table, new: Table, arm: Arm, policy: JudgingPolicy) -> Guard:
    shared = _shared(old, new, arm)
    equal = counts.token_equal(old, new, arm, frozenset(shared))
    known = {
        key
        for key, cells in shared.items()
        if None not in cells[0][0].tokens and None not in cells[1][0].tokens
    }
    diverged = [key for key in shared if key in known and key not in equal]
    if not diverged:
        return _guard(f"diverged text ({arm})", (), "none")
    changed = sum(shared[key][0][0].stops != shared[key][1][0].stops for key in diverged)
    moved = fmean(
        fmean(math.log(cell.n) for cell in shared[key][1])
        - fmean(math.log(cell.n) for cell in shared[key][0])
        for key in diverged
    )
    found = []
    if changed > policy.stop_change_limit * len(shared):
        found.append(f"{changed} of {len(shared)} prompts changed their stop reason")
    if abs(moved) > math.log1p(policy.length_change_limit):
        direction = "longer" if moved > 0 else "shorter"
        found.append(f"answers of diverged prompts became {100 * abs(math.expm1(moved)):.0f} % {direction}")
    if found:
        return _guard(f"diverged text ({arm})", found, "")
    text = f"{len(diverged)} of {len(shared)} prompts gave other tokens"
    return _guard(f"diverged text ({arm})", [text], "", outcome=None)


def _configuration(old: SampleSet, new: SampleSet) -> Guard:
    """Inform about what the servers said of themselves differently."""
    return _guard("effective configuration", configuration.differences(old, new), "the same", outcome=None)
