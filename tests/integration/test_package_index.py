from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.version import Version
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from monitor.domain import Artifact, Release, ReleaseState
from monitor.errors import ArtifactChangedError, SourceError
from monitor.index_address import find_links_here
from monitor.net import Http
from monitor.releases.package_index import PackageIndex, index_url_of
from monitor.releases.policy import decide
from monitor.releases.projects import PROJECTS
from monitor.settings_tables import SourceSettings
from standins.index import IndexServer
from standins.polled import only_artifact, poll, source, versions
from standins.wheels import wheel

# ---------------------------------------------------------------------------------------------
# The real index


def test_the_real_index_lists_the_known_releases_with_all_that_identifies_them(http: Http) -> None:
    settings = SourceSettings(project="xllamacpp")

    releases = PackageIndex(settings, http).poll()

    assert [(a, b) for a, b in pairwise(versions(releases)) if Version(a) >= Version(b)] == []
    assert {"2026.5.9294", "2026.9.11063", "2026.10.11549"} <= set(versions(releases))
    decisions = decide(
        releases,
        settings,
        now=datetime.now(UTC),
        python_version="3.11",
        first_mtp_version=PROJECTS["xllamacpp"].first_mtp_version,
        platforms=("manylinux2014_x86_64",),
    )
    aged = {item.release.version: item.artifact for item in decisions if item.state is ReleaseState.AGED}
    assert "2026.5.9093" not in aged
    found = aged["2026.10.11549"]
    assert found is not None
    assert "cp310-abi3-manylinux2014_x86_64" in found.filename
    assert (len(found.sha256), found.requires_python, found.yanked) == (64, ">=3.10", None)
    assert found.size
    assert found.uploaded_at is not None
    assert found.uploaded_at.date().isoformat() == "2026-10-10"


# ---------------------------------------------------------------------------------------------
# What a listing says


def test_every_field_of_a_file_arrives(index: IndexServer, http: Http) -> None:
    name, content = wheel("demo", "1.0")
    sha256 = index.add("demo", name, content, requires_python=">=3.9", yanked="broken")

    (release,) = poll(index, http)

    uploaded = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert release == Release(
        project="demo",
        version="1.0",
        channel="stable",
        published_at=uploaded,
        artifacts=(
            Artifact(
                project="demo",
                version="1.0",
                filename=name,
                sha256=sha256,
                url=f"{index.root}/files/demo/{name}",
                size=len(content),
                requires_python=">=3.9",
                uploaded_at=uploaded,
                yanked="broken",
            ),
        ),
    )


def test_versions_come_in_their_own_order_and_not_in_that_of_letters(index: IndexServer, http: Http) -> None:
    names = ["0.10.1.1.post2", "0.9.2", "0.33.0", "0.9.0.1", "1.0rc1", "0.8.5.post1", "1.0+planted.worse"]
    for version in names:
        index.add("demo", *wheel("demo", version))
    index.add("demo", "demo-2004d.tar.gz", b"odd")

    assert versions(poll(index, http)) == [
        "2004d",
        "0.8.5.post1",
        "0.9.0.1",
        "0.9.2",
        "0.10.1.1.post2",
        "0.33.0",
        "1.0rc1",
        "1.0+planted.worse",
    ]


def test_a_version_whose_files_are_gone_is_still_a_release(index: IndexServer, http: Http) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    index.add_version("demo", "2.0")

    one, two = poll(index, http)

    assert (len(one.artifacts), two.version, two.artifacts, two.published_at) == (1, "2.0", (), None)


def test_upload_times_and_yanks_are_understood_in_all_their_forms(index: IndexServer, http: Http) -> None:
    forms = {
        "1.0": {"upload_time": "2026-09-01T10:00:00Z", "yanked": True},
        "2.0": {"upload_time": "2026-09-01T12:00:00.5+02:00", "yanked": ""},
        "3.0": {"upload_time": "2026-09-01T10:00:00", "yanked": "why"},
        "4.0": {"upload_time": "yesterday", "yanked": None, "size": "big", "requires_python": 3},
    }
    for version, fields in forms.items():
        index.add("demo", *wheel("demo", version), **fields)

    found = [only_artifact((release,)) for release in poll(index, http)]

    assert [item.yanked for item in found] == ["", None, "why", None]
    moments = [item.uploaded_at for item in found]
    assert moments[0] == moments[2] == datetime(2026, 9, 1, 10, 0, tzinfo=UTC)
    assert moments[1] == datetime(2026, 9, 1, 10, 0, 0, 500000, UTC)
    assert moments[3] is None
    assert (found[3].size, found[3].requires_python) == (None, None)


def test_addresses_of_files_may_be_relative(index: IndexServer, http: Http) -> None:
    index.relative_urls = True
    name, content = wheel("demo", "1.0")
    sha256 = index.add("demo", name, content)

    found = only_artifact(poll(index, http))

    assert found.url == f"{index.root}/files/demo/{name}"
    assert http.get(found.url, max_bytes=2**20, deadline_s=10).body == content
    assert found.sha256 == sha256


def test_an_index_that_only_speaks_html_is_read_as_well(index: IndexServer, http: Http) -> None:
    index.form = "html"
    name, content = wheel("demo", "1.0")
    sha256 = index.add("demo", name, content, requires_python=">=3.9,<4", yanked="a \"bad\" & 'sad' one")

    found = only_artifact(poll(index, http))

    assert (found.filename, found.sha256, found.requires_python) == (name, sha256, ">=3.9,<4")
    assert found.yanked == "a \"bad\" & 'sad' one"
    assert (found.uploaded_at, found.size) == (None, None)


def test_files_that_cannot_be_identified_are_left_out_and_nothing_else(
    index: IndexServer, http: Http
) -> None:
    good = wheel("demo", "1.0")
    index.add("demo", *good)
    index.add("demo", *wheel("demo", "2.0"), hashes={"md5": "0" * 32})
    index.add("demo", *wheel("demo", "3.0"), url="file:///etc/passwd")
    index.add("demo", *wheel("other", "4.0"))
    index.add("demo", "demo-5.0.exe.txt", b"")
    index.add("demo", *wheel("demo", "6.0"), hashes={"sha256": "nonsense"})

    releases = poll(index, http)

    assert only_artifact(releases).filename == good[0]
    assert "2.0" in versions(releases)


# ---------------------------------------------------------------------------------------------
# What changes between two looks


def test_a_re_upload_at_the_same_address_is_another_artifact(index: IndexServer, http: Http) -> None:
    name, before = wheel("demo", "1.0", body="a = 1")
    index.add("demo", name, before)
    looked = PackageIndex(source(index), http)
    first = only_artifact(looked.poll())

    index.add("demo", name, wheel("demo", "1.0", body="a = 2")[1])
    second = only_artifact(looked.poll())

    assert (first.filename, first.url) == (second.filename, second.url)
    assert first.sha256 != second.sha256


def test_a_new_build_of_the_same_version_stands_beside_the_old_one(index: IndexServer, http: Http) -> None:
    index.add("demo", *wheel("demo", "1.0", body="a = 1"))
    index.add("demo", *wheel("demo", "1.0", build="2", body="a = 2"))

    (release,) = poll(index, http)

    assert [item.filename for item in release.artifacts] == [
        "demo-1.0-2-py3-none-any.whl",
        "demo-1.0-py3-none-any.whl",
    ]


def test_a_file_that_was_taken_back_is_not_listed_any_more(index: IndexServer, http: Http) -> None:
    name, content = wheel("demo", "1.0")
    index.add("demo", name, content)
    index.add("demo", *wheel("demo", "2.0"))
    index.remove("demo", name)

    assert versions(poll(index, http)) == ["2.0"]


# ---------------------------------------------------------------------------------------------
# Folders and pages beside the index


def test_a_folder_adds_its_files_and_a_changed_file_is_read_again(
    index: IndexServer, http: Http, tmp_path: Path
) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    name, content = wheel("demo", "1.0+planted.worse.head")
    (tmp_path / name).write_bytes(content)
    (tmp_path / wheel("other", "1.0")[0]).write_bytes(b"")
    (tmp_path / "readme.txt").write_bytes(b"")
    looked = PackageIndex(source(index, find_links=[str(tmp_path)]), http)

    plain, planted = looked.poll()

    assert (plain.version, planted.version) == ("1.0", "1.0+planted.worse.head")
    found = only_artifact((planted,))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.url == (tmp_path / name).as_uri()
    assert found.uploaded_at is not None

    (tmp_path / name).write_bytes(content + b"\n")
    os.utime(tmp_path / name, (1, 1))
    assert only_artifact(looked.poll()[1:]).sha256 == hashlib.sha256(content + b"\n").hexdigest()


def test_a_page_of_links_adds_its_files(index: IndexServer, http: Http) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    with IndexServer() as page:
        page.form = "html"
        page.add("wheels", *wheel("demo", "2.0"))
        page.add("wheels", *wheel("other", "3.0"))

        assert versions(poll(index, http, find_links=[f"{page.url}wheels/"])) == ["1.0", "2.0"]


def test_the_same_file_in_both_places_is_one_artifact_and_two_contents_are_refused(
    index: IndexServer, http: Http, tmp_path: Path
) -> None:
    name, content = wheel("demo", "1.0")
    index.add("demo", name, content)
    (tmp_path / name).write_bytes(content)

    assert only_artifact(poll(index, http, find_links=[str(tmp_path)])).url.startswith("file:")

    (tmp_path / name).write_bytes(content + b"\n")
    with pytest.raises(ArtifactChangedError, match=name):
        poll(index, http, find_links=[str(tmp_path)])


def test_a_folder_that_is_not_there_is_an_error_and_takes_no_release_away(
    index: IndexServer, http: Http, tmp_path: Path
) -> None:
    index.add("demo", *wheel("demo", "1.0"))

    with pytest.raises(SourceError, match="gone"):
        poll(index, http, find_links=[str(tmp_path / "gone")])


def test_an_index_may_be_a_folder(http: Http, tmp_path: Path) -> None:
    name, content = wheel("demo", "1.0")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / name).write_bytes(content)
    settings = SourceSettings(project="demo", index_url=tmp_path.as_uri())

    found = only_artifact(PackageIndex(settings, http).poll())
    assert found.url == (tmp_path / "demo" / name).as_uri()

    (tmp_path / "demo" / "index.html").write_text(f'<a href="{name}#sha256={found.sha256}">x</a>')
    assert only_artifact(PackageIndex(settings, http).poll()).url == found.url


# ---------------------------------------------------------------------------------------------
# Which index


def test_the_index_is_the_sources_own_else_the_one_uv_and_pip_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://global.example/simple\n")
    unset = SourceSettings(project="demo")

    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert index_url_of(unset) == PYPI_SIMPLE_ENDPOINT
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert index_url_of(unset) == "https://global.example/simple"
    config.write_text(config.read_text() + "[install]\nindex-url = https://install.example/simple\n")
    assert index_url_of(unset) == "https://install.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    assert index_url_of(unset) == "https://pip.example/simple"
    monkeypatch.setenv("UV_INDEX_URL", "https://uv-old.example/simple")
    assert index_url_of(unset) == "https://uv-old.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mine=https://uv.example/simple?a=b")
    assert index_url_of(unset) == "https://uv.example/simple?a=b"
    own = SourceSettings(project="demo", index_url="https://own.example/simple")
    assert index_url_of(own) == "https://own.example/simple"


def test_further_places_are_those_that_uv_and_pip_use_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nfind-links =\n    /wheels\n    https://files.example/more\n")

    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert find_links_here() == ()
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert find_links_here() == ("/wheels", "https://files.example/more")
    monkeypatch.setenv("PIP_FIND_LINKS", "/one /two")
    assert find_links_here() == ("/one", "/two")
    monkeypatch.setenv("UV_FIND_LINKS", "/three,/four")
    assert find_links_here() == ("/three", "/four")
