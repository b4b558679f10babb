"""Advice in words: which release to run, why, and why the others are not advised."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import Advice, BestDraftLength, Exclusion, MeasuredRelease, Metric, Worth
from monitor.views import numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """Which release of a project to run here by one check, with the reasons in words."""

    project: str
    check: str
    check_digest: str
    channel: str
    """Only releases of this channel are advised."""
    summary: str
    """What to run, in one sentence."""
    reasons: list[str]
    to_run: MeasuredRelease | None
    """null while there is no good release."""
    last_good: MeasuredRelease | None
    """The newest good release."""
    fastest: MeasuredRelease | None
    """Another than the last good one only where the judge calls it faster."""
    compared_by: Metric
    """What `fastest` is about."""
    worth: Worth
    """Whether MTP pays on the release to run."""
    draft_length: BestDraftLength | None
    """Of the newest sweep; null without one."""
    excluded: list[MeasuredRelease]
    """Measured and not advised, newest first, each with the reason."""


def said(advice: Advice) -> Advised:
    """Return an advice together with its words."""
    return Advised(
        project=advice.project,
        check=advice.check,
        check_digest=advice.check_digest,
        channel=advice.channel,
        summary=summary(advice),
        reasons=reasons(advice),
        to_run=advice.to_run,
        last_good=advice.last_good,
        fastest=advice.fastest,
        compared_by=advice.compared_by,
        worth=advice.worth,
        draft_length=advice.draft_length,
        excluded=list(advice.excluded),
    )


EXCLUSIONS: dict[Exclusion, str] = {
    Exclusion.FAILED: "does not run",
    Exclusion.INVALID: "not measured soundly",
    Exclusion.REGRESSED: "regressed",
    Exclusion.UNDECIDED: "not decided",
    Exclusion.INCIDENT: "an incident goes on",
    Exclusion.YANKED: "yanked",
    Exclusion.WITHDRAWN: "withdrawn",
    Exclusion.PLANTED: "planted",
}

_SWITCH: dict[Worth, str] = {
    Worth.PAYS: "with MTP",
    Worth.NO_DIFFERENCE: "with or without MTP",
    Worth.COSTS: "with MTP switched off",
    Worth.UNKNOWN: "with MTP if you like",
}


def summary(advice: Advice) -> str:
    """Return what to run, in one sentence."""
    if advice.to_run is None:
        return f"No release of {advice.project} can be advised yet."
    return f"Run {advice.project} {advice.to_run.version} {_SWITCH[advice.worth]}."


def reasons(advice: Advice) -> list[str]:
    """Return why, in sentences: the release, whether MTP pays, and the draft length."""
    if advice.to_run is None:
        passed = f"Each of the {len(advice.excluded)} measured is excluded" if advice.excluded else ""
        return [f"{passed}; see why below." if passed else "Nothing was measured under today's conditions."]
    told = [_release(advice, advice.to_run), _worth(advice, advice.to_run)]
    if (skipped := _newer_excluded(advice)) is not None:
        told.append(skipped)
    if advice.draft_length is not None:
        told.append(draft_length(advice))
    return told


def exclusion(release: MeasuredRelease) -> str:
    """Return why a release is not advised, in a few words."""
    return EXCLUSIONS[release.exclusion] if release.exclusion is not None else ""


def draft_length(advice: Advice) -> str:
    """Return what the newest sweep says, in one sentence; empty without one."""
    best = advice.draft_length
    if best is None:
        return ""
    if best.worth is Worth.COSTS:
        return f"A sweep on {best.version} found no draft length that pays."
    options = "".join(f", {name} {value}" for name, value in best.options.items())
    alike = f"; not told apart from it: {', '.join(best.alike)}" if best.alike else ""
    now = f"this check uses {best.current}"
    return f"A sweep on {best.version} found draft length {best.draft_length}{options} best ({now}){alike}."


def _release(advice: Advice, chosen: MeasuredRelease) -> str:
    newest = advice.last_good
    if newest is None or newest.run_id == chosen.run_id:
        others = (
            "no older good one is faster" if advice.good_releases > 1 else "it is the only good one so far"
        )
        return f"{chosen.version} is the newest good release, and {others}."
    rates = [
        release.baseline_rate if advice.compared_by is Metric.BASELINE_RATE else release.mtp_rate
        for release in (chosen, newest)
    ]
    return (
        f"{chosen.version} is faster than {newest.version}, the newest good release, beyond chance: "
        f"{numbers.rate(rates[0])} instead of {numbers.rate(rates[1])}."
    )


def _worth(advice: Advice, chosen: MeasuredRelease) -> str:
    interval = numbers.times_interval(chosen.speedup_low, chosen.speedup_high)
    figure = f"{numbers.times(chosen.speedup)}{f' ({interval})' if interval else ''}"
    return {
        Worth.PAYS: f"MTP pays here: {figure}.",
        Worth.NO_DIFFERENCE: f"MTP makes no difference that counts here: {figure}.",
        Worth.COSTS: f"MTP costs more than it gains here: {figure}. Switch it off.",
        Worth.UNKNOWN: f"Whether MTP pays here is not decided: {figure}."
        if chosen.speedup is not None
        else "Whether MTP pays here was not measured.",
    }[advice.worth]


def _newer_excluded(advice: Advice) -> str | None:
    """Return why the newest measured release of all is not the one to run, where it is excluded."""
    if not advice.excluded or advice.newest_is_good:
        return None
    newest = advice.excluded[0]
    return f"{newest.version} is newer, but {_but(newest)}."


def _but(release: MeasuredRelease) -> str:
    return {
        Exclusion.FAILED: "does not run here",
        Exclusion.INVALID: "could not be measured soundly",
        Exclusion.REGRESSED: "lost speed or output against the reference",
        Exclusion.UNDECIDED: "is not decided yet",
        Exclusion.INCIDENT: "an incident goes on about it",
        Exclusion.YANKED: "was yanked",
        Exclusion.WITHDRAWN: "was withdrawn",
        Exclusion.PLANTED: "is a stand-in of this monitor's",
    }[release.exclusion or Exclusion.UNDECIDED]
