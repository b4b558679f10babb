"""Who may ask and who may change: hosts, headers, sizes, tokens, sessions, and forms of other sites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from monitor.settings import WebSettings
from monitor.steps.station import Station
from monitor.web import security
from monitor.web.security import Access, HostNames
from standins.web import TOKEN, Past, Recorder, station
from standins.web_reading import BEARER, client_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
REASON = {"who": "Ada", "why": "known"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Station, Past]]:
    with station(tmp_path_factory.mktemp("web"), allowed_hosts=("mon.example", "proxy.example:8443")) as both:
        yield both


# ---------------------------------------------------------------------------------------------
# Hosts, headers, sizes


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8640", 200),
        ("127.0.0.1", 200),
        ("localhost:9999", 200),  # a tunnel has a port of its own
        ("LOCALHOST", 200),
        ("[::1]:8640", 200),
        ("mon.example", 200),
        ("mon.example:443", 200),
        ("mon.example.", 200),
        ("proxy.example:8443", 200),
        ("proxy.example", 421),
        ("proxy.example:80", 421),
        ("evil.example", 421),
        ("mon.example.evil.example", 421),
        ("evil-mon.example", 421),
        ("127.0.0.1.evil.example:8640", 421),
        ("0.0.0.0:8640", 421),
        ("mon.example@evil.example", 400),
        ("mon.example/x", 400),
        ("mon.example:port", 400),
        ("", 400),
    ],
)
def test_only_names_on_the_list_are_answered(
    host: str, status: int, visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, _, _ = visitor
    for path in ("/login", "/healthz", "/static/pages.css", "/api/v1/runs"):
        assert client.get(path, headers={"host": host}).status_code == status, path


def test_the_address_listened_on_and_the_public_one_are_names_too() -> None:
    names = HostNames(WebSettings(host="fd00::5", public_url="https://mon.example:8443/"))
    assert names.allows("[fd00::5]:8640") is True
    assert names.allows("mon.example:8443") is True
    assert names.allows("mon.example") is False
    # To listen everywhere is not to be asked for by every name.
    everywhere = WebSettings(host="0.0.0.0")  # noqa: S104
    assert HostNames(everywhere).allows("0.0.0.0:8640") is False


@pytest.mark.parametrize(
    "path",
    ["/", "/runs/1", "/nothing", "/api/v1/runs", "/api/v1/nothing", "/healthz", "/metrics",
     "/static/pages.css", "/runs/1/report.html"],
)  # fmt: skip
def test_every_answer_carries_the_headers(path: str, visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, _, _ = visitor
    answer = client.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    refused = client.get(path, headers={"host": "evil.example"})
    assert refused.headers["content-security-policy"] == POLICY


def test_a_body_is_bounded_with_and_without_its_length(visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, recorder, past = visitor
    address = f"/api/v1/incidents/{past.open}/resolve"

    def drip() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 4096

    for content in (b"x" * (security.MAX_BODY_BYTES + 1), drip()):
        assert client.post(address, content=content, headers=BEARER).status_code == 413
        assert client.post("/login", content=b"x" * 70_000).status_code == 413
    for length in ("-1", "1e3", "９"):
        answer = client.post(address, content=b"{}", headers=[
            (b"authorization", BEARER["authorization"].encode()), (b"content-length", length.encode())
        ])  # fmt: skip
        assert answer.status_code == 413
    assert recorder.asked == []


# ---------------------------------------------------------------------------------------------
# Tokens


CHANGES = [
    "/api/v1/incidents/{open}/acknowledge",
    "/api/v1/incidents/{open}/accept",
    "/api/v1/deliveries/{dead}/replay",
    "/api/v1/runs",
]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff",
    ],
)
def test_a_change_needs_the_right_token(
    path: str, header: str | None, visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, recorder, past = visitor
    address = path.format(open=past.open, dead=past.dead)
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = client.post(address, json=REASON, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text
    assert recorder.asked == []


def test_without_a_configured_token_nothing_can_be_changed_and_the_pages_say_so(tmp_path: Path) -> None:
    with station(tmp_path, token=None) as (found, past):
        recorder = Recorder()
        client = client_of(found, recorder)
        for header in (None, "Bearer ", "Bearer None", f"Bearer {TOKEN}"):
            headers = {} if header is None else {"authorization": header}
            answer = client.post(f"/api/v1/incidents/{past.open}/resolve", json=REASON, headers=headers)
            assert answer.status_code == 403
            assert "read-only" in answer.json()["error"]
        for guess in ("", "None"):
            assert client.post("/login", data={"token": guess}).status_code == 403
        assert client.post(f"/incidents/{past.open}/resolve", data=REASON).status_code == 403
        assert "read-only" in client.get("/").text
        page = client.get(f"/incidents/{past.open}").text
        assert "<form" not in page
        assert "no <code>web.token</code> is configured" in page
        assert recorder.asked == []


def test_the_token_is_kept_as_a_hash_only() -> None:
    access = Access(WebSettings(token=SecretStr(TOKEN)))
    kept = repr(vars(access))
    assert TOKEN not in kept
    assert access.is_token(TOKEN)
    assert not access.is_token("")
    assert not Access(WebSettings()).is_token("")


def test_no_get_changes_anything(
    filled: tuple[Station, Past], visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, recorder, past = visitor
    before = (filled[0].settings.state / "monitor.sqlite3").read_bytes()
    addresses = [
        f"/incidents/{past.open}/acknowledge?who=a&why=b",
        f"/deliveries/{past.dead}/replay",
        "/logout",
        f"/api/v1/incidents/{past.open}/resolve",
        f"/api/v1/deliveries/{past.dead}/replay",
    ]
    for address in addresses:
        assert client.get(address, headers=BEARER).status_code in {404, 405}, address
    for address in ("/", "/releases", "/runs", "/status", "/healthz", "/metrics", "/api/v1/overview"):
        assert client.get(address).status_code == 200
    assert recorder.asked == []
    assert (filled[0].settings.state / "monitor.sqlite3").read_bytes() == before
