"""The tables: what of the glossary's words is kept, and what is unique about each.

Words (states, arms, roles, verdicts) are kept as the text of their enums. A row is never deleted when
history rests on it: what is gone is marked. Only sessions that may not be counted are dropped.
"""

from monitor.store.columns import Table
from monitor.store.models.bisected import StoredBisection, StoredVisit
from monitor.store.models.done import (
    RunTransition,
    StoredAttempt,
    StoredJudgement,
    StoredRun,
    StoredSample,
    StoredSampleSet,
    StoredSession,
    Subject,
)
from monitor.store.models.measured import (
    CheckDefinition,
    StoredCalibration,
    StoredEpoch,
    StoredHost,
    StoredQuarantine,
)
from monitor.store.models.released import (
    InstalledPackage,
    Listing,
    StoredArtifact,
    StoredEnvironment,
    StoredRelease,
)
from monitor.store.models.service import StoredBeat, StoredPoll
from monitor.store.models.swept import OrderedSweep, StoredSweep
from monitor.store.models.told import (
    DeliveryAttempt,
    IncidentTransition,
    StoredDelivery,
    StoredIncident,
    StoredMessage,
)

__all__ = [
    "CheckDefinition",
    "DeliveryAttempt",
    "IncidentTransition",
    "InstalledPackage",
    "Listing",
    "OrderedSweep",
    "RunTransition",
    "StoredArtifact",
    "StoredAttempt",
    "StoredBeat",
    "StoredBisection",
    "StoredCalibration",
    "StoredDelivery",
    "StoredEnvironment",
    "StoredEpoch",
    "StoredHost",
    "StoredIncident",
    "StoredJudgement",
    "StoredMessage",
    "StoredPoll",
    "StoredQuarantine",
    "StoredRelease",
    "StoredRun",
    "StoredSample",
    "StoredSampleSet",
    "StoredSession",
    "StoredSweep",
    "StoredVisit",
    "Subject",
    "Table",
]
