from __future__ import annotations

import pytest

from monitor.bench.counters import Counts, read_counts
from monitor.engines.llama_http import SERIES
from monitor.engines.vllm_versions import SERIES as VLLM_SERIES
from monitor.errors import EngineReplyError

PAGE = """\
# HELP llamacpp:spec_decode_num_drafts_total Number of drafts.
# TYPE llamacpp:spec_decode_num_drafts_total counter
llamacpp:spec_decode_num_drafts_total 126
llamacpp:spec_decode_num_draft_tokens_total 372
llamacpp:spec_decode_num_accepted_tokens_total 6.2e+01
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="2"} 2
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 52
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 8
llamacpp:predicted_tokens_seconds 1580.5
"""


def test_the_counters_of_speculation_are_read_from_the_page() -> None:
    assert read_counts(PAGE, SERIES) == Counts(126, 372, 62, (52, 8, 2))


def test_counters_with_further_labels_are_added_up_whatever_stands_in_a_label() -> None:
    engines = "".join(
        f'vllm:spec_decode_num_{name}_total{{engine="{engine}",model_name="a \\"}} b{{"{extra}}} {value}.0\n'
        for engine in (0, 1)
        for name, value, extra in (
            ("drafts", 5, ""),
            ("draft_tokens", 15, ""),
            ("accepted_tokens", 6, ""),
            ("accepted_tokens_per_pos", 4, ',position="0"'),
            ("accepted_tokens_per_pos", 2, ',position="1"'),
        )
    )
    assert read_counts(engines, VLLM_SERIES) == Counts(10, 30, 12, (8, 4))


def test_a_build_without_the_counters_has_none() -> None:
    assert read_counts("llamacpp:tokens_predicted_total 48\n", SERIES) is None


def test_a_difference_is_what_came_between_also_when_places_or_series_appear_late() -> None:
    before = Counts(10, 30, 12, (8, 4))
    after = Counts(13, 39, 17, (10, 6, 1))
    assert after.since(before) == Counts(3, 9, 5, (2, 2, 1))
    assert after.since(None) == after


@pytest.mark.parametrize("after", [Counts(9, 30, 12, (8, 4)), Counts(10, 30, 12, (8, 3))])
def test_a_counter_that_fell_is_refused(after: Counts) -> None:
    with pytest.raises(EngineReplyError, match="went down"):
        after.since(Counts(10, 30, 12, (8, 4)))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "2.5", "many"])
def test_a_value_that_is_no_count_is_refused(value: str) -> None:
    with pytest.raises(EngineReplyError, match="no count"):
        read_counts(f"llamacpp:spec_decode_num_draft_tokens_total {value}\n", SERIES)


@pytest.mark.parametrize("position", ["-1", "x", "99999999"])
def test_an_impossible_place_is_refused(position: str) -> None:
    name = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
    with pytest.raises(EngineReplyError, match="position"):
        read_counts(f'{name}{{position="{position}"}} 1\n', SERIES)
