"""What is known of a check's noise before its sessions are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from monitor.domain import Header, Metric
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Prior

TIMED = (
    Metric.STEP_TIME,
    Metric.BASELINE_RATE,
    Metric.MTP_RATE,
    Metric.TTFT_BASELINE,
    Metric.TTFT_MTP,
)
"""Metrics whose sessions scatter with the machine; the speedup's noise is that of both its arms."""


def priors(headers: Iterable[Header], policy: JudgingPolicy) -> dict[Metric, Prior]:
    """Return metric → its known noise between sessions (deviation of the logarithm).

    A calibration in one of the headers, the first that has the metric, goes before what the policy states.
    """
    noise = [_noise(header) for header in headers]
    known = {}
    for metric in TIMED:
        prior = next((n[metric] for n in noise if metric in n), None) or _stated(policy)
        if prior is not None:
            known[metric] = replace(prior, doubt_level=policy.doubt_level)
    if Metric.MTP_RATE in known and Metric.BASELINE_RATE in known:
        arms = [known[Metric.MTP_RATE], known[Metric.BASELINE_RATE]]
        known[Metric.SPEEDUP] = Prior(
            math.hypot(*(arm.session_sd for arm in arms)),
            min(arm.degrees_of_freedom for arm in arms),
            policy.doubt_level,
        )
    return known


def _stated(policy: JudgingPolicy) -> Prior | None:
    return Prior(policy.session_noise, policy.session_noise_df) if policy.session_noise else None


def _noise(header: Header) -> dict[Metric, Prior]:
    """Read the noise of a calibration record; of another check or host, or not understood, it is not used."""
    record: Mapping[str, Any] = header.calibration or {}
    found = record.get("noise")
    meant = (record.get("check_digest", header.check_digest), record.get("host", header.host))
    if not isinstance(found, Mapping) or meant != (header.check_digest, header.host):
        return {}
    known = {}
    for metric in TIMED:
        entry = found.get(metric.value)
        if isinstance(entry, Mapping):
            sd, df = entry.get("session_sd"), entry.get("session_df")
            if isinstance(sd, int | float) and isinstance(df, int | float) and sd > 0 and df > 0:
                known[metric] = Prior(float(sd), float(df))
    return known
