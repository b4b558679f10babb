"""Advice: which release of a project to run on this host, judged by one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.domain.verdicts import Metric


class Exclusion(StrEnum):
    """Why a measured release is not advised."""

    FAILED = "failed"
    """It does not install, start or answer."""
    INVALID = "invalid"
    """Its measurement cannot be trusted."""
    REGRESSED = "regressed"
    UNDECIDED = "inconclusive"
    INCIDENT = "open incident"
    """An incident goes on whose releases it stands among."""
    YANKED = "yanked"
    WITHDRAWN = "withdrawn"
    PLANTED = "planted"
    """A stand-in of the monitor's, which nobody published."""


class Worth(StrEnum):
    """Whether speculation with the MTP head pays, by the interval of the speedup."""

    PAYS = "pays"
    NO_DIFFERENCE = "no difference"
    """The whole interval lies within the floor around 1."""
    COSTS = "costs"
    """Serving without it is faster."""
    UNKNOWN = "not known"
    """The interval holds 1 and reaches beyond the floor, or there is none."""


@dataclass(frozen=True, slots=True)
class MeasuredRelease:
    """A release as a check measured it, newest run first where it was measured again."""

    version: str
    sha256: str
    run_id: int
    baseline_rate: float | None
    """Tokens per second with speculation off."""
    mtp_rate: float | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    exclusion: Exclusion | None = None
    detail: str = ""
    """Of the exclusion, in words."""
    incident_id: int | None = None


@dataclass(frozen=True, slots=True)
class BestDraftLength:
    """What the newest sweep of the check found best here."""

    sweep_id: int
    version: str
    draft_length: int
    options: dict[str, str]
    """Engine options beside the length, by name; empty where none were varied."""
    current: int
    """The check's own draft length."""
    alike: tuple[str, ...]
    """Names of the cells that were not told apart from it."""
    worth: Worth


@dataclass(frozen=True, slots=True)
class Advice:
    """What to run of a project, as far as this check can tell."""

    project: str
    check: str
    check_digest: str
    channel: str
    """Only releases of this channel are advised."""
    last_good: MeasuredRelease | None
    fastest: MeasuredRelease | None
    to_run: MeasuredRelease | None
    """None while there is no good release."""
    compared_by: Metric
    """What `fastest` is about: the rate with MTP, or without it where MTP does not pay."""
    worth: Worth
    """Of MTP on the release to run."""
    draft_length: BestDraftLength | None
    good_releases: int
    newest_is_good: bool
    """The newest release that was measured at all is not excluded."""
    excluded: tuple[MeasuredRelease, ...]
    """Measured releases that are not advised, newest first."""
