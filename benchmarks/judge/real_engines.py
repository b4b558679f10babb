"""The whole monitor on real servers: whether it alarms without a cause and finds what is planted.

    python benchmarks/judge/real_engines.py            # everything, about half an hour on two idle cores
    python benchmarks/judge/real_engines.py quiet      # 20 judgements of one build against itself
    python benchmarks/judge/real_engines.py planted    # faults planted in that build
    python benchmarks/judge/real_engines.py schedule   # delays of 3 and 6 % on an exact schedule

Every release is discovered, installed, measured, judged and, where suspected, confirmed by the monitor's own
pipeline. `quiet` and `planted` take the newest llama.cpp build that the package index has as `xllamacpp` and
stand-ins made of it, with the check `synthetic-qwen35-cpu`. Each part writes its table into docs/judging.md.
What is installed stays in build/real-engines and is used again; what was measured is measured anew.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tables

from monitor import host, orders, pipeline
from monitor.domain import Artifact, Channel, Judgement, Metric, ReleaseState, Signature, Verdict
from monitor.judge.calibration import Calibration
from monitor.pipeline import RunRequest, Station
from monitor.planted.names import is_planted
from monitor.planted.wheels import Fault, plant
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings
from monitor.views.words import METRICS

HERE = Path(__file__).parent
WORK = HERE.parents[1] / "build" / "real-engines"
PROJECT = "xllamacpp"
CPU_CHECK, SCHEDULE_CHECK = "synthetic-qwen35-cpu", "schedule"
QUIET_JUDGEMENTS = 20
CERTAIN = 0.95
_MAX_WHEEL_BYTES = 512 * 2**20
_DOWNLOAD_S = 900.0


@dataclass(frozen=True)
class Planted:
    """A fault, and the names that are right for it."""

    fault: Fault
    expected: tuple[Signature, ...]
    level: float | None = None
    told: str = ""


PLANTED = (
    Planted(Fault.WORSE_HEAD, (Signature.ACCEPTANCE_DROP,), 0.4, "MTP head a little worse"),
    Planted(Fault.WORSE_HEAD, (Signature.ACCEPTANCE_DROP,), 0.8, "MTP head worse"),
    Planted(Fault.WORSE_HEAD, (Signature.ACCEPTANCE_DROP,), 1.6, "MTP head much worse"),
    Planted(Fault.ONE_DRAFT_FEWER, (Signature.CONFIGURATION_DRIFT,), told="one draft token fewer"),
    Planted(Fault.SLOWER_STEP, (Signature.STEP_SLOWER,), 0.4 / 1.4, "mtp arm 40 % slower"),
    Planted(Fault.SLOWER_STEP, (Signature.STEP_SLOWER,), 0.8 / 1.8, "mtp arm 80 % slower"),
    Planted(Fault.SLOWER_BASELINE, (Signature.BASELINE_SLOWER,), 0.8 / 1.8, "baseline arm 80 % slower"),
    Planted(Fault.SPECULATION_OFF, (Signature.SPECULATION_OFF,), told="speculation off"),
    Planted(Fault.ALTERED_TOKENS, (Signature.OUTPUT_CHANGED,), told="tokens altered"),
)

STEP_S = {"baseline": 0.005, "mtp": 0.007}
PREFILL_S = 0.06
SCHEDULED = (
    ("none", {}, 20),
    ("3 % on the mtp arm", {"mtp": 0.03}, 10),
    ("6 % on the mtp arm", {"mtp": 0.06}, 5),
)
"""Delay in words, the delay, and how many releases have it."""
SESSION_NOISE, PROMPT_NOISE = 0.008, 0.0045


def main() -> None:
    """Run the parts that are asked for."""
    parts = {"quiet": quiet, "planted": planted, "schedule": schedule}
    asked = sys.argv[1:] or list(parts)
    if unknown := set(asked) - set(parts):
        raise SystemExit(f"no part {sorted(unknown)}; there are: {', '.join(parts)}")
    for part in asked:
        parts[part]()


# ---------------------------------------------------------------------------------------------
# Parts


def quiet() -> None:
    """Judge twenty stand-ins that differ from their build in nothing but the name."""
    with bench("quiet", CPU_CHECK) as (station, folder):
        wheel = original(station)
        begun = time.monotonic()
        judge_release(station, CPU_CHECK, version_of(wheel))
        found = []
        for edition in range(1, QUIET_JUDGEMENTS + 1):
            made = plant(wheel, Fault.QUIET, folder, edition=edition)
            found.append(judge_release(station, CPU_CHECK, made.name.split("-")[1]))
            say("quiet", edition, QUIET_JUDGEMENTS, found[-1])
        alarms = [judgement for judgement in found if judgement.verdict is Verdict.REGRESSED]
        suspected = [judgement for judgement in found if judgement.confirmed is not None]
        below = 1 - (1 - CERTAIN) ** (1 / len(found))
        rows = [
            ("judgements of one build against itself", str(len(found))),
            ("suspected by the screening", str(len(suspected))),
            ("false alarms", str(len(alarms))),
            ("called unchanged or improved", str(sum(not j.undecided for j in found))),
            ("inconclusive on some time", str(sum(j.verdict is Verdict.INCONCLUSIVE for j in found))),
            ("acceptance unchanged, by exact counts", str(sum(counts_are_equal(j) for j in found))),
            ("minutes", f"{(time.monotonic() - begun) / 60:.0f}"),
        ]
        note = f"{len(alarms)} of {len(found)}"
        if not alarms:
            note += f" only bounds the rate below {100 * below:.0f} % (95 % sure)"
        tables.write(
            "quiet engines", tables.markdown(["what", "count"], rows) + f"\n\n{note}. {where(station, wheel)}"
        )


def planted() -> None:
    """Judge one stand-in of each fault."""
    with bench("planted", CPU_CHECK) as (station, folder):
        wheel = original(station)
        judge_release(station, CPU_CHECK, version_of(wheel))
        rows, missed = [], []
        for number, case in enumerate(PLANTED, 1):
            level = None if case.level is None else round(case.level, 2)
            made = plant(wheel, case.fault, folder, level=level)
            judgement = judge_release(station, CPU_CHECK, made.name.split("-")[1], against=version_of(wheel))
            say(case.told, number, len(PLANTED), judgement)
            right = judgement.verdict is Verdict.REGRESSED and judgement.signature in case.expected
            missed += [] if right else [case.told]
            rows.append((case.told, *outcome(judgement), "yes" if right else "NO"))
        head = [
            "planted",
            "verdict",
            "signature",
            "acceptance length",
            "step time",
            "baseline rate",
            "as planted",
        ]
        tables.write("planted engines", tables.markdown(head, rows) + f"\n\n{where(station, wheel)}")
        if missed:
            raise SystemExit(f"not found or not named: {', '.join(missed)}")


def schedule() -> None:
    """Judge releases of the server with the exact schedule, delayed and not."""
    with bench("schedule", SCHEDULE_CHECK) as (station, folder):
        publish(folder, "2026.12.90000", {})
        spec = f"{PROJECT}==2026.12.90000"
        judge_release(station, SCHEDULE_CHECK, "2026.12.90000")
        calibration = orders.calibrate(station, station.checks[SCHEDULE_CHECK].id, spec, measurements=3)
        rows, build = [], 90000
        for told, delay, count in SCHEDULED:
            found: list[Judgement] = []
            for number in range(1, count + 1):
                build += 1
                publish(folder, f"2026.12.{build}", delay)
                found.append(
                    judge_release(station, SCHEDULE_CHECK, f"2026.12.{build}", against="2026.12.90000")
                )
                say(f"delay: {told}", number, count, found[-1])
            rows.append((told, *summary(found)))
        head = [
            "delay",
            "releases",
            "suspected",
            "regressed, confirmed",
            "named step slower",
            "called unchanged",
        ]
        head += ["left open", "blocks", "size found, mean and range"]
        tables.write(
            "scheduled engines",
            f"{tables.markdown(head, rows)}\n\n{noise_in_words(calibration)} {tables.machine()}.",
        )


# ---------------------------------------------------------------------------------------------
# The monitor


@contextmanager
def bench(part: str, check: str) -> Iterator[tuple[Station, Path]]:
    """Yield a station that follows one folder of releases (and the index, unless the releases are ours)."""
    state = WORK / part
    folder = state / "releases"
    state.mkdir(parents=True, exist_ok=True)
    for old in (state / "monitor.sqlite3", state / "spool", state / "logs"):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source = SourceSettings(project=PROJECT, find_links=(str(folder),), settle_minutes=0)
    settings = Settings(
        state=state,
        check_dirs=(str(HERE / "checks"),),
        sources=(source,),
        assignments=({"project": PROJECT, "checks": (check,)},),
    )
    with Station.open(settings) as station:
        yield station, folder


def judge_release(station: Station, check: str, version: str, *, against: str | None = None) -> Judgement:
    """Take a release through the whole pipeline and return its verdict."""
    pipeline.discover(station, PROJECT)
    request = RunRequest(check=check, release=f"{PROJECT}=={version}", requested_by="benchmark")
    if against is not None:
        request = RunRequest(check=check, release=request.release, against=against, requested_by="benchmark")
    ended = pipeline.run(station, request)
    if ended.judgement is None:
        raise SystemExit(f"{version} {ended.run.state}: {ended.run.reason}")
    return ended.judgement


def original(station: Station) -> Path:
    """Return the wheel of the newest build on the index, downloaded once."""
    pipeline.discover(station, PROJECT)
    known = [d for d in pipeline.measurable(station, PROJECT) if d.state is ReleaseState.AGED and d.artifact]
    real: list[Artifact] = [d.artifact for d in known if d.artifact and not is_planted(d.artifact.version)]
    if not real:
        raise SystemExit(f"the index has no release of {PROJECT} that can be measured here")
    newest = real[-1]
    wheel = WORK / "wheels" / newest.filename
    if not wheel.is_file():
        wheel.parent.mkdir(parents=True, exist_ok=True)
        station.http.download(
            newest.url, wheel, sha256=newest.sha256, max_bytes=_MAX_WHEEL_BYTES, deadline_s=_DOWNLOAD_S
        )
    return wheel


def publish(folder: Path, version: str, delay: dict[str, float]) -> None:
    """Write the wheel of a release whose server follows a schedule."""
    order = {
        "prefill_s": PREFILL_S,
        "step_s": STEP_S,
        "delay": delay,
        "session_noise": SESSION_NOISE,
        "prompt_noise": PROMPT_NOISE,
    }
    info = f"{PROJECT}-{version}.dist-info"
    files = {
        f"{PROJECT}/__init__.py": (HERE / "scheduled_server.py").read_text(encoding="utf-8"),
        f"{PROJECT}/schedule.json": json.dumps(order, sort_keys=True),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={digest(text)},{len(text.encode())}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    (folder / f"{PROJECT}-{version}-py3-none-any.whl").write_bytes(content.getvalue())


def digest(text: str) -> str:
    """Return a file's hash as a wheel's RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


# ---------------------------------------------------------------------------------------------
# Words


def outcome(judgement: Judgement) -> tuple[str, ...]:
    """Return verdict, signature and the three factors of a judgement as cells."""
    confirmed = ", confirmed" if judgement.confirmed else ""
    cells = [f"{judgement.verdict}{confirmed}", judgement.signature or "–"]
    rows = {row.metric: row for row in judgement.effects if row.workload == "all"}
    for metric in (Metric.ACCEPTANCE_LENGTH, Metric.STEP_TIME, Metric.BASELINE_RATE):
        row = rows.get(metric)
        cells.append("–" if row is None or row.change_log is None else f"{row.change_percent:+.1f} %")
    return tuple(cells)


def summary(found: Sequence[Judgement]) -> tuple[str, ...]:
    """Return the counts of many judgements of like releases as cells."""
    sizes = []
    for judgement in found:
        steps = (row for row in judgement.effects if row.metric is Metric.STEP_TIME and row.workload == "all")
        sizes += [row.change_percent for row in steps if row.change_percent is not None]
    blocks = [judgement.sessions.get("candidate_mtp", 0) for judgement in found]
    spread = f"{sum(sizes) / len(sizes):+.1f} % ({min(sizes):+.1f} to {max(sizes):+.1f})" if sizes else "–"
    return (
        str(len(found)),
        str(sum(j.confirmed is not None for j in found)),
        str(sum(j.verdict is Verdict.REGRESSED and bool(j.confirmed) for j in found)),
        str(sum(j.signature is Signature.STEP_SLOWER for j in found)),
        str(sum(j.verdict in (Verdict.UNCHANGED, Verdict.IMPROVED) for j in found)),
        str(sum(j.verdict is Verdict.INCONCLUSIVE for j in found)),
        f"{sum(blocks) / len(blocks):.1f}",
        spread,
    )


def counts_are_equal(judgement: Judgement) -> bool:
    """Say whether the acceptance length was decided by counting, as unchanged."""
    rows = [
        row for row in judgement.effects if row.metric is Metric.ACCEPTANCE_LENGTH and row.workload == "all"
    ]
    return bool(rows) and rows[0].channel is Channel.EXACT and rows[0].verdict is Verdict.UNCHANGED


def noise_in_words(calibration: Calibration | None) -> str:
    """Return what the monitor's own calibration said of the schedule's noise."""
    if calibration is None:
        return "Not calibrated."
    said = [
        f"{METRICS[metric]} {100 * levels.session_sd:.2f} %"
        for metric, levels in calibration.noise.items()
        if "rate" in metric or "step" in metric
    ]
    drawn = f"{100 * SESSION_NOISE:.1f} %"
    return f"Drawn between sessions: {drawn}; found by the monitor's calibration: {', '.join(said)}."


def where(station: Station, wheel: Path) -> str:
    """Return what the figures were measured on."""
    described = host.describe(station.settings.state, name=None)
    return f"llama.cpp from `{version_of(wheel)}`, {described.hardware_class}; {tables.machine()}."


def version_of(wheel: Path) -> str:
    """Return the version in a wheel's name."""
    return wheel.name.split("-")[1]


def say(what: str, number: int, total: int, judgement: Judgement) -> None:
    """Tell how far it has come."""
    print(
        f"{what} {number}/{total}: {judgement.verdict}, {judgement.signature or '–'}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
