"""What is said of a user's configuration: findings, each with what it leads to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Leads(StrEnum):
    """What a finding leads to."""

    REFUSED = "refused"
    """The server ends when it starts."""
    SILENT = "silent"
    """It starts, says nothing, and does something else than what is written."""
    NOTE = "note"
    """It does what is written; the reader may not know that."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding."""

    leads: Leads
    kind: str
    """`unknown`, `gone`, `not yet`, `renamed`, `deprecated`, `value`, `ignored`, `default`, `broken` or
    `trap`."""
    option: str
    """As it is written in the command; of something that is missing, the option that is meant."""
    text: str
    advice: str = ""
    certain: bool = True
    """False where it is true of a neighbouring build, and not known of this one."""
    new: bool = False
    """It is not so in the version that runs now."""


def united(below: Iterable[Advice], above: Iterable[Advice], names: tuple[str, str]) -> list[Advice]:
    """Return what is true of both neighbours, and with less certainty what is true of one.

    Args:
        below: findings in the nearest known version below.
        above: in the nearest known version above.
        names: what the two are called in a sentence.

    """
    earlier, later = list(below), list(above)
    same = {_key(finding) for finding in earlier} & {_key(finding) for finding in later}
    found = [finding for finding in earlier if _key(finding) in same]
    for findings, name in ((earlier, names[0]), (later, names[1])):
        for finding in findings:
            if _key(finding) not in same:
                text = f"{finding.text} That is so in {name}; of this version it is not known."
                found.append(replace(finding, text=text, certain=False))
    return in_order(found)


def elsewhere(found: Iterable[Advice]) -> list[Advice]:
    """Return findings of the nearest known version for one beyond it: only traps are certain."""
    return [replace(finding, certain=finding.kind == "trap") for finding in found]


def compared(found: Iterable[Advice], running: Iterable[Advice]) -> list[Advice]:
    """Return `found`, with those marked that are not among those of what is running."""
    known = {_key(finding) for finding in running}
    return [replace(finding, new=_key(finding) not in known) for finding in found]


def in_order(found: Iterable[Advice]) -> list[Advice]:
    """Return findings with the worst first, otherwise as they came."""
    order = list(Leads)
    return sorted(found, key=lambda finding: order.index(finding.leads))


def _key(finding: Advice) -> tuple[str, str, str]:
    return finding.leads, finding.kind, finding.option
