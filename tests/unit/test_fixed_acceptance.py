"""The arm `synthetic`: what each engine is told of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.domain import Arm, BesideArm, Check
from monitor.engines import engine_for
from monitor.engines.base import Launch, Setup
from monitor.errors import ConfigurationError
from monitor.steps.provision import Weights
from standins.engine import environment_of, standin_check

SHARES = [0.9, 0.6, 0.3]


def launched(engine: str, arm: Arm, acceptance: object = SHARES) -> Launch:
    check: Check = replace(
        standin_check(draft_length=3), beside={Arm.SYNTHETIC: BesideArm(3, {"acceptance": acceptance})}
    )
    environment = environment_of(Path("/environments/one/bin/python"))
    setup = Setup(check, arm, environment, Path("/models/one.gguf"), None, Path("/scratch"), 4711)
    launch = engine_for(engine).launch(setup)
    assert launch is not None
    return launch


def test_llama_server_and_xllamacpp_are_told_the_shares_with_mtp_as_always() -> None:
    argv = launched("llama-server", Arm.SYNTHETIC).argv
    assert argv[argv.index("--spec-synth-rates") + 1] == "0.9,0.6,0.3"
    assert argv[argv.index("--spec-type") + 1] == "draft-mtp"
    assert "--spec-synth-rates" not in launched("llama-server", Arm.MTP).argv
    parameters = json.loads(launched("xllamacpp", Arm.SYNTHETIC).files["order.json"])["parameters"]
    told = {entry["places"][0]: entry for entry in parameters}
    assert told["speculative.synth_rates"]["value"] == SHARES
    assert told["speculative.types"]["choice"][1].endswith("DRAFT_MTP")


@pytest.mark.parametrize(
    "acceptance", [None, [], [0.9, 0.6], [0.3, 0.6, 0.9], [1.5, 0.5, 0.1], "0.9,0.6,0.3"]
)
@pytest.mark.parametrize("engine", ["llama-server", "xllamacpp"])
def test_shares_that_cannot_be_are_refused_before_anything_starts(engine: str, acceptance: object) -> None:
    with pytest.raises(ConfigurationError, match=r"serve\.acceptance"):
        launched(engine, Arm.SYNTHETIC, acceptance)


def test_it_is_served_with_the_head_that_mtp_is_served_with() -> None:
    weights = Weights(Path("/model"), Path("/head"), "e" * 64, {Arm.DRAFT_MODEL: Path("/small")})
    served = [weights.draft_for(arm) for arm in (Arm.MTP, Arm.SYNTHETIC, Arm.DRAFT_MODEL, Arm.NGRAM)]
    assert served == [Path("/head"), Path("/head"), Path("/small"), None]
