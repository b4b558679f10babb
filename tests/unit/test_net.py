from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from monitor import net
from monitor.errors import ArtifactChangedError, DiskFullError, HostError, SourceError, SourceLiedError
from monitor.net import Http
from standins.index import Fault, IndexServer

CONTENT = bytes(range(256)) * 4096
NAME = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def index() -> Iterator[IndexServer]:
    with IndexServer() as server:
        server.add("demo", NAME, CONTENT)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(timeout_s=5) as client:
        yield client


def file_url(index: IndexServer) -> str:
    return f"{index.root}/files/demo/{NAME}"


def get(http: Http, url: str, *, max_bytes: int = 2**20, deadline_s: float = 20) -> net.Reply:
    return http.get(url, max_bytes=max_bytes, deadline_s=deadline_s)


def download(
    http: Http, url: str, target: Path, *, sha256: str | None = None, max_bytes: int = 2**22
) -> Path:
    wanted = sha256 or hashlib.sha256(CONTENT).hexdigest()
    return http.download(url, target, sha256=wanted, max_bytes=max_bytes, deadline_s=20)


def answering(
    *answers: httpx.Response, clock: Callable[[], float] = time.monotonic
) -> tuple[Http, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    return Http(transport=httpx.MockTransport(answer), clock=clock), asked


# ---------------------------------------------------------------------------------------------
# Replies


def test_an_answer_comes_back_whole_with_its_status_and_type(index: IndexServer, http: Http) -> None:
    found = get(http, f"{index.url}demo/")
    missing = get(http, f"{index.url}other/")

    assert (found.status, found.content_type) == (200, "application/vnd.pypi.simple.v1+json")
    assert NAME.encode() in found.body
    assert missing.status == 404


def test_a_reply_that_drips_ends_at_the_deadline(index: IndexServer, http: Http) -> None:
    index.fault = Fault.DRIPPING

    # Each byte comes well within the timeout of a read, so only a total deadline ends this.
    with pytest.raises(SourceError, match=r"after 0\.3 s") as error:
        get(http, f"{index.url}demo/", deadline_s=0.3)

    assert not error.value.permanent


def test_a_reply_without_end_is_cut_at_its_cap(index: IndexServer, http: Http) -> None:
    index.fault = Fault.HUGE

    with pytest.raises(SourceLiedError, match="more than 1048576 bytes"):
        get(http, f"{index.url}demo/")


def test_a_reply_that_breaks_off_is_an_error_and_no_short_answer(index: IndexServer, http: Http) -> None:
    index.fault = Fault.CUT

    with pytest.raises(SourceError, match="broke the answer off"):
        get(http, f"{index.url}demo/")


def test_an_address_nobody_listens_at_is_worth_another_try(index: IndexServer, http: Http) -> None:
    address = index.url
    index.__exit__(None, None, None)
    try:
        with pytest.raises(SourceError, match="cannot be reached") as error:
            get(http, address)
        assert not error.value.permanent
    finally:
        index.__enter__()


@pytest.mark.parametrize("url", ["gopher://index.example/", "no address", "https://[bad/"])
def test_an_address_that_cannot_be_asked_is_a_mistake_for_good(http: Http, url: str) -> None:
    with pytest.raises(SourceError) as error:
        get(http, url)

    assert error.value.permanent


def test_no_message_shows_credentials_or_what_follows_the_question_mark(http: Http) -> None:
    with pytest.raises(SourceError) as error:
        get(http, "http://user:hunter2@127.0.0.1:9/simple/?token=hunter2", deadline_s=5)

    assert "hunter2" not in str(error.value)


def test_redirects_are_followed_a_few_times_and_not_for_ever() -> None:
    there = httpx.Response(302, headers={"Location": "https://other.example/page"})
    http, asked = answering(there, httpx.Response(200, text="here"))

    assert get(http, "https://index.example/").url == "https://other.example/page"
    assert len(asked) == 2

    http, asked = answering(there)
    with pytest.raises(SourceError, match="redirected more than 5 times"):
        get(http, "https://index.example/")
    assert len(asked) == 6


# ---------------------------------------------------------------------------------------------
# Pauses


def test_a_pause_that_was_asked_for_is_kept_without_another_request() -> None:
    clock = [1000.0]
    http, asked = answering(
        httpx.Response(429, headers={"Retry-After": "120"}), httpx.Response(200), clock=lambda: clock[0]
    )

    assert get(http, "https://index.example/a").retry_after_s == 120
    clock[0] += 119
    with pytest.raises(SourceError, match="was not asked") as error:
        get(http, "https://index.example/b")
    assert error.value.retry_after_s == pytest.approx(1)
    assert len(asked) == 1
    clock[0] += 1
    assert get(http, "https://index.example/b").status == 200


def test_the_pause_of_one_host_is_none_of_another() -> None:
    http, _ = answering(httpx.Response(503, headers={"Retry-After": "120"}), httpx.Response(200))

    get(http, "https://one.example/")

    assert get(http, "https://other.example/").status == 200


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "7", 7),
        (403, "7", 7),
        (503, timedelta(hours=1), 3600),
        (429, timedelta(hours=-1), 0),
        (429, "99999999999999999999", 86400),
        (429, "soon", None),
        (429, "-5", None),
        (200, "7", None),
    ],
)
def test_both_forms_of_retry_after_are_understood(
    status: int, value: str | timedelta, seconds: float | None
) -> None:
    if isinstance(value, timedelta):  # a date counts from now, not from when the tests were collected
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    reply = net.Reply(status, {"retry-after": value}, b"", "https://index.example/")

    assert reply.retry_after_s == (None if seconds is None else pytest.approx(seconds, abs=60))


# ---------------------------------------------------------------------------------------------
# Files


def test_a_file_arrives_under_its_name_only_when_it_is_whole_and_right(
    index: IndexServer, http: Http, tmp_path: Path
) -> None:
    target = tmp_path / "new" / NAME

    assert download(http, file_url(index), target) == target

    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.WRONG_HASH, ArtifactChangedError),
        (Fault.TRUNCATED, ArtifactChangedError),
        (Fault.CUT, SourceError),
        (Fault.PORTAL, SourceLiedError),
        (Fault.HUGE, SourceLiedError),
        (Fault.SERVER_ERROR, SourceError),
        (Fault.GONE, SourceError),
        (Fault.BUSY, SourceError),
    ],
)
def test_a_file_that_does_not_arrive_leaves_nothing(
    index: IndexServer, http: Http, tmp_path: Path, fault: Fault, error: type[Exception]
) -> None:
    index.fault, index.on = fault, "files"

    with pytest.raises(error) as raised:
        download(http, file_url(index), tmp_path / NAME)

    assert type(raised.value) is error
    assert list(tmp_path.iterdir()) == []


def test_a_refused_download_says_how_long_to_wait(index: IndexServer, http: Http, tmp_path: Path) -> None:
    index.fault, index.on, index.retry_after = Fault.BUSY, "files", "41"

    with pytest.raises(SourceError) as error:
        download(http, file_url(index), tmp_path / NAME)

    assert error.value.retry_after_s == 41


def test_a_local_file_is_copied_and_checked_like_any_other(http: Http, tmp_path: Path) -> None:
    source = tmp_path / "with space+plus.whl"
    source.write_bytes(CONTENT)

    assert download(http, source.as_uri(), tmp_path / "copy.whl").read_bytes() == CONTENT

    with pytest.raises(ArtifactChangedError):
        download(http, source.as_uri(), tmp_path / "other.whl", sha256="0" * 64)
    with pytest.raises(SourceError, match="cannot be read"):
        download(http, (tmp_path / "missing.whl").as_uri(), tmp_path / "other.whl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.whl", source.name]


def test_a_full_disk_leaves_the_file_of_before_and_no_part(
    index: IndexServer, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / NAME
    target.write_bytes(b"before")
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: object) -> object:
        stream = opened(path, mode)
        if path.suffix != ".part":
            return stream

        def write(_: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(stream, "write", write, raising=False)
        return stream

    monkeypatch.setattr(Path, "open", full)

    with pytest.raises(DiskFullError, match="No room left"):
        download(http, file_url(index), target)

    monkeypatch.undo()
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_folder_that_cannot_be_made_is_this_hosts_fault(
    index: IndexServer, http: Http, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(HostError, match="cannot be written"):
        download(http, file_url(index), tmp_path / "taken" / NAME)
