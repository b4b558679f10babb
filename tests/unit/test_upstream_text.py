"""The text for a project's tracker: what stands in it, what never does, and that it fits."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factory_upstream import other_check, side, text, view_of
from markdown_it import MarkdownIt

import factories
from factory_values import HOSTILE, NOW, artifact, environment
from monitor.checks import standalone
from monitor.checks.synthetic import write_model
from monitor.checks.synthetic_checkpoint import write_checkpoint
from monitor.checks.synthetic_recipe import Form, SyntheticRecipe
from monitor.domain import (
    Answer,
    Arm,
    Bisection,
    BisectionState,
    Check,
    Metric,
    ModelSpec,
    Package,
    Prompt,
    Tier,
    Verdict,
    Visit,
    Workload,
)
from monitor.judge.drift import Creep
from monitor.views.upstream.commands import Reproduction, reproduction
from monitor.views.upstream.parts import BAD, GOOD, Side
from monitor.views.upstream.servers import starting
from monitor.views.upstream.text import MOST_CHARACTERS, upstream_text

_BLOCK = re.compile(r"^(`{3,})sh\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
MENTION = "@everyone #1 `x` <b>|"


def headings(body: str) -> list[str]:
    return [line[3:] for line in body.splitlines() if line.startswith("## ")]


def test_the_text_says_what_a_stranger_needs() -> None:
    told = text()

    assert told.title.startswith("MTP acceptance drop in xllamacpp ")
    assert " against " in told.title
    assert "acceptance" in told.title.partition(": ")[2]
    assert headings(told.body) == [
        "Versions",
        "Packages that differ",
        "Machine",
        "How to see it",
        "Figures",
        "Drafted and accepted",
        "Is the output the same?",
        "What was ruled out",
    ]
    for file in (side(GOOD, factories.OLD).artifact, side(BAD, factories.NEW).artifact):
        assert file.sha256 in told.body
        assert f"xllamacpp=={file.version}" in told.script
    assert "| `numpy` | `2.3.5` | `2.4.0` |" in told.body
    assert "numpy==2.3.5" in told.script
    assert "numpy==2.4.0" in told.script
    assert "in turns (good, bad, bad, good)" in told.body
    assert "steps that accepted draft 3" in told.body
    assert told.tracker == "https://github.com/ggml-org/llama.cpp/issues/new"


def test_the_blocks_of_the_body_are_the_script_and_the_stated_lines_stand_below() -> None:
    told = text()

    assert "\n".join(found[2].rstrip() for found in _BLOCK.finditer(told.body)) == told.script
    assert [line.partition(":")[0] for line in told.expected] == [
        *("good-baseline", "good-mtp", "bad-baseline", "bad-mtp")
    ]
    assert "\n".join(told.expected) in told.body
    counts = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in told.expected]
    assert counts[0]["drafted"] == counts[2]["drafted"] == "0"
    assert int(counts[1]["accepted"]) > int(counts[3]["accepted"]) > 0
    assert subprocess.run(["/bin/sh", "-n"], input=told.script, text=True, check=False).returncode == 0


def test_nothing_of_this_machine_or_its_owner_stands_in_the_text() -> None:
    view = replace(factories.planted(), planted=False)
    private = replace(
        view,
        host=replace(view.host, name="gpu-7.corp.example", machine_id="secret-id"),
        check=replace(
            view.check,
            serve=view.check.serve
            | {"environment": {"HF_TOKEN": "canary-token", "GGML_X": "/opt/private/x"}},
        ),
    )
    told = text(private)
    everything = told.title + told.body + told.script
    for canary in ("gpu-7", "corp.example", "secret-id", "canary-token", "/opt/private", "/var/lib"):
        assert canary not in everything
    assert "files.example" not in everything  # the index may be a mirror of the owner's
    assert any("HF_TOKEN" in note for note in told.notes)


def test_text_from_outside_takes_no_effect() -> None:
    view = replace(factories.planted(), planted=False)
    assert view.judgement
    evil = f"{HOSTILE} {MENTION}"
    judgement = replace(
        view.judgement,
        headline=evil,
        lossless=replace(view.judgement.lossless, note=evil, verdict="regressed"),
    )
    bad = side(BAD, factories.NEW)
    packages = (*bad.environment.packages, Package(MENTION, HOSTILE))
    told = upstream_text(
        view_of(
            replace(
                view, project=evil, version=evil, reference_version=evil, host=replace(view.host, cpu=evil)
            ),
            judgement=judgement,
            bad=replace(
                bad,
                artifact=replace(bad.artifact, filename=evil, version=evil),
                environment=replace(bad.environment, packages=packages),
            ),
        )
    )
    assert "\n" not in told.title
    tokens = MarkdownIt("commonmark").enable("table").parse(told.body)
    inline = [child for token in tokens for child in token.children or ()]
    html = [token.content.split() for token in (*tokens, *inline) if token.type.startswith("html")]
    assert {word for found in html for word in found} <= {
        *("<details><summary>the", "script</summary>", "</details>")
    }
    assert {token.attrs["href"] for token in inline if token.type == "link_open"} <= {
        "https://docs.astral.sh/uv/"
    }
    assert not [token for token in inline if token.type == "image"]
    shown = " ".join(token.content for token in inline if token.type == "text")
    assert not re.search(r"[@#]\w", shown)
    # A name with quotes and semicolons in it is an argument, not a command.
    assert subprocess.run(["/bin/sh", "-n"], input=told.script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view_of(view, judgement=replace(view.judgement, headline="x" * 200_000)),
        lambda view: view_of(
            view,
            bad=replace(
                side(BAD, factories.NEW),
                environment=replace(
                    environment(factories.NEW),
                    packages=tuple(Package(f"package-{n:05d}" * 20, "1" * 300) for n in range(900)),
                ),
            ),
        ),
        lambda view: view_of(replace(view, check=_with_prompt(view.check, "long " * 40_000))),
    ],
)
def test_whatever_there_is_to_tell_an_issue_can_hold_it(change: Any) -> None:
    told = upstream_text(change(replace(factories.planted(), planted=False)))

    assert len(told.body) <= MOST_CHARACTERS
    assert "## Versions" in told.body
    if told.body.count("```") % 2:
        pytest.fail("a block is left open")


def _with_prompt(check: Check, said: str) -> Check:
    return replace(
        check,
        workloads=tuple(
            Workload(one.name, tuple(replace(prompt, text=said) for prompt in one.prompts), one.sha256)
            for one in check.workloads
        ),
    )


def test_the_bisected_builds_are_named() -> None:
    def visit(place: int, version: str, answer: Answer | None) -> Visit:
        return Visit(place, version, version, "stable", False, place, None, answer, "", True, NOW)

    found = Bisection(
        id=1,
        check_id="c",
        check_digest="d",
        project="xllamacpp",
        machine_id="m",
        tier=Tier.QUICK,
        requested_by="x",
        priority=0,
        incident_id=1,
        state=BisectionState.NARROWED,
        reason="",
        began_at=NOW,
        ended_at=NOW,
        visits=(
            visit(0, "1.0", Answer.GOOD),
            visit(1, "1.1", Answer.GOOD),
            visit(2, "1.2", Answer.SKIPPED),
            visit(3, "1.3", Answer.BAD),
            visit(4, "1.4", Answer.BAD),
        ),
    )
    body = text(bisection=found).body
    assert "the last good build is `1.1`, the first bad one `1.3`" in body
    assert "do not install or start): `1.2`" in body
    of_commit = (*found.visits[:3], replace(found.visits[3], commit="ab" * 20), found.visits[4])
    body = text(bisection=replace(found, visits=of_commit)).body
    assert f"the first bad one `1.3` (commit {'ab' * 20})" in body


def test_a_file_on_no_public_index_is_asked_for_and_checked() -> None:
    bad = side(BAD, factories.NEW, published=False)
    bad = replace(bad, artifact=replace(bad.artifact, url="file:///srv/wheels/some%2Bfile.whl"))
    told = text(bad=bad)

    assert f'echo "{bad.artifact.sha256}  $WHEELS"/' in told.script
    assert '--find-links "$WHEELS"' in told.script
    assert "/srv/wheels" not in told.body
    assert any("/srv/wheels/some+file.whl" in note for note in told.notes)


# ---------------------------------------------------------------------------------------------
# Servers of other engines


def test_vllm_is_started_with_its_own_command_line_without_secrets_and_places() -> None:
    check = other_check(
        engine="vllm",
        serve={
            "context": 4096,
            "flags": ["--api-key", "canary", "--chat-template", "/home/me/t.jinja", "--hf-token=canary2"],
            "environment": {"VLLM_USE_V2": "1", "HF_TOKEN": "canary3"},
        },
        draft_model=ModelSpec("assistant", "huggingface", {}, "org/assistant", "f" * 40),
    )
    found = starting(check, Arm.MTP, environment("0.33.0"))
    assert found is not None
    assert found.command.startswith('env VLLM_RPC_BASE_PATH=. VLLM_USE_V2=1 "$1/bin/python" -u ')
    assert '--model "$MODEL" --served-model-name' in found.command
    assert "SECRET --p" not in found.command.partition("--model")[0]
    assert '--port "$PORT" --max-model-len 4096' in found.command
    assert r"\"model\": \"$DRAFT\"" in found.command
    assert "canary" not in found.command
    assert "--api-key SECRET --chat-template ./t.jinja --hf-token=SECRET" in found.command
    assert len(found.hidden) == 4


def test_llama_server_is_found_in_the_folder_of_the_release() -> None:
    check = other_check(engine="llama-server", serve={"context": 4096, "threads": 2})
    found = starting(check, Arm.MTP, environment("9294"))
    assert found is not None
    assert found.command.startswith('"$1/bin/llama-server" --model "$MODEL" --host 127.0.0.1 --port "$PORT"')
    assert "draft-mtp" in found.command


def test_weights_from_the_hub_are_named_by_revision() -> None:
    check = other_check(
        model=ModelSpec(
            "qwen", "huggingface", {}, "org/qwen-GGUF", "a" * 40, ("q8.gguf",), {"q8.gguf": "b" * 64}
        )
    )
    prompt = Prompt("p", "code", 16, text="x")
    made = reproduction(check, side(GOOD, "1"), side(BAD, "2"), prompt, model_sha256="c" * 64)
    assert isinstance(made, Reproduction)
    assert f"hf download org/qwen-GGUF q8.gguf --revision {'a' * 40} --local-dir model" in made.script
    assert f"{'b' * 64}  model/q8.gguf" in made.script


def test_what_no_commands_can_reproduce_says_why_in_plain_words() -> None:
    view = replace(factories.planted(), planted=False)
    image = replace(artifact("2"), url="docker://ghcr.example/vllm@sha256:00", filename="vllm:v2")
    in_image = Side(BAD, image, environment("2"))
    silent = replace(view, reference_samples=None, confirm_reference=None)
    for told, why in (
        (text(replace(view, check=other_check(engine="endpoint", serve={}))), "started by their owner"),
        (text(view, bad=in_image), "measured in container images"),
        (text(silent), "No sessions of both releases were kept"),
        (text(replace(view, check=_with_prompt(view.check, "long " * 40_000))), "longer than an issue"),
    ):
        (section,) = re.findall(r"## How to see it\n\n(.*?)\n\n## ", told.body, re.DOTALL)
        assert why in section
        assert "no commands" in section or "not put into commands" in section
        assert "```" not in section
        assert (told.script, told.expected) == ("", ())
        assert any("no commands" in note for note in told.notes)


def test_what_one_answer_cannot_show_is_said() -> None:
    view = replace(factories.planted(), planted=False)
    assert view.judgement
    assert "one of time" not in text(view).body
    slower = replace(
        view.judgement,
        effects=tuple(
            replace(row, verdict=Verdict.REGRESSED if row.metric is Metric.STEP_TIME else Verdict.UNCHANGED)
            for row in view.judgement.effects
        ),
    )
    told = text(view, judgement=slower)
    assert "The loss is one of time, which these counts do not show" in told.body
    assert "the whole answer took" in told.script
    assert "16 prompts answered at once" in text(replace(view, check=other_check(concurrency=16))).body


# ---------------------------------------------------------------------------------------------
# Slow drift


def creep(releases: int) -> Creep:
    versions = (factories.OLD, *(f"0.2.40.{number}" for number in range(1, releases)), factories.NEW)
    changes = tuple(0.006 * number for number in range(len(versions)))
    return Creep(Metric.STEP_TIME, versions, changes, changes[-1], 0.02)


def test_slow_drift_is_told_from_the_first_good_release_to_the_last_with_its_series() -> None:
    told = text(creep=creep(10))

    assert told.title.startswith("MTP slow drift in xllamacpp ")
    assert f" since {factories.OLD}: " in told.title
    assert "bit by bit" in told.body
    (series,) = re.findall(r"## Release by release\n\n(.*?)\n\n## ", told.body, re.DOTALL)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in series.splitlines() if "`0.2" in line
    ]
    assert rows[1:3] == [[f"`{factories.OLD}`", "–", "–"], ["`0.2.40.1`", "+0.6 %", "+0.6 %"]]
    assert rows[-1] == [f"`{factories.NEW}`", "+6.2 %", "+0.6 %"]
    assert told.script  # the commands compare the two ends


def test_a_long_drift_keeps_its_ends() -> None:
    body = text(creep=creep(200)).body
    assert f"| `{factories.OLD}` | – | – |" in body
    assert f"| `{factories.NEW}` |" in body
    assert "| … 161 more |" in body
    assert "0.2.40.100`" not in body


@pytest.mark.parametrize("form", Form)
def test_the_generator_for_strangers_writes_the_same_bytes(form: Form, tmp_path: Path) -> None:
    recipe = SyntheticRecipe(n_embd=64, n_layer=4, n_ff=32, noise=1.5, seed=3, form=form)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    if form is Form.GGUF:
        write_model(recipe, ours)
    else:
        ours.mkdir()
        write_checkpoint(recipe, ours)
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name, source in standalone.files(recipe).items():
        (folder / name).write_text(source, encoding="utf-8")
        assert "monitor" not in source.replace("mtp-monitor synthetic model", "")
    subprocess.run([sys.executable, "make_model.py", theirs], check=True, cwd=folder, capture_output=True)

    assert _content(theirs) == _content(ours) != {}


def _content(path: Path) -> dict[str, str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        file.name if path.is_dir() else "": hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
