"""Everything the monitor can fail with, and what the reader of the message should do next.

An error says what happened, what was kept and what to do. It also says whether trying again could
help (`permanent`), because that is all a scheduler needs to know about it.
"""

from __future__ import annotations


class MonitorError(Exception):
    """The monitor could not do what it was asked; the base of every error it raises on purpose.

    `what` is one sentence; `kept` says what survives; `advice` says what to do next.
    """

    permanent = True
    exit_code = 1

    def __init__(self, what: str, *, kept: str = "", advice: str = "", permanent: bool | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.advice = advice
        if permanent is not None:
            self.permanent = permanent

    def __str__(self) -> str:
        parts = [self.what]
        if self.kept:
            parts.append(f"Kept: {self.kept}")
        if self.advice:
            parts.append(f"What to do: {self.advice}")
        return "\n".join(parts)


class ConfigurationError(MonitorError):
    """The configuration names something unknown or holds a value that is not allowed."""


class UnknownNameError(MonitorError):
    """The command line names a check, release, run or model that does not exist."""

    exit_code = 2


class SourceError(MonitorError):
    """A release source could not be read; what was known about its releases stays as it was.

    `retry_after_s` holds the seconds the source asked to wait, if it did.
    """

    permanent = False

    def __init__(
        self,
        what: str,
        *,
        kept: str = "",
        advice: str = "",
        permanent: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, kept=kept, advice=advice, permanent=permanent)
        self.retry_after_s = retry_after_s


class SourceLiedError(SourceError):
    """A release source answered, but not with what its protocol promises."""


class CommitUnknownError(SourceError):
    """A repository knows no such tag or commit."""

    permanent = True


class ArtifactChangedError(MonitorError):
    """A file kept its name and changed its sha256: nothing may be installed from that source."""


class DeliveryError(MonitorError):
    """A destination did not take a message.

    `permanent` says that sending the same message again cannot help, `retry_after_s` holds the seconds the
    destination asked to wait, and `disables` says that it wants no further messages at all.
    """

    permanent = False

    def __init__(
        self,
        what: str,
        *,
        kept: str = "",
        advice: str = "",
        permanent: bool | None = None,
        retry_after_s: float | None = None,
        disables: bool = False,
    ) -> None:
        super().__init__(what, kept=kept, advice=advice, permanent=permanent)
        self.retry_after_s = retry_after_s
        self.disables = disables


class ProvisionError(MonitorError):
    """An environment for an artifact could not be built: the release is not installable here."""

    exit_code = 5


class ArmMissingError(MonitorError):
    """A release cannot serve one of a check's arms by its own design; `what` says which."""


class AttachedChangedError(MonitorError):
    """What runs at an attached engine is not what the run was planned for; that cannot be had back."""


class DiskFullError(MonitorError):
    """There was no room left on a disk; the half-written part was removed."""

    permanent = False


class ModelError(MonitorError):
    """A model file is missing, incomplete or not the one the check names."""


class HostError(MonitorError):
    """This host cannot run the check, or is busy with another measurement."""


class StateBusyError(HostError):
    """Another process measures on this state; two at once would disturb each other."""

    permanent = False


class GpuBusyError(HostError):
    """Something else uses the GPU; measuring waits until it is free."""

    permanent = False


class GpuFaultError(HostError):
    """The GPU cannot be trusted: lost, with memory errors, not the one meant, or its memory is held.

    It is the machine's fault: nothing that was measured then says anything about a release.
    """

    permanent = False


class EngineError(MonitorError):
    """The engine under test failed; `reason` is the state the run ends in."""

    exit_code = 5
    reason = "engine failed"
    subject = ""
    """Whose engine it was in a measurement: `candidate` or `reference`."""
    log_tail = ""
    """The last lines of the engine's log, harmless in a terminal; "" where nothing was logged."""


class EngineStartError(EngineError):
    """The engine ended before it answered its first request."""

    reason = "does not start"


class EngineStartTimeoutError(EngineError):
    """The engine neither answered nor ended within its start deadline."""

    reason = "start timeout"


class EngineHangError(EngineError):
    """A request was still unanswered at its deadline."""

    reason = "hang"


class EngineCrashError(EngineError):
    """The engine ended in the middle of a request."""

    permanent = False
    reason = "crash"


class EngineReplyError(EngineError):
    """The engine answered with something that is no valid completion."""

    reason = "garbage reply"


class SampleFileError(MonitorError):
    """A sample file is truncated, malformed or of another check."""

    exit_code = 2


class StoreError(MonitorError):
    """The database cannot be used as it is; nothing was written to it."""


class StoreBusyError(StoreError):
    """The database stayed locked by another process for longer than the allowed wait."""

    permanent = False
