from __future__ import annotations

import pytest

from monitor.errors import SourceError, SourceLiedError
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from standins.index import Fault, IndexServer
from standins.polled import only_artifact, poll, source, versions
from standins.wheels import wheel


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault.PORTAL, SourceLiedError, "lists no file of demo"),
        (Fault.TRUNCATED, SourceLiedError, "not JSON"),
        (Fault.CUT, SourceError, "broke the answer off"),
        (Fault.SERVER_ERROR, SourceError, "answered 500"),
        (Fault.HUGE, SourceLiedError, "more than"),
        (Fault.BUSY, SourceError, "try again in 33 s"),
        (Fault.GONE, SourceError, "answered 404"),
    ],
)
def test_an_index_that_fails_or_lies_is_an_error_and_never_an_empty_list(
    index: IndexServer, http: Http, fault: Fault, error: type[SourceError], says: str
) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    looked = PackageIndex(source(index), http)
    index.fault, index.retry_after = fault, "33"

    with pytest.raises(error) as raised:
        looked.poll()

    assert type(raised.value) is error
    assert says in str(raised.value)
    assert not raised.value.permanent
    assert raised.value.retry_after_s == (33 if fault is Fault.BUSY else None)
    if fault is not Fault.BUSY:
        index.fault = None
        assert versions(looked.poll()) == ["1.0"]


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"files": {}}',
        b'{"name": "other", "files": []}',
        b'{"name": "demo", "files": [], "versions": []}',
        b'{"name": "demo", "files": [], "meta": {"api-version": "2.0"}}',
        b"[" * 100_000,
    ],
)
def test_json_that_is_no_project_page_is_a_lie(
    index: IndexServer, http: Http, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    page = "application/vnd.pypi.simple.v1+json"
    monkeypatch.setattr(index, "_listing", lambda *_: (body, page))

    with pytest.raises(SourceLiedError):
        poll(index, http)


def test_a_quarantine_stops_everything_with_its_reason(index: IndexServer, http: Http) -> None:
    index.add("demo", *wheel("demo", "1.0"))
    index.set_status("demo", "quarantined", "carries malware")

    with pytest.raises(SourceError, match="carries malware") as error:
        poll(index, http)

    assert error.value.permanent


def test_credentials_are_used_and_never_shown_or_kept(index: IndexServer, http: Http) -> None:
    index.credentials = ("me", "hunter2/x")
    index.add("demo", *wheel("demo", "1.0"))
    looked = PackageIndex(source(index, index_url=index.url_with("me", "hunter2/x")), http)

    found = only_artifact(looked.poll())

    assert (found.url, looked.address) == (f"{index.root}/files/demo/{found.filename}", f"{index.url}demo/")
    index.credentials = ("me", "another")
    with pytest.raises(SourceError, match="answered 401") as error:
        looked.poll()
    assert "hunter2" not in repr(error.value) + str(error.value)
