"""The table of llama-server's options by build, and the page it is read from."""

from __future__ import annotations

from monitor.engines.llama_flags import history, observed, options_in, options_of, states
from monitor.engines.llama_help import read_help

PAGE = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
                                        (env: LLAMA_ARG_CTX_SIZE)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
                                        (env: LLAMA_ARG_FLASH_ATTN)
--fim-qwen-1.5b-default                 use default Qwen 2.5 Coder 1.5B (note: can download weights from the
                                        internet)
--spec-draft-cpu-mask, -Cd, --cpu-mask-draft M
                                        Draft model CPU affinity mask (default:
                                        same as --cpu-mask)
--draft, --draft-n, --draft-max N       the argument has been removed. use --spec-draft-n-max or
                                        --spec-ngram-mod-n-max
                                        (env: LLAMA_ARG_DRAFT_MAX)
--mlock                                 DEPRECATED in favor of --load-mode
"""


def test_a_help_page_is_taken_apart() -> None:
    entries = {entry.names[-1]: entry for entry in read_help(PAGE)}
    assert list(entries) == [
        *("--usage", "--ctx-size", "--flash-attn", "--fim-qwen-1.5b-default", "--cpu-mask-draft"),
        *("--draft-max", "--mlock"),
    ]
    context = entries["--ctx-size"]
    assert (context.names, context.value, context.default, context.variable) == (
        *(("-c", "--ctx-size"), "N", "0, 0 = loaded from model", "LLAMA_ARG_CTX_SIZE"),
    )
    assert entries["--flash-attn"].value == "[on|off|auto]"
    assert entries["--flash-attn"].default == "'auto'"
    assert entries["--cpu-mask-draft"].names == ("--spec-draft-cpu-mask", "-Cd", "--cpu-mask-draft")
    assert entries["--cpu-mask-draft"].default == "same as --cpu-mask"
    assert entries["--draft-max"].removed == "use --spec-draft-n-max or --spec-ngram-mod-n-max"
    assert entries["--draft-max"].variable == "LLAMA_ARG_DRAFT_MAX"
    assert entries["--mlock"].deprecated
    assert entries["--usage"].value is None
    assert read_help("usage: something else\nwith no options") == []


def test_the_table_knows_ten_builds_and_what_moved_between_them() -> None:
    assert observed() == (9294, 9538, 9713, 9873, 10068, 10229, 10566, 10809, 11063, 11549)
    # Options of speculation with their own head, in every build.
    for build in observed():
        by_name = options_of(build)[0].by_name
        assert by_name["--spec-draft-n-max"].entry.default == "3"
        assert "draft-mtp" in (by_name["--spec-type"].entry.value or "")
        assert by_name["--draft-max"].entry.removed
        assert options_of(build)[0].by_variable["LLAMA_ARG_SPEC_TYPE"].option == "--spec-type"
        assert ("--spec-synth-rates" in by_name) == (build >= 10809)
        assert ("--mlock" in by_name) == (build < 11063)
    assert [(s.first, s.last, s.entry.default) for s in history("--load-mode")] == [
        *((10229, 10229, "mmap"), (10566, 11549, "auto")),
    ]
    assert [s.entry.default for s in history("--timeout")] == ["600", "3600"]


def test_states_of_an_option_do_not_overlap() -> None:
    for state in states():
        same = [s for s in states() if s.option == state.option and s is not state]
        shared = [s for s in same if set(s.entry.names) & set(state.entry.names)]
        assert all(s.last < state.first or s.first > state.last for s in shared)


def test_of_a_build_between_two_observed_ones_both_are_told() -> None:
    below, above = options_of(10300)
    assert (below.build, above.build, below.exact, above.exact) == (10229, 10566, False, False)
    assert [(o.build, o.exact) for o in options_of(10566)] == [(10566, True)] * 2
    assert [(o.build, o.exact) for o in options_of(12000)] == [(11549, False)] * 2
    assert [(o.build, o.exact) for o in options_of(9200)] == [(9294, False)] * 2


def test_a_page_of_the_build_itself_is_read_into_the_same_options() -> None:
    options = options_in(read_help(PAGE), 11600)
    assert options.exact
    assert options.by_name["-Cd"].option == history("-Cd")[0].option
    assert options.by_variable["LLAMA_ARG_CTX_SIZE"].option == "--ctx-size"
