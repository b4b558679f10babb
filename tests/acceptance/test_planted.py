"""Stand-in releases with a known fault: found, confirmed, attributed, and never blamed on something else.

Every other kind of fault is in `test_ten_releases.py`, which `make test-engines` runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acceptance.command import CHECK, GOOD, House, engines_of
from monitor.planted.wheels import Fault, plant


@pytest.fixture(scope="session")
def good(house: House) -> Any:
    return house.json("run", CHECK, "--release", f"xllamacpp=={GOOD}", code=None)


def planted(house: House, wheel: Path, stand_ins: Path, fault: Fault, code: int) -> Any:
    made = plant(wheel, fault, stand_ins)
    version = made.name.split("-")[1]
    assert "+planted." in version
    house.run("releases", "--refresh")
    return house.json("run", CHECK, "--release", f"xllamacpp=={version}", "--against", GOOD, code=code)


def test_a_worse_head_is_found_confirmed_and_attributed_to_acceptance(
    house: House, good: Any, wheel: Path, stand_ins: Path
) -> None:
    ended = planted(house, wheel, stand_ins, Fault.WORSE_HEAD, code=3)
    judgement = ended["judgement"]

    assert good["state"] == "done"
    assert (judgement["verdict"], judgement["signature"], judgement["confirmed"]) == (
        "regressed",
        "acceptance drop",
        True,
    )
    row = next(
        r for r in judgement["metrics"] if r["metric"] == "acceptance_length" and r["workload"] == "all"
    )
    assert (row["channel"], row["verdict"]) == ("exact", "regressed")
    assert judgement["attribution"]["acceptance_length"]["change_log"] < -0.02
    assert judgement["lossless"]["verdict"] == "unchanged"
    assert (
        judgement["sessions"]["confirm_reference_mtp"] == judgement["sessions"]["confirm_candidate_mtp"] == 2
    )


def test_a_release_that_crashes_at_start_is_broken_and_not_slower(
    house: House, good: Any, wheel: Path, stand_ins: Path
) -> None:
    ended = planted(house, wheel, stand_ins, Fault.CRASH, code=5)

    assert good["state"] == "done"
    assert (ended["state"], ended["judgement"]) == ("failed", None)
    assert "does not start" in ended["reason"]
    assert engines_of(house) == []
