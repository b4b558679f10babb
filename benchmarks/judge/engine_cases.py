"""Losses that people reported of real releases, made into samples with their figures, and judged.

    python benchmarks/judge/engine_cases.py

Reports tell rates and acceptance, not sessions: each release gets made-up sessions round the reported
figures, with the published noise of 0.76 %. What a report leaves out is assumed unchanged and said to be so.
Writes its table into docs/judging.md.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import tables

from monitor.domain import Arm, Judgement, SampleSet, Signature, Verdict
from monitor.judge.verdict import judge

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "unit" / "judge"))
from measurements import START, Truth, altered, measure

DATA = Path(__file__).parent / "data" / "llm_engine_cases"
NOISE = 0.0076
OLD = Truth(version="old", noise=NOISE, tokens=200, draft_length=3)
LATER = START + timedelta(days=2)


@dataclass(frozen=True)
class Case:
    """A reported change as two releases, with the name that a person gave it."""

    name: str
    old: Truth
    new: Truth
    expected: tuple[Signature | None, ...]
    told: str
    """What the report leaves to be assumed."""


def at(truth: Truth, rate: float, acceptance: float) -> Truth:
    """Return a release with a reported mtp rate (tokens/s) and acceptance rate."""
    length = 1 + truth.draft_length * acceptance
    return replace(truth, accepted_share=acceptance, step_time_s=length / rate, baseline_rate=rate / 2)


def slower(change_percent: float) -> float:
    """Return the factor on a time that a changed rate means."""
    return 1 / (1 + change_percent / 100)


def main() -> None:
    """Judge every case and the quiet series, and write the table."""
    reported = {}
    for line in (DATA / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        reported[one["id"]] = one
    rows = [row(case) for case in (*rate_and_acceptance(reported), *one_factor(reported))]
    rows += [confounded(), cut_short()]
    missing = set(reported) - {name for name, *_ in rows}
    if missing:
        raise SystemExit(f"no samples are made of {sorted(missing)}")
    rows.append(quiet())
    head = ["case", "verdict", "signature", "share of acceptance, step, baseline", "as reported", "assumed"]
    tables.write("engine cases", tables.markdown(head, rows))


def rate_and_acceptance(reported: dict[str, Any]) -> list[Case]:
    """Return the cases whose report has both figures."""
    first, clean, ik = (reported[name] for name in ("llamacpp-26750", "llamacpp-22673-clean", "ikllama-1894"))
    better = reported["vllm-41044"]
    two = replace(OLD, draft_length=2)
    old = at(OLD, first["before"], first["acceptance_before"])
    new = replace(at(OLD, first["after"], first["acceptance_after"]), baseline_rate=old.baseline_rate)
    return [
        Case("llamacpp-26750", old, new, (Signature.ACCEPTANCE_DROP, Signature.MIXED), ""),
        _pair("llamacpp-22673-clean", clean, (Signature.MIXED,), mean=True),
        _pair("ikllama-1894", ik, (Signature.ACCEPTANCE_DROP, Signature.MIXED), mean=False),
        Case(
            "vllm-41044",
            at(two, better["before"], better["acceptance_before"]),
            replace(at(two, better["after"], better["acceptance_after"]), baseline_rate=better["before"] / 2),
            (None,),
            "baseline unchanged",
        ),
    ]


def _pair(name: str, case: dict[str, Any], expected: tuple[Signature | None, ...], *, mean: bool) -> Case:
    def figure(key: str) -> float:
        return float(sum(case[key]) / len(case[key]) if mean else case[key][0])

    old = at(OLD, figure("before"), figure("acceptance_before"))
    new = at(OLD, figure("after"), figure("acceptance_after"))
    return Case(
        name, old, replace(new, baseline_rate=old.baseline_rate), expected, "3 drafted; baseline unchanged"
    )


def one_factor(reported: dict[str, Any]) -> list[Case]:
    """Return the cases whose report tells one factor alone."""
    step = Signature.STEP_SLOWER
    rpc, arm, mlx = (reported[name] for name in ("llamacpp-28484", "llamacpp-23698", "mlxserve-202"))
    ampere, omlx = reported["ollama-17123-3090"], reported["omlx-3755"]
    lost = slower(sum(rpc["change_pct"]) / 2)
    both = ampere["before"] / ampere["after"]
    return [
        Case("llamacpp-28484", OLD, _steps(lost), (step,), ""),
        Case(
            "llamacpp-23698",
            OLD,
            _steps(arm["before"] / arm["after"]),
            (step,),
            "acceptance, baseline unchanged",
        ),
        Case(
            "mlxserve-202",
            OLD,
            _steps(mlx["before"] / mlx["after"]),
            (step,),
            "acceptance, baseline unchanged",
        ),
        Case(
            "ollama-17123-3090",
            OLD,
            replace(_steps(both), baseline_rate=OLD.baseline_rate / both),
            (Signature.ENGINE_SLOWER,),
            "both arms alike, acceptance unchanged",
        ),
        Case(
            "omlx-3755",
            OLD,
            replace(
                OLD, version="new", baseline_rate=OLD.baseline_rate / slower(sum(omlx["change_pct"]) / 2)
            ),
            (Signature.BASELINE_SLOWER,),
            "mtp unchanged",
        ),
        Case(
            "vllm-36531",
            OLD,
            replace(OLD, version="new", accepted_share=0.5),
            (Signature.ACCEPTANCE_DROP,),
            "size: .75 to .50",
        ),
        Case(
            "ollama-18541",
            OLD,
            replace(OLD, version="new", accepted_share=0.1),
            (Signature.ACCEPTANCE_DROP,),
            "size: .75 to .10",
        ),
    ]


def _steps(factor: float) -> Truth:
    return replace(OLD, version="new", step_time_s=OLD.step_time_s * factor)


def row(case: Case) -> list[str]:
    """Screen, confirm and tell a case."""
    new = replace(case.new, version="new")
    found = judge(
        measure(case.old, blocks=6, seed=11),
        measure(new, blocks=4, start=LATER, seed=12),
        confirm=(
            measure(case.old, blocks=3, per_block=2, start=LATER + timedelta(hours=2), seed=13),
            measure(new, blocks=3, per_block=2, start=LATER + timedelta(hours=2, seconds=20), seed=14),
        ),
    )
    return told(case.name, found, case.expected, case.told)


def told(name: str, found: Judgement, expected: tuple[Signature | None, ...], assumed: str) -> list[str]:
    """Return a row of the table."""
    parts = found.attribution
    shares = "–"
    if parts is not None and parts.acceptance_length.share is not None:
        three = (parts.acceptance_length, parts.step_time, parts.baseline)
        shares = ", ".join(f"{100 * (part.share or 0):.0f} %" for part in three)
    right = "yes" if found.signature in expected else f"no: {', '.join(str(one) for one in expected)}"
    verdict = f"{found.verdict}, confirmed" if found.confirmed else str(found.verdict)
    return [name, verdict, str(found.signature or "–"), shares, right, assumed or "–"]


def confounded() -> list[str]:
    """Judge a loss on whose day the command that measured changed its default sampling."""
    new = replace(OLD, version="new", accepted_share=0.6, header={"sampling": {"temperature": 1}})
    found = judge(measure(OLD, blocks=6), measure(new, start=LATER, seed=12))
    return told("vllm-33497", found, (Signature.HARNESS_DRIFT,), "size; sampling differs, as found later")


def cut_short() -> list[str]:
    """Judge answers that stopped early, at 128 tokens, whose rate fell with the length."""
    new = replace(OLD, version="new", tokens=128, step_time_s=OLD.step_time_s / (1 - 0.86), text="b")
    found = judge(measure(OLD, blocks=6), altered(measure(new, start=LATER, seed=12), Arm.MTP, stop="stop"))
    return told("vllm-47297", found, (Signature.HARNESS_DRIFT,), "answers cut, as found later")


def quiet() -> list[str]:
    """Judge each quiet Blackwell release against those before it, one session each, as they were measured."""
    with (DATA / "ollama_17123_rtx6000blackwell.csv").open(encoding="utf-8") as file:
        rates = [float(line["warm_tok_s"]) for line in csv.DictReader(file)]
    known = {"judging": {"session_noise": NOISE, "session_noise_df": 10}}
    verdicts = []
    for place in range(1, len(rates)):
        before = _sessions(rates[:place], known)
        verdicts.append(judge(before, _sessions(rates[place : place + 1], known, days=place)).verdict)
    alarms = verdicts.count(Verdict.REGRESSED)
    parts = ", ".join(f"{verdicts.count(one)} {one}" for one in Verdict if one in verdicts)
    name = "quiet Blackwell series"
    return [name, parts, "–", "–", "yes" if not alarms else f"no: {alarms} alarms", "both arms alike"]


def _sessions(rates: list[float], header: dict[str, Any], days: int = 0) -> SampleSet:
    """Return one session of each arm for each rate."""
    quiet_truth = Truth(version=str(days), header=header)
    whole = measure(quiet_truth, blocks=len(rates), start=START + timedelta(days=days))
    middle = 215.0
    samples = tuple(
        replace(
            s,
            decode_s=(s.decode_s or 0) * middle / rates[s.session // 2],
            ttft_s=(s.ttft_s or 0) * middle / rates[s.session // 2],
            server_decode_tps=None,
        )
        for s in whole.samples
    )
    return SampleSet(whole.header, whole.sessions, samples)


if __name__ == "__main__":
    main()
