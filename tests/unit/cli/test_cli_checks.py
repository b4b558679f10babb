"""checks: what a person or a script is told of each, and whether it can run here."""

from __future__ import annotations

import pytest

from monitor import host as hosts
from monitor.checks import loader
from standins.cli import GPU, Call, documented


def test_checks_lists_every_check_with_why_it_is_not_runnable_here(call: Call) -> None:
    listed = {check["id"]: check for check in documented(call("checks", "--json"))["checks"]}
    assert list(listed) == list(loader.load_checks())
    assert listed["synthetic-qwen35-cpu"]["runnable"] is True
    assert listed["synthetic-qwen35-cpu"]["assigned_to"] == ["xllamacpp"]
    away = listed["gemma-4-31b-vllm-fp8.n4"]
    assert (away["runnable"], away["draft_length"], away["engine"]) == (False, 4, "vllm")
    # Of a full disk it would be told as well.
    assert "needs an NVIDIA GPU with 80 GiB of memory; this machine has none" in away["reasons"]
    assert away["estimate_minutes"] == {"quick": 10, "full": 26}
    shown = call("checks").stdout
    assert shown.index("Runnable here") < shown.index("synthetic-qwen35-cpu") < shown.index("Not here: needs")
    assert all(check in shown for check in listed)


def test_checks_finds_the_reference_machine_able(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "read_gpus", lambda: (GPU,))
    monkeypatch.setattr(hosts, "free_disk", lambda _path: 2**40)
    listed = documented(call("checks", "--json"))["checks"]
    assert [check["id"] for check in listed if not check["runnable"]] == []


def test_checks_shows_one_in_full_with_its_digest(call: Call) -> None:
    check = loader.load_check("gemma-4-31b-vllm-fp8.n4")
    shown = call("checks", check.id).stdout
    for part in (check.title, check.digest, "RedHatAI/gemma-4-31B-it-FP8-block@main", "not pinned", "1.6"):
        assert part in shown
    [entry] = documented(call("checks", check.id, "--json"))["checks"]
    assert (entry["digest"], entry["definition"]["draft_length"]) == (check.digest, 4)


def test_an_unknown_check_is_a_usage_error_that_names_the_nearest(call: Call) -> None:
    done = call("checks", "synthetic-qwen35-cpv", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "did you mean 'synthetic-qwen35-cpu'?" in done.stderr
