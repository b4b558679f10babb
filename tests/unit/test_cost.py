"""What a million tokens cost, from prices and from what was measured; never a guess."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

import factories
from monitor.domain import Arm, ArmSummary, SampleSet
from monitor.views.cost import CostRow, Costs, Prices, cost_rows, costs, money
from monitor.views.report import render
from monitor.views.terminal import judgement_view

HOUR = Prices(per_kwh=None, per_gpu_hour=3.6, currency="EUR")
ENERGY = Prices(per_kwh=0.36, per_gpu_hour=None, currency="EUR")
VIEW = factories.unchanged()


def summary() -> ArmSummary:
    assert VIEW.judgement is not None
    return replace(VIEW.judgement.candidate_summary[0], mtp_rate=100.0, baseline_rate=50.0)


def with_energy(joules_a_token: float) -> SampleSet:
    samples = VIEW.candidate_samples
    assert samples is not None
    tokens = {
        s.session: sum(one.n for one in samples.samples if one.session == s.session) for s in samples.sessions
    }
    factor = {Arm.MTP: 1.0, Arm.BASELINE: 2.0}
    sessions = tuple(
        replace(s, energy_j=tokens[s.session] * joules_a_token * factor[s.arm]) for s in samples.sessions
    )
    return SampleSet(samples.header, sessions, samples.samples)


def test_an_hour_of_the_gpu_is_shared_by_the_tokens_it_decodes() -> None:
    rows = {row.arm: row for row in cost_rows(HOUR, 1, (None, None), (summary(), None))}
    # 0.001 EUR a second over 100 tokens a second: ten a million.
    assert rows[Arm.MTP].candidate == pytest.approx(10)
    assert rows[Arm.BASELINE].candidate == pytest.approx(20)
    assert rows[Arm.MTP].reference is None
    four = {row.arm: row for row in cost_rows(HOUR, 4, (None, None), (summary(), None))}
    assert four[Arm.MTP].candidate == pytest.approx(2.5)


def test_energy_is_that_of_each_arm_and_prices_add_up() -> None:
    both = replace(HOUR, per_kwh=0.36)
    rows = {row.arm: row for row in cost_rows(ENERGY, 1, (None, None), (summary(), with_energy(5.0)))}
    # 5 J a token are 1.389 kWh a million.
    assert rows[Arm.MTP].candidate == pytest.approx(0.5)
    assert rows[Arm.BASELINE].candidate == pytest.approx(1.0)
    summed = {row.arm: row for row in cost_rows(both, 1, (None, None), (summary(), with_energy(5.0)))}
    assert summed[Arm.MTP].candidate == pytest.approx(10.5)


def test_what_was_not_measured_costs_nothing_and_is_not_shown() -> None:
    assert cost_rows(ENERGY, 1, (None, None), (summary(), VIEW.candidate_samples)) == ()
    assert cost_rows(None, 1, (None, None), (summary(), None)) == ()
    assert cost_rows(Prices(None, None, "EUR"), 1, (None, None), (summary(), None)) == ()


def test_the_report_shows_costs_where_there_is_a_price_and_only_there() -> None:
    shown = factories.report(replace(VIEW, prices=HOUR))
    assert "What a million tokens cost" in render(shown)
    assert "It decides nothing" in render(shown)
    assert "What a million tokens cost" not in render(factories.report(VIEW))


def test_the_terminal_shows_costs_where_there_is_a_price_and_only_there() -> None:
    told = Costs("EUR", (CostRow(Arm.BASELINE, 1.5, 1.25), CostRow(Arm.MTP, None, 0.75)))

    def printed(shown: Costs | None) -> str:
        assert VIEW.judgement is not None
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(judgement_view(VIEW.judgement, reference="1", candidate="2", costs=shown))
        return console.export_text()

    text = printed(told)
    assert "What a million tokens cost (it decides nothing)" in text
    assert "Without MTP  1.50 → 1.25 EUR" in text
    assert "With MTP     0.75 EUR" in text
    assert "million tokens" not in printed(None)


def test_a_side_that_was_not_measured_is_said_so() -> None:
    assert money(CostRow(Arm.MTP, 1.5, None), "EUR") == "not measured (was 1.50 EUR)"
    assert costs(ENERGY, 1, (None, None), (summary(), VIEW.candidate_samples)) is None
