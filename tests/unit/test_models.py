"""Weights: fetched from a stand-in of the hub on loopback, written from a recipe, or the owner's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from monitor.checks import hub as hub_module
from monitor.checks import models, synthetic
from monitor.checks.loader import load_checks
from monitor.checks.synthetic_recipe import SyntheticRecipe
from monitor.domain import ModelSpec
from monitor.errors import DiskFullError, ModelError
from standins.hub import COMMIT, WEIGHTS, HubServer, git_id, sha256

TOKEN = "hf_canary_71c3"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(hub_module.time, "sleep", lambda _: None)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


MODEL = ModelSpec(name="m", kind="huggingface", repository="org/m", revision="main", files=("m.gguf",))


def refused(spec: ModelSpec, models_dir: Path, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        models.fetch(spec, models_dir, **options)
    assert caught.value.advice
    return caught.value


def test_a_file_is_fetched_at_the_commit_and_found_again(hub: HubServer, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert models.locate(MODEL, tmp_path) is None
    path = models.fetch(MODEL, tmp_path, progress=lambda *report: told.append(report))
    assert path.read_bytes() == WEIGHTS
    assert path == models.locate(MODEL, tmp_path)
    assert told[-1] == ("m.gguf", len(WEIGHTS), len(WEIGHTS))
    verified = models.verify(MODEL, tmp_path)
    assert (verified.path, verified.sha256, verified.bytes) == (path, sha256(WEIGHTS), len(WEIGHTS))
    assert verified.revision == COMMIT
    requests = len(hub.seen)
    models.fetch(MODEL, tmp_path)
    assert len(hub.seen) == requests


def test_a_whole_repository_is_served_as_a_folder_without_its_hidden_files(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.files[".gitattributes"] = b"x"
    hub.files["sub/part.bin"] = b"abc"
    spec = replace(MODEL, files=())
    hub.files["part.bin"] = b"abc"  # the stand-in serves by the last part of a path
    folder = models.fetch(spec, tmp_path)
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert names == {"config.json", "m.gguf", "part.bin", "sub/part.bin", "manifest.json"}
    assert set(models.verify(spec, tmp_path).files) == names - {"manifest.json"}


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: HubServer, tmp_path: Path) -> None:
    models.fetch(MODEL, tmp_path, TOKEN)
    by_store = {path.startswith("/store/"): token for path, token, _ in hub.seen}
    assert by_store == {True: None, False: f"Bearer {TOKEN}"}
    assert not any(TOKEN in file.read_text() for file in tmp_path.rglob("manifest.json"))


def test_a_listing_that_goes_on_elsewhere_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.next_page = "http://files.example/api"
    assert "no answer" in refused(MODEL, tmp_path, token=TOKEN).what


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub: HubServer, tmp_path: Path) -> None:
    hub.cut_after = [100_000, 50_000]
    assert models.fetch(MODEL, tmp_path).read_bytes() == WEIGHTS
    ranges = [wanted for path, _, wanted in hub.seen if path.startswith("/store/")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_download_that_keeps_breaking_off_is_gone_on_with_by_the_next_fetch(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.cut_after = [1000] + [0] * 5
    error = refused(MODEL, tmp_path)
    assert not error.permanent
    assert models.locate(MODEL, tmp_path) is None
    assert models.fetch(MODEL, tmp_path).read_bytes() == WEIGHTS
    assert hub.seen[-1][2] == "bytes=1000-"


def test_a_line_that_breaks_again_and_again_brings_a_large_file_as_long_as_each_try_brings_some(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.cut_after = [1000, 0, 0, 0, 0] * 3
    assert models.fetch(MODEL, tmp_path).read_bytes() == WEIGHTS
    assert hub.seen[-1][2] == "bytes=3000-"


def test_a_hub_that_begins_again_and_breaks_off_at_the_same_place_brings_nothing(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.cut_after, hub.without_ranges = [1000] * 6, True
    assert "5 times in a row without bringing more" in refused(MODEL, tmp_path).what
    assert len(hub.downloads()) == 6


def test_a_hub_without_ranges_is_begun_again(hub: HubServer, tmp_path: Path) -> None:
    hub.cut_after, hub.without_ranges = [1000], True
    assert models.fetch(MODEL, tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["m.gguf", "config.json"])
def test_another_content_than_listed_is_refused_and_not_kept(
    name: str, hub: HubServer, tmp_path: Path
) -> None:
    content = hub.files[name]
    hub.serve_instead[name] = b"\xff" + content[1:]
    spec = replace(MODEL, files=(name,))
    assert "another content" in refused(spec, tmp_path).what
    assert models.locate(spec, tmp_path) is None
    hub.serve_instead.clear()
    assert models.fetch(spec, tmp_path).read_bytes() == content


def test_a_file_that_is_not_the_pinned_one_is_refused(hub: HubServer, tmp_path: Path) -> None:
    spec = replace(MODEL, sha256={"m.gguf": "0" * 64})
    assert "than the check pins" in refused(spec, tmp_path).what
    assert models.locate(spec, tmp_path) is None


def test_a_file_that_the_repository_lacks_is_told_with_what_it_has(hub: HubServer, tmp_path: Path) -> None:
    error = refused(replace(MODEL, files=("x.gguf",)), tmp_path)
    assert "has no x.gguf" in error.what
    assert "m.gguf" in error.advice


@pytest.mark.parametrize(
    ("status", "what", "permanent"),
    [
        ({"/api": 401}, "does not give org/m@main to us", True),
        ({"/org": 403}, "does not give m.gguf", True),
        ({"/api": 404}, "has no org/m@main", True),
        ({"/api": 503}, "does not answer", False),
        ({"/store": 503}, "broke off", False),
        ({"/api": 418}, "answered 418", False),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(
    status: dict[str, int], what: str, permanent: bool, hub: HubServer, tmp_path: Path
) -> None:
    hub.status = status
    error = refused(MODEL, tmp_path)
    assert what in error.what
    assert error.permanent is permanent


def test_a_sign_in_page_is_no_answer(hub: HubServer, tmp_path: Path) -> None:
    hub.html = True
    assert "no answer" in refused(MODEL, tmp_path).what


def test_a_hub_that_is_not_there_is_told(tmp_path: Path, hub: HubServer) -> None:
    error = refused(MODEL, tmp_path, endpoint="http://127.0.0.1:1")
    assert "does not answer" in error.what
    assert not error.permanent


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/../../b", "..\\b", ""])
def test_a_listing_cannot_write_outside_its_folder(path: str, hub: HubServer, tmp_path: Path) -> None:
    hub.extra = [{"type": "file", "path": path, "size": 3, "oid": git_id(b"abc")}]
    assert "no answer" in refused(replace(MODEL, files=()), tmp_path).what


def test_a_model_that_does_not_fit_the_disk_is_not_begun(hub: HubServer, tmp_path: Path) -> None:
    hub.extra = [{"type": "file", "path": "huge", "size": 2**60, "oid": "0"}]
    with pytest.raises(DiskFullError, match="GiB"):
        models.fetch(replace(MODEL, files=()), tmp_path)
    assert not [path for path, _, _ in hub.seen if "resolve" in path]


# ---------------------------------------------------------------------------------------------
# On disk


def test_an_altered_file_is_found_by_hashing_it_again(hub: HubServer, tmp_path: Path) -> None:
    path = models.fetch(MODEL, tmp_path)
    path.write_bytes(WEIGHTS[:-1] + b"?")
    assert models.locate(MODEL, tmp_path) == path
    with pytest.raises(ModelError, match="was altered") as caught:
        models.verify(MODEL, tmp_path)
    assert "models fetch m" in caught.value.advice


def test_a_missing_or_shortened_file_counts_as_not_there_and_is_fetched_again(
    hub: HubServer, tmp_path: Path
) -> None:
    path = models.fetch(MODEL, tmp_path)
    path.write_bytes(WEIGHTS[:10])
    assert models.locate(MODEL, tmp_path) is None
    path.unlink()
    with pytest.raises(ModelError, match=r"m\.gguf is missing"):
        models.verify(MODEL, tmp_path)
    assert models.fetch(MODEL, tmp_path).read_bytes() == WEIGHTS


def test_a_model_that_was_never_fetched_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not in") as caught:
        models.verify(MODEL, tmp_path)
    assert "models fetch m" in caught.value.advice


def test_own_weights_are_found_beside_the_others_or_by_an_absolute_path(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    spec = ModelSpec(name="own", kind="path", files=("own.gguf",))
    assert "own.gguf does not exist" in refused(spec, tmp_path).what
    file.write_bytes(b"weights")
    assert models.fetch(spec, tmp_path) == file
    assert models.locate(replace(spec, files=(str(file),)), tmp_path / "other") == file
    assert models.verify(spec, tmp_path).sha256 == sha256(b"weights")
    with pytest.raises(ModelError, match="not the file that the check pins"):
        models.verify(replace(spec, sha256={"own.gguf": "0" * 64}), tmp_path)


def test_an_own_folder_is_hashed_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "ckpt" / "sub").mkdir(parents=True)
    (tmp_path / "ckpt" / "a").write_bytes(b"a")
    (tmp_path / "ckpt" / "sub" / "b").write_bytes(b"b")
    spec = ModelSpec(name="own", kind="path", files=("ckpt",))
    verified = models.verify(spec, tmp_path)
    assert verified.path == tmp_path / "ckpt"
    assert verified.files == {"ckpt/a": sha256(b"a"), "ckpt/sub/b": sha256(b"b")}
    assert verified.bytes == 2


def test_a_folder_that_cannot_be_written_is_told(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot be written" in refused(MODEL, tmp_path / "file").what


def test_every_model_of_the_checks_is_listed_once_with_its_checks(tmp_path: Path) -> None:
    checks = load_checks()
    listed = models.list_models(checks.values(), tmp_path)
    by_name = {status.spec.name: status for status in listed}
    assert len(by_name) == len(listed)
    drafting = [
        check.id
        for check in checks.values()
        if check.draft_model is not None and check.draft_model.name == "gemma-4-31b-assistant"
    ]
    assert sorted(by_name["gemma-4-31b-assistant"].checks) == sorted(drafting) != []
    assert all(status.path is None and status.bytes is None for status in listed)


def test_a_listed_model_shows_what_was_fetched(hub: HubServer, tmp_path: Path) -> None:
    models.fetch(MODEL, tmp_path)
    check = replace(next(iter(load_checks().values())), model=MODEL, draft_model=None, beside={})
    (status,) = models.list_models([check], tmp_path)
    assert (status.bytes, status.sha256, status.revision) == (len(WEIGHTS), sha256(WEIGHTS), COMMIT)


@dataclass(frozen=True)
class Written:
    """What the generator answers with."""

    path: Path
    sha256: str
    bytes: int


RECIPE = {"n_embd": 64, "n_layer": 4, "n_ff": 128, "noise": 1.1, "seed": 7}


class StandInGenerator:
    """Writes the recipe's seed as the weights."""

    @staticmethod
    def write_model(recipe: SyntheticRecipe, path: Path) -> Written:
        content = str(recipe.seed).encode()
        path.write_bytes(content)
        return Written(path, sha256(content), len(content))


def test_a_synthetic_model_is_written_once_for_each_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "write_model", StandInGenerator.write_model)
    spec = ModelSpec(name="tiny", kind="synthetic", recipe=RECIPE)
    path = models.fetch(spec, tmp_path)
    assert path.read_bytes() == b"7"
    assert models.verify(spec, tmp_path).sha256 == sha256(path.read_bytes())
    assert models.fetch(spec, tmp_path) == path
    assert models.fetch(replace(spec, recipe=RECIPE | {"seed": 8}), tmp_path) != path
    assert not list(tmp_path.glob("*.part"))


def test_a_disk_that_fills_up_while_a_model_is_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Written:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StandInGenerator, "write_model", full)
    monkeypatch.setattr(synthetic, "write_model", StandInGenerator.write_model)
    spec = ModelSpec(name="tiny", kind="synthetic", recipe=RECIPE)
    with pytest.raises(DiskFullError, match="No room left"):
        models.fetch(spec, tmp_path)
    assert models.locate(spec, tmp_path) is None
