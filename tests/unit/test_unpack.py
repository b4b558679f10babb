from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.environments.unpack import Limits, Unpacked, unpack
from monitor.errors import ProvisionError

Fill = Callable[[tarfile.TarFile], None]


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, content: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def zipped(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def refused(archive: Path, into: Path, limits: Limits | None = None) -> str:
    """Expect that the archive is refused and that nothing lies outside of the folder."""
    before = {path for path in into.parent.rglob("*") if into not in path.parents}
    with pytest.raises(ProvisionError) as error:
        unpack(archive, into, limits)
    assert error.value.permanent
    assert {path for path in into.parent.rglob("*") if into not in path.parents} - {into} == before
    return error.value.what


# ---------------------------------------------------------------------------------------------
# What is sound


def test_a_release_comes_out_as_it_was_packed_with_its_hashes(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        member("llama-b1", type=tarfile.DIRTYPE, mode=0o755),
        member("./llama-b1/llama-server", b"\x7fELF", mode=0o755),
        link("llama-b1/libllama.so", "libllama.so.0"),
        member("llama-b1/libllama.so.0", b"library", mode=0o644),
        link("llama-b1/again", "llama-b1/libllama.so.0", tarfile.LNKTYPE),
        link("up/one/back", "../../llama-b1"),
    )

    found = unpack(archive, tmp_path / "out")

    top = tmp_path / "out" / "llama-b1"
    assert [item.path for item in found] == [
        *("llama-b1/again", "llama-b1/libllama.so", "llama-b1/libllama.so.0", "llama-b1/llama-server"),
        "up/one/back",
    ]
    assert found[1] == Unpacked("llama-b1/libllama.so", 0, "", link="libllama.so.0")
    assert (found[2].size, found[2].sha256) == (7, hashlib.sha256(b"library").hexdigest())
    assert (top / "libllama.so").read_bytes() == (top / "again").read_bytes() == b"library"
    assert os.access(top / "llama-server", os.X_OK)
    assert not os.access(top / "libllama.so.0", os.X_OK)
    assert (tmp_path / "out" / "up" / "one" / "back" / "llama-server").exists()


def test_a_zip_file_comes_out_as_it_was_packed(tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "a.zip",
        ("build/bin/llama-server", b"\x7fELF", stat.S_IFREG | 0o755),
        ("build/bin/libllama.so", b"libllama.so.0", stat.S_IFLNK | 0o777),
        ("build/bin/libllama.so.0", b"library", 0),
    )

    found = unpack(archive, tmp_path / "out")

    assert [item.link for item in found] == ["libllama.so.0", None, None]
    assert (tmp_path / "out/build/bin/libllama.so").read_bytes() == b"library"
    assert os.access(tmp_path / "out/build/bin/llama-server", os.X_OK)


def test_rights_that_nobody_needs_are_dropped(tmp_path: Path) -> None:
    rights = {"setuid": 0o4755, "open": 0o666, "none": 0o000, "run": 0o100}
    archive = tar(tmp_path / "a.tar.gz", *(member(name, b"x", mode=mode) for name, mode in rights.items()))

    unpack(archive, tmp_path / "out")

    modes = {name: stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in rights}
    assert modes == {"setuid": 0o755, "open": 0o644, "none": 0o644, "run": 0o755}


def test_a_folder_that_is_there_is_never_unpacked_into(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", member("one", b"1"))
    (tmp_path / "out").mkdir()

    with pytest.raises(FileExistsError):
        unpack(archive, tmp_path / "out")


# ---------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([member("../evil", b"x")], "outside"),
        ([member("/srv/evil", b"x")], "outside"),
        ([member("a/../../evil", b"x")], "outside"),
        ([member("a\\..\\evil", b"x")], "no name"),
        ([member("a\nb", b"x")], "no name"),
        ([member("n" * 2000, b"x")], "no name"),
        ([member("./", b"x")], "no name"),
        ([link("out", "/etc")], "out of it"),
        ([link("out", "..")], "out of it"),
        ([link("a/out", "../../..")], "out of it"),
        ([link("one", "two/x"), link("two", "..")], "a link to nothing"),
        ([member("d/f", b"x"), link("d/up", ".."), link("out", "d/up/../..")], "out of it"),
        ([link("loop", "loop")], "a link to nothing"),
        ([link("gone", "nowhere")], "a link to nothing"),
        ([link("d", "/srv"), member("d/evil", b"x")], "a link and a folder"),
        ([member("d/f", b"x"), link("d", "elsewhere")], "a link and a folder"),
        ([link("f", "g"), member("f", b"x")], "twice"),
        ([member("f", b"x"), member("f", b"y")], "twice"),
        ([member("f", b"x"), member("f/g", b"y")], "a file and a folder"),
        ([link("hard", "/etc/passwd", tarfile.LNKTYPE)], "outside"),
        ([link("hard", "later", tarfile.LNKTYPE), member("later", b"x")], "no earlier file"),
        ([link("soft", "x"), member("x", b"x"), link("hard", "soft", tarfile.LNKTYPE)], "no earlier file"),
        ([member("pipe", type=tarfile.FIFOTYPE)], "neither file"),
        ([member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "neither file"),
        ([member("disk", type=tarfile.BLKTYPE)], "neither file"),
    ],
)
def test_a_hostile_tar_file_is_refused_and_leaves_nothing_outside(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], says: str
) -> None:
    archive = tar(tmp_path / "a.tar.gz", *members)

    assert says in refused(archive, tmp_path / "deep" / "er" / "out")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("../evil", b"x", 0)], "outside"),
        ([("/srv/evil", b"x", 0)], "outside"),
        ([("out", b"/etc/passwd", stat.S_IFLNK | 0o777)], "out of it"),
        ([("d", b"..", stat.S_IFLNK | 0o777), ("d/evil", b"x", 0)], "a link and a folder"),
        ([("pipe", b"", stat.S_IFIFO | 0o644)], "neither file"),
        ([("f", b"x", 0), ("./f", b"y", 0)], "twice"),
    ],
)
def test_a_hostile_zip_file_is_refused_and_leaves_nothing_outside(
    tmp_path: Path, members: list[tuple[str, bytes, int]], says: str
) -> None:
    archive = zipped(tmp_path / "a.zip", *members)

    assert says in refused(archive, tmp_path / "deep" / "er" / "out")


def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path: Path) -> None:
    bomb = tar(tmp_path / "bomb.tar.gz", member("zeros", b"\0" * 100 * 2**20))
    assert bomb.stat().st_size < 2**20

    assert "bytes come out of it" in refused(bomb, tmp_path / "tar" / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "tar").rglob("*") if path.is_file())
    assert written <= 2**26
    many = tar(tmp_path / "many.tar.gz", *(member(f"f{i}") for i in range(11)))
    assert "more than 10 members" in refused(many, tmp_path / "many" / "out", Limits(members=10))
    large = zipped(tmp_path / "large.zip", ("f", os.urandom(3000), 0))
    assert "more than 2000 bytes" in refused(large, tmp_path / "large" / "out", Limits(total_bytes=2000))


def test_a_header_that_claims_to_be_gigabytes_long_is_not_read_into_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 4 * 2**30
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf() + b"\0" * 4096))

    assert "absurd length" in refused(archive, tmp_path / "into" / "out")


def test_an_encrypted_or_sparse_member_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("secret", b"x" * 20, 0))
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    refused(archive, tmp_path / "zip" / "out")

    sparse = tar(tmp_path / "b.tar.gz", member("holes", type=tarfile.GNUTYPE_SPARSE))
    assert "neither file" in refused(sparse, tmp_path / "tar" / "out")


@pytest.mark.parametrize("keep", [0, 10, 200, 450])
def test_an_archive_that_was_cut_is_no_whole_archive(tmp_path: Path, keep: int) -> None:
    whole = tar(tmp_path / "a.tar.gz", member("f", os.urandom(500)))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:keep])

    assert "no whole archive" in refused(cut, tmp_path / "into" / "out")


def test_what_is_no_archive_at_all_is_none(tmp_path: Path) -> None:
    page = tmp_path / "page.tar.gz"
    page.write_bytes(b"<html>login</html>" * 100)

    assert "no whole archive" in refused(page, tmp_path / "into" / "out")
