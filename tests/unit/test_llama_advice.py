"""What builds of llama-server make of a command line."""

from __future__ import annotations

import pytest

from monitor.engines.advice import Advice, Leads
from monitor.engines.command_line import read_command
from monitor.errors import UnknownNameError
from monitor.steps.configuration import Configuration, look_at, version_of

PINNED = "llama-server -m q.gguf -c 3000 -np 1 -fit off --no-cache-prompt --cache-ram 0 --metrics "
MTP = PINNED + "--spec-type draft-mtp --spec-draft-n-max 3"


def advice(text: str, build: int, running: int | None = None) -> Configuration:
    return look_at(
        read_command(text),
        version_of(f"llama.cpp==b{build}", "--for"),
        version_of(f"llama.cpp=={running}", "--from") if running else None,
    )


def found(text: str, build: int, running: int | None = None) -> dict[str, Advice]:
    return {finding.option: finding for finding in advice(text, build, running).findings}


@pytest.mark.parametrize("build", [9294, 9538, 10229, 11549])
def test_a_command_that_writes_everything_out_gets_no_advice(build: int) -> None:
    assert found(MTP, build) == {}


def test_the_silent_one_drafting_options_without_a_type() -> None:
    finding = found(PINNED + "--spec-draft-n-max 3", 11549)["--spec-type"]
    assert finding.leads is Leads.SILENT
    assert "drafts nothing" in finding.text
    assert finding.advice == "add --spec-type draft-mtp"
    by_variable = found("LLAMA_ARG_SPEC_DRAFT_N_MAX=3 " + PINNED, 11549)["--spec-type"]
    assert by_variable.leads is Leads.SILENT
    assert found("LLAMA_ARG_SPEC_TYPE=draft-mtp " + PINNED + "--spec-draft-n-max 3", 11549) == {}
    assert "never used it" in found(PINNED + "-md head.gguf", 11549)["--spec-type"].text


@pytest.mark.parametrize(
    ("option", "build", "kind", "leads", "instead"),
    [
        ("--mlock", 10068, None, None, ""),
        ("--mlock", 10229, "deprecated", Leads.NOTE, "--load-mode"),
        ("--mlock", 11063, "gone", Leads.REFUSED, "--load-mode"),
        ("--draft-max 3", 11549, "gone", Leads.REFUSED, "--spec-draft-n-max"),
        ("--draft_max 3", 9294, "gone", Leads.REFUSED, "--spec-draft-n-max"),
        ("--lazy-mode auto", 9294, "not yet", Leads.REFUSED, "b10809"),
        ("--webui-config {}", 11549, None, None, ""),
        ("--spec-typ draft-mtp", 11549, "unknown", Leads.REFUSED, "--spec-type"),
        ("--parallel=2", 11549, "value", Leads.REFUSED, "--parallel 2"),
        ("stray", 11549, "unknown", Leads.REFUSED, ""),
        ("--threads", 11549, "value", Leads.REFUSED, ""),
        ("--flash-attn maybe", 11549, "value", Leads.REFUSED, "one of on, off, auto"),
    ],
)
def test_an_option_is_gone_renamed_or_unknown_by_build(
    option: str, build: int, kind: str | None, leads: Leads | None, instead: str
) -> None:
    # Last on the line, so that one without its value lacks it.
    findings = list(found(f"{MTP} {option}", build).values())
    assert [(finding.kind, finding.leads) for finding in findings] == ([(kind, leads)] if kind else [])
    assert all(instead in finding.advice + finding.text for finding in findings)


def test_values_of_a_list_are_looked_at_one_by_one() -> None:
    renamed = found(PINNED + "--spec-type mtp", 11549)["--spec-type mtp"]
    assert (renamed.kind, renamed.leads, renamed.advice) == ("renamed", Leads.REFUSED, "use draft-mtp")
    assert "--spec-type draft-dspark" in found(PINNED + "--spec-type draft-mtp,draft-dspark", 9294)
    assert "--spec-type draft-dspark" not in found(PINNED + "--spec-type draft-mtp,draft-dspark", 10229)
    assert found(PINNED + "--spec-draft-n-max 3 --spec-type $TYPE", 11549) == {}


def test_variables_are_read_refused_or_passed_over() -> None:
    findings = found(
        "LLAMA_ARG_MLOCK=1 LLAMA_LOG_FILE=x LLAMA_ARG_SPEC_TPYE=x LLAMA_ARG_DRAFT_MAX=3 HOME=/ " + MTP, 11549
    )
    assert {name: (f.leads, f.kind) for name, f in findings.items()} == {
        "LLAMA_ARG_DRAFT_MAX": (Leads.REFUSED, "gone"),
        "LLAMA_ARG_MLOCK": (Leads.SILENT, "ignored"),
        "LLAMA_LOG_FILE": (Leads.SILENT, "ignored"),
        "LLAMA_ARG_SPEC_TPYE": (Leads.SILENT, "ignored"),
    }
    assert findings["LLAMA_LOG_FILE"].advice == "use LLAMA_ARG_LOG_FILE"
    assert findings["LLAMA_ARG_SPEC_TPYE"].advice == "did you mean LLAMA_ARG_SPEC_TYPE?"
    assert "LLAMA_ARG_SPEC_DRAFT_N_MAX" in findings["LLAMA_ARG_DRAFT_MAX"].advice
    assert found("LLAMA_LOG_FILE=x " + MTP, 9294) == {}
    both = found("LLAMA_ARG_CTX_SIZE=5 " + MTP, 11549)["LLAMA_ARG_CTX_SIZE"]
    assert (both.leads, both.kind) == (Leads.NOTE, "ignored")


def test_the_traps_have_names() -> None:
    findings = found("llama-server -m gemma-4-31B-Q8_0.gguf --spec-type draft-mtp", 11549)
    assert {name for name, finding in findings.items() if finding.kind == "trap"} == {
        *("--spec-draft-model", "--spec-draft-n-max", "--parallel", "--fit", "--cache-prompt", "--metrics"),
    }
    assert "four" not in findings["--parallel"].text
    assert "4 streams" in findings["--parallel"].text
    assert all(finding.leads is Leads.NOTE for finding in findings.values())
    synthetic = found(MTP + " --spec-synth-rates 0.5,0.5,0.5", 11549)["--spec-synth-rates"]
    assert (synthetic.leads, synthetic.kind) == (Leads.SILENT, "trap")


def test_builds_that_cannot_do_it_at_all() -> None:
    assert found(MTP, 9100)["--spec-type draft-mtp"].kind == "not yet"
    assert found(MTP, 10742)["--spec-type"].kind == "broken"
    assert found(MTP, 10744) == {}
    gemma = MTP.replace("q.gguf", "gemma-4.gguf") + " -md head.gguf"
    assert found(gemma, 9538)["-md"].kind == "not yet"
    assert found(gemma, 9713) == {}


def test_between_two_builds_that_are_known_what_only_one_says_is_not_certain() -> None:
    looked = advice(MTP + " --mlock", 10900)
    assert not looked.basis.exact
    assert "b10809 and b11063" in looked.basis.text
    assert {(f.kind, f.certain) for f in looked.findings} == {("gone", False), ("deprecated", False)}
    assert all(finding.certain for finding in advice(MTP + " --draft-max 3", 10900).findings)
    assert "newest" in advice(MTP, 12000).basis.text
    assert "oldest" in advice(MTP, 9200).basis.text


def test_from_another_version_what_is_new_is_marked_and_moved_defaults_are_told() -> None:
    findings = found(PINNED + "--spec-type draft-mtp --mlock --draft-max 3", 11549, 9200)
    assert findings["--mlock"].new
    assert not findings["--draft-max"].new
    moved = findings["--spec-draft-n-max"]
    assert (moved.leads, moved.kind) == (Leads.SILENT, "default")
    assert "is 3 in b11549; it was 16 in b9200" in moved.text
    assert moved.advice == "--spec-draft-n-max 16 keeps what runs now"
    assert "--timeout" in findings
    assert "--timeout" not in found(MTP + " --timeout 60", 11549, 9294)
    # Only what stands behind the number was written otherwise.
    assert "--repeat-last-n" not in findings


def test_its_own_help_page_decides_where_the_build_is_here() -> None:
    page = "--spec-type none,draft-mtp,draft-new    types (default: none)\n-m,    --model FNAME" + " " * 20
    looked = look_at(
        read_command("llama-server --model q.gguf --spec-type draft-new --mlock"),
        version_of("llama.cpp==12345", "--for"),
        None,
        lambda *_: page,
    )
    assert looked.basis.exact
    assert {(f.option, f.kind) for f in looked.findings if f.leads is Leads.REFUSED} == {("--mlock", "gone")}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        *(("llama.cpp", "names no version"), ("lama.cpp==b1", "names no version"), ("llama.cpp==", "names")),
        ("xllamacpp==latest", "not known"),
        ("llama-cpp-python==0.1.0", "not known"),
    ],
)
def test_a_version_that_cannot_be_placed_is_refused(spec: str, said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        version_of(spec, "--for")
    assert version_of("xllamacpp==2026.10.11549", "--for").build == 11549


def test_command_and_version_must_be_of_one_engine() -> None:
    with pytest.raises(UnknownNameError, match="has none"):
        look_at(read_command("llama-server"), version_of("vllm==0.33.0", "--for"), None)
    with pytest.raises(UnknownNameError, match="has none"):
        look_at(read_command("vllm serve m"), version_of("llama.cpp==b11549", "--for"), None)
