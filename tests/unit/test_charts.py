from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

import factories
from monitor.domain import Arm, Attribution, Channel, Metric, Role, Share
from monitor.views import charts, numbers
from monitor.views.comparison_charts import Pair, dumbbells, positions
from monitor.views.scales import Logarithmic, Squeezed, nice_ticks
from monitor.views.session_chart import session_chart, session_points

SVG = "{http://www.w3.org/2000/svg}"


def drawing(markup: str) -> ET.Element:
    return ET.fromstring(f'<div xmlns="http://www.w3.org/2000/svg">{markup}</div>')[0]  # noqa: S314


def bars(markup: str) -> list[tuple[float, float, str]]:
    """Return (left, right, class) of each bar, from top to bottom."""
    found = [rect for rect in drawing(markup).iter(f"{SVG}rect") if "bar" in rect.attrib["class"]]
    return [
        (float(r.attrib["x"]), float(r.attrib["x"]) + float(r.attrib["width"]), r.attrib["class"].split()[1])
        for r in found
    ]


def attribution(length: float, step: float, base: float, spread: float = 0.01) -> Attribution:
    shares = [Share(part, part - spread, part + spread, None) for part in (length, step, base)]
    return Attribution(*shares, speedup_change_log=length + step + base)


def test_the_waterfall_leads_from_the_references_speedup_over_each_factor_to_the_candidates() -> None:
    markup = charts.waterfall(
        "w", attribution(-0.3, 0.1, -0.05), 1.64, reference="0.2.40", candidate="0.2.41"
    )
    reference, length, step, base, candidate = bars(markup)
    per_log = (reference[1] - reference[0]) / math.log(1.64)
    assert [bar[2] for bar in bars(markup)] == ["ref", "bad", "good", "bad", "cand"]
    assert length[1] == pytest.approx(reference[1], abs=0.1)  # begins where the reference ends
    assert length[1] - length[0] == pytest.approx(0.3 * per_log, abs=0.2)
    assert step[0] == pytest.approx(length[0], abs=0.1)
    assert step[1] - step[0] == pytest.approx(0.1 * per_log, abs=0.2)
    assert base[1] == pytest.approx(step[1], abs=0.1)
    assert candidate[1] == pytest.approx(base[0], abs=0.1)
    assert candidate[0] == pytest.approx(reference[0], abs=0.1)  # both begin at 1×
    assert "×0.741" in markup
    assert f"{1.64 * math.exp(-0.25):.2f}×" in markup


def test_a_factor_whose_interval_includes_no_change_is_drawn_neutral() -> None:
    noisy = charts.waterfall("w", attribution(-0.02, 0.0, 0.0, 0.1), 1.5, reference="a", candidate="b")
    assert [bar[2] for bar in bars(noisy)] == ["ref", "flat", "flat", "flat", "cand"]
    exact = charts.waterfall("w", attribution(-0.02, 0.0, 0.0, 0.0), 1.5, reference="a", candidate="b")
    assert [bar[2] for bar in bars(exact)] == ["ref", "bad", "flat", "flat", "cand"]
    assert "exact" in exact


def test_an_interval_without_end_is_said_in_words_and_does_not_squash_the_scale() -> None:
    shares = [
        Share(-0.1, -math.inf, math.inf, None),
        Share(0.0, -0.01, 0.01, None),
        Share(0.0, 0.0, 0.0, None),
    ]
    markup = charts.waterfall("w", Attribution(*shares, -0.1), 1.6, reference="a", candidate="b")
    assert "too few sessions" in markup
    reference = bars(markup)[0]
    assert reference[1] - reference[0] > charts.WIDTH / 2


def test_one_releases_own_speedup_is_shown_as_what_a_step_gains_less_what_it_costs() -> None:
    run = factories.first()
    assert run.judgement
    overall = run.judgement.candidate_summary[0]
    gained, cost, speedup = bars(charts.anatomy("a", overall, release="0.2.40") or "")
    assert gained[0] == pytest.approx(speedup[0], abs=0.1)
    assert cost[1] == pytest.approx(gained[1], abs=0.1)
    assert speedup[1] == pytest.approx(cost[0], abs=0.1)
    assert charts.anatomy("a", replace(overall, step_time_s=None), release="x") is None


def test_the_forest_tints_the_side_that_is_bad_for_the_metric() -> None:
    run = factories.planted()
    assert run.judgement
    by_metric = {effect.metric: effect for effect in run.judgement.effects if effect.workload == "all"}
    scale = charts.forest_scale(by_metric.values())
    harm = {}
    for metric in (Metric.STEP_TIME, Metric.ACCEPTANCE_LENGTH):
        svg = drawing(charts.forest("f", by_metric[metric], scale))
        rect = next(r for r in svg.iter(f"{SVG}rect") if r.attrib["class"] == "harm")
        harm[metric] = float(rect.attrib["x"]) + float(rect.attrib["width"]) / 2
    assert harm[Metric.STEP_TIME] > scale.at(0) > harm[Metric.ACCEPTANCE_LENGTH]


def test_an_exact_change_is_a_diamond_without_interval_and_a_timed_one_a_dot_with_one() -> None:
    run = factories.planted()
    assert run.judgement
    effects = {e.metric: e for e in run.judgement.effects if e.workload == "all"}
    scale = charts.forest_scale(effects.values())
    exact = charts.forest("f", effects[Metric.ACCEPTANCE_LENGTH], scale)
    timed = charts.forest("f", effects[Metric.STEP_TIME], scale)
    assert effects[Metric.ACCEPTANCE_LENGTH].channel is Channel.EXACT
    assert "<path" in exact
    assert 'class="span' not in exact
    assert "<circle" in timed
    assert 'class="span' in timed


def test_every_chart_has_a_name_and_says_its_figures_to_those_who_cannot_see_it() -> None:
    both = [Pair("code", 0.793, 0.491), Pair("chat", None, 0.5)]
    svg = drawing(dumbbells("d", both, numbers.percent, title="Acceptance rate of each workload") or "")
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"] == "d-title d-desc"
    texts = {element.attrib["id"]: element.text for element in svg if "id" in element.attrib}
    assert texts["d-title"] == "Acceptance rate of each workload"
    assert texts["d-desc"] == "code: 79.3 % → 49.1 %; chat: 50.0 %."


def test_a_chart_of_nothing_is_not_drawn() -> None:
    assert dumbbells("d", [Pair("code", None, None)], numbers.times, title="Speedup") is None
    assert positions("p", None, ()) is None
    assert session_chart("s", []) is None


def test_bars_of_positions_are_as_high_as_the_share_of_steps() -> None:
    markup = positions("p", (0.8, 0.6), (0.4, 0.3, 0.2)) or ""
    heights = [
        (rect.attrib["class"].split()[1], float(rect.attrib["height"]))
        for rect in drawing(markup).iter(f"{SVG}rect")
    ]
    assert [css for css, _ in heights] == ["ref", "cand", "ref", "cand", "cand"]
    first, second = heights[0][1], heights[1][1]
    assert first == pytest.approx(2 * second, abs=0.1)


def test_sessions_stand_in_order_of_time_with_confirmation_last() -> None:
    run = factories.planted()
    points = session_points(
        [
            ("reference", run.reference_samples),
            ("candidate", run.candidate_samples),
            ("reference", run.confirm_reference),
            ("candidate", run.confirm_candidate),
        ],
        16,
    )
    assert len(points) == 2 * (4 + 3 + 2 + 2)
    roles = [point.role for point in points]
    assert roles == sorted(roles, key=lambda role: role is Role.CONFIRM)
    for role in Role:
        times = [point.started_at for point in points if point.role is role]
        assert times == sorted(times)
    marks = drawing(session_chart("s", points) or "")
    shapes = {Arm.MTP: f"{SVG}circle", Arm.BASELINE: f"{SVG}rect"}
    for arm, tag in shapes.items():
        assert len(list(marks.iter(tag))) == sum(point.arm is arm for point in points)


def test_a_sessions_rate_is_the_geometric_mean_over_its_prompts() -> None:
    run = factories.first()
    assert run.candidate_samples
    assert run.judgement
    points = session_points([("candidate", run.candidate_samples)], 16)
    rates = [point.rate for point in points if point.arm is Arm.MTP]
    mean = math.exp(sum(map(math.log, rates)) / len(rates))
    assert mean == pytest.approx(run.judgement.candidate_summary[0].mtp_rate)


def test_equal_factors_are_equally_long_and_changes_far_out_still_fit() -> None:
    ratios = Logarithmic(0.5, 4.0, 0.0, 300.0)
    assert [round(ratios.at(value), 6) for value in (0.5, 1.0, 2.0, 4.0)] == [0, 100, 200, 300]
    assert ratios.ticks(90) == [0.5, 1.0, 2.0, 4.0]
    changes = Squeezed(60.0, 0.0, 100.0)
    assert changes.at(0) == 50
    assert changes.at(2) - changes.at(0) > 0.5 * (changes.at(40) - changes.at(20))
    assert changes.at(900) == 100
    assert nice_ticks(115, 215) == [120, 140, 160, 180, 200]
