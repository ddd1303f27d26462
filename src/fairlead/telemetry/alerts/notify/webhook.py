"""The generic webhook: a documented JSON document, signed.

`x-fairlead-signature: t=TIME,v1=HEX` is the HMAC-SHA256, under the receiver's
key, of the time in Unix seconds, a full stop and the body. A receiver that
refuses old times cannot be played an old notification again.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.notify.post import Post, Settings, bearer

VERSION: Final = 1
SIGNATURE: Final = b"x-fairlead-signature"


def render(notification: Notification, settings: Settings, now: float) -> Post:
    """The whole notification as it is, with a title and each alert in words."""
    fields = msgspec.to_builtins(notification)
    for alert, of in zip(fields["alerts"], notification.alerts, strict=True):
        alert["text"] = text.paragraph(of)
    document = {"version": VERSION, "title": text.title(notification), **fields}
    body = msgspec.json.encode(document)
    headers = bearer(settings.token)
    if settings.hmac_key:
        headers += ((SIGNATURE, sign(settings.hmac_key, body, now)),)
    return Post(url=settings.url, body=body, headers=headers)


def sign(key: str, body: bytes, now: float) -> bytes:
    """The signature of a body sent at `now`."""
    at = str(int(now)).encode()
    mac = hmac.new(key.encode(), at + b"." + body, hashlib.sha256)
    return b"t=" + at + b",v1=" + mac.hexdigest().encode()


def verify(key: str, body: bytes, signature: bytes, now: float, *, tolerance_s: float = 300.0) -> bool:
    """Whether a signature is of this body and key, and of within `tolerance_s` of `now`."""
    stated = signature.partition(b",")[0].removeprefix(b"t=")
    if not stated.isdigit() or abs(now - int(stated)) > tolerance_s:
        return False
    return hmac.compare_digest(signature, sign(key, body, int(stated)))
