"""Sessions and forms: what somebody who logged in may do, and what nobody can do in their name."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from factory_values import NOW
from monitor.settings import WebSettings
from monitor.steps.station import Station
from monitor.web import security
from monitor.web.security import Access, local_path
from standins.web import TOKEN, Past, Recorder, station
from standins.web_reading import ADDRESS, BEARER, client_of

REASON = {"who": "Ada", "why": "known"}


def log_in(client: TestClient, token: str = TOKEN, to: str = "/") -> Any:
    return client.post("/login", data={"token": token, "to": to})


def csrf_of(client: TestClient, path: str = "/runs") -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get(path).text)
    assert found
    return found[1]


def test_a_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use(
    visitor: tuple[TestClient, Recorder, Past],
) -> None:
    client, _, _ = visitor
    wrong = log_in(client, token="guess")
    assert (wrong.status_code, wrong.headers.get("set-cookie")) == (401, None)
    assert "That is not the token." in wrong.text
    answer = log_in(client, to="/incidents")
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie  # this one is reached by plain http
    assert TOKEN not in cookie
    assert "Log out" in client.get("/").text


def test_behind_https_the_cookie_is_kept_to_it(filled: tuple[Station, Past]) -> None:
    access = Access(WebSettings(token=SecretStr(TOKEN), public_url="https://mon.example/"))
    assert access.secure
    assert not Access(filled[0].settings.web).secure


@pytest.mark.parametrize(
    ("action", "asked", "more"),
    [
        ("acknowledge", ("acknowledge",), {}),
        ("resolve", ("resolve",), {}),
        ("accept", ("accept",), {}),
        ("false-alarm", ("false_alarm",), {}),
        ("reopen", ("reopen",), {}),
        ("snooze", ("snooze", NOW + timedelta(hours=72)), {"hours": "72"}),
    ],
)
def test_a_form_changes_an_incident_and_leads_back_to_it(
    action: str,
    asked: tuple[Any, ...],
    more: dict[str, str],
    visitor: tuple[TestClient, Recorder, Past],
) -> None:
    client, recorder, past = visitor
    log_in(client)
    form = REASON | more | {"csrf": csrf_of(client)}
    answer = client.post(f"/incidents/{past.open}/{action}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/incidents/{past.open}")
    name, *rest = asked
    assert recorder.asked == [(name, past.open, "Ada", "known", *rest)]


def test_the_forms_of_an_incident_name_the_addresses_that_take_them(
    visitor: tuple[TestClient, Recorder, Past],
) -> None:
    client, recorder, past = visitor
    log_in(client)
    for incident, expected in ((past.open, 5), (past.resolved, 1)):
        page = client.get(f"/incidents/{incident}").text
        actions = re.findall(rf'action="(/incidents/{incident}/[a-z-]+)"', page)
        assert len(actions) == expected
        for address in actions:
            form = REASON | {"csrf": csrf_of(client), "hours": "24"}
            assert client.post(address, data=form).status_code == 303
    assert len(recorder.asked) == 6


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"csrf": ""}, 403),
        ({"csrf": "0" * 64}, 403),
        ({"csrf": "é"}, 403),
        ({"who": " "}, 422),
        ({"why": ""}, 422),
        ({"why": "x" * 2001}, 422),
    ],
)
def test_a_form_without_its_token_name_or_reason_changes_nothing(
    change: dict[str, str], status: int, visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, recorder, past = visitor
    log_in(client)
    form = REASON | {"csrf": csrf_of(client)} | change
    answer = client.post(f"/incidents/{past.open}/resolve", data=form)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert recorder.asked == []


def test_a_csrf_token_is_good_for_its_own_session_only(
    filled: tuple[Station, Past], visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, recorder, past = visitor
    other = TestClient(client.app, base_url=ADDRESS, follow_redirects=False)
    log_in(client)
    log_in(other)
    stolen = csrf_of(other)
    assert stolen != csrf_of(client)
    answer = client.post(f"/incidents/{past.open}/resolve", data=REASON | {"csrf": stolen})
    assert answer.status_code == 403
    assert recorder.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_everything_right(
    headers: dict[str, str], visitor: tuple[TestClient, Recorder, Past]
) -> None:
    client, recorder, past = visitor
    log_in(client)
    form = REASON | {"csrf": csrf_of(client)}
    answer = client.post(f"/incidents/{past.open}/resolve", data=form, headers=headers)
    assert answer.status_code == 403
    assert client.post("/login", data={"token": TOKEN}, headers=headers).status_code == 403
    own = {"sec-fetch-site": "same-origin", "origin": ADDRESS}
    assert client.post(f"/incidents/{past.open}/resolve", data=form, headers=own).status_code == 303
    assert len(recorder.asked) == 1


def test_a_form_is_read_only_as_a_form(visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, recorder, past = visitor
    log_in(client)
    address = f"/incidents/{past.open}/resolve"
    assert client.post(address, json=REASON | {"csrf": csrf_of(client)}).status_code == 415
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post(address, content=b"who=\xff", headers=kind).status_code == 400
    assert client.post(address, content=b"a=1&" * 50, headers=kind).status_code == 400
    assert recorder.asked == []


def test_without_a_session_a_form_leads_to_the_login(visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, recorder, past = visitor
    answer = client.post(f"/incidents/{past.open}/resolve", data=REASON | {"csrf": "0" * 64})
    assert answer.status_code == 401
    assert "log in with the token" in answer.text
    # A bearer token is for programs: with it a browser's form would need no CSRF token.
    again = client.post(f"/incidents/{past.open}/resolve", data=REASON, headers=BEARER)
    assert again.status_code == 401
    assert recorder.asked == []


def test_the_api_does_not_look_at_cookies(visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, recorder, past = visitor
    log_in(client)
    answer = client.post(f"/api/v1/incidents/{past.open}/resolve", json=REASON)
    assert answer.status_code == 401
    assert recorder.asked == []


def test_a_logout_ends_the_session_for_a_copied_cookie_too(
    visitor: tuple[TestClient, Recorder, Past],
) -> None:
    client, _, _ = visitor
    log_in(client)
    copied = dict(client.cookies)
    assert client.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert client.post("/logout", data={"csrf": csrf_of(client)}).status_code == 303
    assert "Log in" in client.get("/").text
    thief = TestClient(client.app, base_url=ADDRESS, cookies=copied)
    assert "Log out" not in thief.get("/").text


def test_a_session_ends_by_itself_and_there_are_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(WebSettings(token=SecretStr(TOKEN)))
    clock = [1000.0]
    monkeypatch.setattr(security.time, "monotonic", lambda: clock[0])
    first = access.log_in(TOKEN)
    assert first
    assert access.session({security.COOKIE: first}) is not None
    clock[0] += security.SESSION_S + 1
    assert access.session({security.COOKIE: first}) is None
    identities = []
    for _ in range(300):
        clock[0] += 1
        identities.append(access.log_in(TOKEN) or "")
    alive = [one for one in identities if access.session({security.COOKIE: one}) is not None]
    assert alive == identities[-200:]
    assert access.session({}) is None
    assert access.session({security.COOKIE: ""}) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/incidents/3?a=b", "/incidents/3?a=b"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x=y", "/"),
        ("/a\\b", "/"),
        ("", "/"),
    ],
)
def test_a_login_never_leads_away(target: str, path: str, visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, _, _ = visitor
    assert local_path(target) == path
    assert log_in(client, to=target).headers["location"] == path


def test_a_run_and_a_delivery_are_asked_for_by_forms(tmp_path: Path) -> None:
    with station(tmp_path) as (found, past):
        recorder = Recorder()
        client = client_of(found, recorder)
        log_in(client)
        order = {"csrf": csrf_of(client), "check": "synthetic-qwen35-cpu", "release": "xllamacpp==0.2.44"}
        answer = client.post("/runs", data=order)
        assert answer.status_code == 303, answer.text
        assert "asked for by pages" in client.get(answer.headers["location"]).text
        assert client.post("/runs", data=order | {"check": "nonsense"}).status_code == 422
        assert client.post("/runs", data=order | {"csrf": "no"}).status_code == 403
        replay = client.post(f"/deliveries/{past.dead}/replay", data={"csrf": order["csrf"]})
        assert replay.headers["location"] == "/status#destinations"
        assert recorder.asked == [("replay", past.dead)]


def test_a_logout_is_no_link(visitor: tuple[TestClient, Recorder, Past]) -> None:
    client, _, _ = visitor
    log_in(client)
    assert client.get("/logout").status_code == 405
    assert "Log out" in client.get("/").text
