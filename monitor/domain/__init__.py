"""The words of the house as values: frozen, without behaviour that needs a disk, a network or a clock.

`docs/glossary.md` defines each word once; the classes here carry them in code. Times are in seconds,
sizes in bytes, rates in tokens per second, dates are aware and in UTC.
"""

from monitor.domain.checks import Arm, Check, Expectation, ModelSpec, Prompt, Requirements, Tier, Workload
from monitor.domain.measurements import Header, Role, Sample, SampleSet, Session
from monitor.domain.releases import Artifact, Environment, Package, Release, ReleaseState, SkipReason
from monitor.domain.runs import Host, RunState
from monitor.domain.verdicts import (
    ArmSummary,
    Attribution,
    Channel,
    Effect,
    Guard,
    Judgement,
    Lossless,
    Metric,
    Share,
    Signature,
    Verdict,
)

__all__ = [
    "Arm",
    "ArmSummary",
    "Artifact",
    "Attribution",
    "Channel",
    "Check",
    "Effect",
    "Environment",
    "Expectation",
    "Guard",
    "Header",
    "Host",
    "Judgement",
    "Lossless",
    "Metric",
    "ModelSpec",
    "Package",
    "Prompt",
    "Release",
    "ReleaseState",
    "Requirements",
    "Role",
    "RunState",
    "Sample",
    "SampleSet",
    "Session",
    "Share",
    "Signature",
    "SkipReason",
    "Tier",
    "Verdict",
    "Workload",
]
