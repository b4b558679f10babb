from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from monitor import targets
from monitor.errors import ConfigurationError, DeliveryError
from monitor.targets import check_target, is_public, post
from standins.receivers import Answer, Receiver

LOCAL = ("127.0.0.1",)
Resolve = Callable[..., list[str]]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Let names resolve to what a test says, each time to the next; return the list of what was asked."""
    asked: list[str] = []

    def install(**names: list[list[str]]) -> list[str]:
        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            found = names.get(host.replace(".", "_"))
            addresses = [host] if found is None else found.pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(targets.socket, "getaddrinfo", getaddrinfo)
        return asked

    return install


# ---------------------------------------------------------------------------------------------
# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.254",
        "192.0.0.8",
        "198.18.0.1",
        "198.51.100.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:c0a8:101::1",
        "2002:6440:1::1",
        "2001::1",
        "2001:db8::1",
        "100::1",
    ],
)
def test_an_address_that_is_not_public_is_known_as_such(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_a_public_address_is_known_as_such_also_inside_another(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://8.8.8.8/hook", "not https"),
        ("ftp://8.8.8.8/hook", "no https address"),
        ("file:///etc/passwd", "no https address"),
        ("hooks.example/x", "no https address"),
        ("https:///x", "no https address"),
        ("https://[::1", "cannot be read"),
        ("https://127.0.0.1/x", "not public"),
        ("https://[::1]:8443/x", "not public"),
        ("https://2130706433/x", "not public"),
        ("https://0x7f.1/x", "not public"),
        ("https://8.8.8.8@127.0.0.1/x", "not public"),
        ("https://[::ffff:169.254.169.254]/latest", "not public"),
    ],
)
def test_an_address_that_must_not_be_sent_to_is_refused_when_configured(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        check_target(url)

    assert error.value.advice
    assert "/x" not in str(error.value)


def test_a_name_is_refused_when_one_of_its_addresses_is_private(resolve: Resolve) -> None:
    resolve(hooks_example=[["8.8.8.8", "10.0.0.1"]])

    with pytest.raises(ConfigurationError, match="not public") as error:
        check_target("https://hooks.example/s3cret")

    assert "s3cret" not in str(error.value)
    assert "allow_private_hosts" in error.value.advice


def test_a_public_address_and_one_that_is_allowed_pass(resolve: Resolve) -> None:
    resolve(hooks_example=[["8.8.8.8"]], alerts_internal=[["10.0.0.1"]])

    check_target("https://hooks.example/x")
    check_target("http://Alerts.Internal./x", ("alerts.internal",))
    check_target("http://[::1]:80/x", ("::1",))


def test_a_name_that_does_not_resolve_yet_may_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(targets.socket, "getaddrinfo", unknown)

    check_target("https://hooks.example/x")
    with pytest.raises(DeliveryError, match="not known") as error:
        post("https://hooks.example/x", b"", {})
    assert not error.value.permanent


# ---------------------------------------------------------------------------------------------
# Requests


def test_what_is_allowed_is_sent_whole_and_answered() -> None:
    with Receiver() as receiver:
        receiver.answers.append(Answer(202, b"thanks", {"X-Seen": "yes"}))
        reply = post(receiver.url, b"{}", {"X-Own": "1"}, allow_private_hosts=LOCAL)

    assert (reply.status, reply.body, reply.headers["x-seen"]) == (202, b"thanks", "yes")
    [sent] = receiver.posts
    assert (sent.body, sent.headers["x-own"], sent.path) == (b"{}", "1", "/hooks/s3cret-path")


def test_a_private_address_is_never_connected_to() -> None:
    with Receiver() as receiver:
        for allowed in ((), ("alerts.internal",)):
            with pytest.raises(DeliveryError) as error:
                post(receiver.url.replace("http:", "https:"), b"{}", {}, allow_private_hosts=allowed)
            assert error.value.permanent

    assert receiver.posts == []


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    resolve: Resolve,
) -> None:
    # The second answer of a name server that rebinds would be the refused one.
    with Receiver() as receiver:
        asked = resolve(hooks_example=[["127.0.0.1"], ["10.0.0.1"]])
        url = f"http://hooks.example:{receiver.port}/x"
        reply = post(url, b"{}", {}, allow_private_hosts=("hooks.example",))

    assert reply.status == 200
    assert asked.count("hooks.example") == 1
    assert receiver.posts[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_the_next_address_is_tried_when_one_cannot_be_reached(resolve: Resolve) -> None:
    with Receiver() as receiver:
        resolve(hooks_example=[["127.1.1.1", "127.0.0.1"]])
        url = f"http://hooks.example:{receiver.port}/x"
        reply = post(url, b"{}", {}, allow_private_hosts=("hooks.example",))

    assert reply.status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Receiver() as other, Receiver() as receiver:
        receiver.answers.append(Answer(status, headers={"Location": other.url}))
        reply = post(receiver.url, b"{}", {}, allow_private_hosts=LOCAL)

    assert reply.status == status
    assert other.posts == []


def test_a_proxy_of_the_environment_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        post(receiver.url, b"{}", {}, allow_private_hosts=LOCAL)

    assert proxy.posts == []
    assert len(receiver.posts) == 1


def test_of_a_long_reply_only_the_beginning_is_read() -> None:
    with Receiver() as receiver:
        receiver.answers.append(Answer(200, b"x" * 10 * targets.MAX_REPLY_BYTES))
        reply = post(receiver.url, b"{}", {}, allow_private_hosts=LOCAL)

    assert len(reply.body) == targets.MAX_REPLY_BYTES


def test_a_reply_that_drips_ends_at_the_deadline() -> None:
    with Receiver() as receiver:
        receiver.answers.append(Answer(200, drip_s=0.02))
        begun = time.monotonic()
        with pytest.raises(DeliveryError, match="had not answered completely") as error:
            post(receiver.url, b"{}", {}, allow_private_hosts=LOCAL, deadline_s=0.3)

    assert time.monotonic() - begun < 5
    assert not error.value.permanent


def test_a_resolver_that_hangs_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.socket, "getaddrinfo", lambda *_, **__: time.sleep(1) or [])

    with pytest.raises(DeliveryError, match="had not answered") as error:
        post("https://hooks.example/x", b"{}", {}, deadline_s=0.1)
    assert not error.value.permanent


def test_who_does_not_listen_is_worth_another_try_and_no_secret_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/hooks/s3cret-path?token=s3cret"
        with pytest.raises(DeliveryError, match="cannot be reached") as error:
            post(url, b"{}", {}, allow_private_hosts=LOCAL)

    assert not error.value.permanent
    assert "s3cret" not in str(error.value)


# ---------------------------------------------------------------------------------------------
# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return certificate and key of `hooks.example`, made by the openssl command."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("the command openssl is not installed")
    folder: Path = tmp_path_factory.mktemp("tls")
    names = (str(folder / "certificate.pem"), str(folder / "key.pem"))
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"),
            *("-out", names[0], "-keyout", names[1]),
        ],
        check=True,
        capture_output=True,
    )
    return names


def test_tls_is_spoken_with_the_name_although_the_address_is_connected_to(
    certificate: tuple[str, str], resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with Receiver(certificate=certificate) as receiver:
        resolve(hooks_example=[["127.0.0.1"]])
        url = f"https://hooks.example:{receiver.port}/x"
        reply = post(url, b"{}", {}, allow_private_hosts=("hooks.example",))

    assert reply.status == 200


def test_a_certificate_for_another_name_is_refused(
    certificate: tuple[str, str], resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with Receiver(certificate=certificate) as receiver:
        resolve(other_example=[["127.0.0.1"]])
        with pytest.raises(DeliveryError, match=r"(?i)certificate"):
            post(f"https://other.example:{receiver.port}/x", b"", {}, allow_private_hosts=("other.example",))

    assert receiver.posts == []
