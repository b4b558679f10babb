"""Requests to addresses that people configure, kept away from what is private on this network.

An address is resolved once, what it resolves to is checked, and exactly that is connected to: a name that
answers differently the second time changes nothing. The name stays in the Host header and in TLS. Redirects
and proxies from the environment are not followed, and no error shows more of an address than its host, for
the rest of it is often the secret.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from monitor.deadline import Deadline
from monitor.errors import ConfigurationError, DeliveryError
from monitor.net import Reply

DEADLINE_S = 15.0
MAX_REPLY_BYTES = 64 * 2**10

_REFUSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers; neither private nor global to Python
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; clouds answer here with credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as the two below
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks of networks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry, the same on every version of Python."""

_GLOBAL_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 that is handed out to the public: loopback, local and multicast lie outside."""
_REFUSED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_LOW_32 = 2**32 - 1


def check_target(url: str, allow_private_hosts: Collection[str] = ()) -> None:
    """Refuse an address that must not be sent to; for when it is configured.

    A name that does not resolve now passes: it is checked again with every request.

    Raises:
        ConfigurationError: no http(s) address, not https, or one of its addresses is not public.

    """
    try:
        _Target(url, allow_private_hosts).addresses(DEADLINE_S)
    except DeliveryError as error:
        if error.permanent:
            raise ConfigurationError(error.what, advice=error.advice) from error


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private_hosts: Collection[str] = (),
    deadline_s: float = DEADLINE_S,
) -> Reply:
    """Send `body` and return the answer, whatever its status; of its body the first 64 KiB at most.

    Raises:
        DeliveryError: permanent when the address is refused; else when there was no complete answer
            within `deadline_s` seconds.

    """
    target, begun = _Target(url, allow_private_hosts), time.monotonic()
    failure: httpx.ConnectError | None = None
    for address in target.addresses(deadline_s):
        left_s = deadline_s - (time.monotonic() - begun)
        if left_s <= 0:
            raise _too_slow(target.place, deadline_s)
        try:
            return _post(target, address, body, headers, left_s)
        except httpx.ConnectError as error:
            failure = error  # a host with an IPv6 address cannot be reached by it from everywhere
    raise DeliveryError(
        f"{target.place} cannot be reached ({failure}).", advice="look at the network and the address"
    )


def place_of(url: str) -> str:
    """Return what may be shown of a destination's address: its scheme, host and port."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return "the configured address"
    if not parsed.host:
        return "the configured address"
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address lies in the public internet, also when it is one that carries another."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        carried = IPv4Address(int(address) & _LOW_32)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


# ---------------------------------------------------------------------------------------------
# Resolving


class _Target:
    """An address as httpx reads it: the same parser checks and sends."""

    def __init__(self, url: str, allow_private_hosts: Collection[str]) -> None:
        try:
            self.url = httpx.URL(url.strip())
            self.host = _plain(self.url.raw_host.decode("ascii"))
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise _refused("The configured address cannot be read.") from error
        self.place = place_of(str(self.url))
        self._allowed = self.host in {_plain(name) for name in allow_private_hosts}
        if self.url.scheme not in {"https", "http"} or not self.host:
            raise _refused("The configured address is no https address.")
        if self.url.scheme == "http" and not self._allowed:
            raise _refused(
                f"{self.place} is not https.",
                advice=f"give an https address, or name {self.host!r} in `allow_private_hosts`",
            )

    def addresses(self, deadline_s: float) -> list[str]:
        """Resolve the name, once; refuse all of it when one address is not public."""
        found = _resolve(self.host, self.url.port or (443 if self.url.scheme == "https" else 80), deadline_s)
        if isinstance(found, OSError):
            raise DeliveryError(
                f"The host of {self.place} is not known ({found.strerror or found}).",
                advice="look at the name server and the address",
            )
        if found is None:
            raise _too_slow(self.place, deadline_s)
        if not self._allowed and not all(is_public(ip_address(address)) for address in found):
            raise _refused(
                f"{self.place} leads to an address that is not public.",
                advice=f"if that is meant, name {self.host!r} in `allow_private_hosts`",
            )
        return found


def _plain(name: str) -> str:
    return name.strip().strip("[]").rstrip(".").lower()


def _resolve(host: str, port: int, deadline_s: float) -> list[str] | OSError | None:
    """Return the host's addresses, the error, or None when the resolver does not answer in time.

    The resolver has no deadline of its own, so it is asked in a thread that may be left behind.
    """
    found: list[list[str] | OSError] = []

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError("no host name"))

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline_s)
    return found[0] if found else None


# ---------------------------------------------------------------------------------------------
# Sending


def _post(target: _Target, address: str, body: bytes, headers: Mapping[str, str], left_s: float) -> Reply:
    # Certificates of the environment are the owner's, its proxies would resolve the name once more.
    trusted = httpx.create_ssl_context(verify=target.url.scheme == "https", trust_env=True)
    sent = {
        "User-Agent": "mtp-monitor",
        "Accept-Encoding": "identity",  # a reply that is not unpacked cannot grow by that
        **headers,
        "Host": target.url.netloc.decode("ascii"),
    }
    try:
        with (
            Deadline(left_s) as deadline,
            httpx.Client(verify=trusted, trust_env=False, follow_redirects=False, timeout=left_s) as client,
            client.stream(
                "POST",
                target.url.copy_with(host=address),
                content=body,
                headers=sent,
                # https://www.python-httpx.org/advanced/extensions/#sni_hostname: also what the
                # certificate is checked against.
                extensions={"sni_hostname": target.host, "trace": deadline.watch},
            ) as reply,
        ):
            content = _beginning(reply)
            if deadline.passed:
                raise _too_slow(target.place, left_s)
            return Reply(reply.status_code, reply.headers, content, target.place)
    except httpx.TimeoutException as error:
        raise _too_slow(target.place, left_s) from error
    except httpx.ConnectError:
        raise
    except httpx.HTTPError as error:
        if deadline.passed:
            raise _too_slow(target.place, left_s) from error
        raise DeliveryError(
            f"{target.place} broke the answer off ({error}).", advice="look at the network and the receiver"
        ) from error


def _beginning(reply: httpx.Response) -> bytes:
    content = bytearray()
    for chunk in reply.iter_raw():
        content += chunk
        if len(content) >= MAX_REPLY_BYTES:
            break
    return bytes(content[:MAX_REPLY_BYTES])


def _refused(what: str, advice: str = "give the https address of the receiver") -> DeliveryError:
    return DeliveryError(what, advice=advice, permanent=True)


def _too_slow(place: str, seconds: float) -> DeliveryError:
    return DeliveryError(
        f"{place} had not answered completely after {seconds:.3g} s.", advice="look at the receiver"
    )
