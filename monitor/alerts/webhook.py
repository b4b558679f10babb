"""Webhooks as https://www.standardwebhooks.com has them: signed, with an id that stays over retries."""

from __future__ import annotations

import binascii
import copy
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from standardwebhooks import Webhook

from monitor import targets
from monitor.domain import Message
from monitor.errors import ConfigurationError, DeliveryError
from monitor.net import Reply

MAX_BODY_BYTES = 20_000
"""The standard asks for less than 20 kB."""
_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # of a symmetric key, as the standard has it
_TEXT = 300
"""Characters that texts keep when everything else is dropped already."""

_WORTH_RETRYING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class WebhookTransport:
    """A receiver of signed messages; `secret` holds one or, while they rotate, several secrets."""

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        allow_private_hosts: Collection[str] = (),
        clock: Callable[[], datetime],
    ) -> None:
        self._url = url
        self._secret = secret
        self._allow_private_hosts = allow_private_hosts
        self._clock = clock

    def notify(self, message: Message) -> None:
        """Send a message; the answer's status alone says whether it was taken."""
        try:
            keys = signers(self._secret)
        except ConfigurationError as error:
            raise DeliveryError(error.what, advice=error.advice, permanent=True) from error
        content = body(message)
        now = self._clock().astimezone(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(key.sign(message.id, now, content.decode()) for key in keys),
        }
        reply = targets.post(self._url, content, headers, allow_private_hosts=self._allow_private_hosts)
        _take(reply)


def signers(secret: str | None) -> list[Webhook]:
    """Return what signs for each secret, separated by white space: receivers accept any signature they know.

    Raises:
        ConfigurationError: when there is none, or one that is not of the standard's form.

    """
    advice = (
        "give `secret_file` with one made by: "
        """python -c "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""""
    )
    if not secret or not secret.split():
        raise ConfigurationError("A webhook needs a secret that signs its messages.", advice=advice)
    keys = [_key(one) for one in secret.split()]
    if not all(len(key) in _KEY_BYTES for key in keys):
        raise ConfigurationError(
            "A webhook's secret is not `whsec_` and the base64 of 24 to 64 bytes.", advice=advice
        )
    return [Webhook(key) for key in keys]


def _key(secret: str) -> bytes:
    """Return the key in a secret; no bytes when it has another form."""
    encoded = secret.removeprefix(_PREFIX)
    if encoded == secret:
        return b""
    try:
        return binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
    except ValueError:
        return b""


def _take(reply: Reply) -> None:
    status = reply.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status == HTTPStatus.GONE:
        raise DeliveryError(
            f"{reply.url} answered 410: it wants no messages any more.",
            advice="take the destination out of the configuration, or give it another address",
            permanent=True,
            disables=True,
        )
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    redirected = " and redirects are not followed" if status < HTTPStatus.BAD_REQUEST else ""
    raise DeliveryError(
        f"{reply.url} answered {status}{redirected}.",
        advice="look at the receiver and at the address",
        permanent=refused and status not in _WORTH_RETRYING,
        retry_after_s=reply.retry_after_s,
    )


# ---------------------------------------------------------------------------------------------
# The body


def body(message: Message) -> bytes:
    """Return the JSON body, the same for every try and under 20 kB.

    What is too long is shortened step by step, headline and links last: `docs/alerts.md` says how. Then
    `data.shortened` is true.
    """
    for data in _shorter(message.data):
        content = json.dumps(
            {
                "type": message.type.value,
                "timestamp": message.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                "data": data,
            },
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode("utf-8", "replace")
        if len(content) < MAX_BODY_BYTES:
            return content
    raise DeliveryError(
        "The message is too long for a webhook, even shortened.", advice="report this", permanent=True
    )


def _shorter(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield data
    shorter = copy.deepcopy(data)
    shorter["shortened"] = True
    for rows in (2, 0):
        for finding in _findings(shorter):
            finding["rows"] = finding["rows"][:rows]
        yield shorter
    for most in (10, 3, 1):
        for name in ("incidents", "versions", "reasons"):
            if name in shorter:
                shorter[name] = shorter[name][:most]
        yield shorter
    yield _cut(shorter)


def _findings(data: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [item for item in (*data.get("incidents", ()), data.get("run") or {}) if "rows" in item]


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        # Half an address leads nowhere.
        return {key: item if key.endswith("url") else _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, str) and len(value) > _TEXT:
        return f"{value[: _TEXT - 1]}…"
    return value
