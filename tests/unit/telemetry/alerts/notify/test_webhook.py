"""The generic webhook's document and signature."""

from __future__ import annotations

import hashlib
import hmac
import json

from tests.unit.telemetry.alerts.notes import NOW, note

from fairlead.telemetry.alerts.notify.post import Settings
from fairlead.telemetry.alerts.notify.webhook import SIGNATURE, render, sign, verify

SETTINGS = Settings(url="https://example.com/hook", hmac_key="a key", token="a token")


def test_the_document_says_everything() -> None:
    post = render(note(), SETTINGS, NOW)
    document = json.loads(post.body)

    assert post.url == SETTINGS.url
    assert document["version"] == 1
    assert document["title"] == "1 alert firing: errors (model=small)"
    assert (document["id"], document["status"]) == ("0123456789", "firing")
    (alert,) = document["alerts"]
    assert alert["examples"] == ["req_1", "req_2"]
    assert "look further: fairlead explain req_1" in alert["text"]


def test_the_signature_is_plain_hmac_over_time_and_body() -> None:
    post = render(note(), SETTINGS, NOW)
    headers = dict(post.headers)
    expected = hmac.new(b"a key", b"1700000000." + post.body, hashlib.sha256).hexdigest()

    assert headers[SIGNATURE] == f"t=1700000000,v1={expected}".encode()
    assert headers[b"authorization"] == b"Bearer a token"


def test_without_a_key_nothing_is_signed() -> None:
    assert render(note(), Settings(url="https://example.com"), NOW).headers == ()


def test_a_receiver_can_tell_what_is_genuine() -> None:
    signature = sign("key", b"body", NOW)

    assert verify("key", b"body", signature, NOW + 299)
    assert not verify("key", b"body", signature, NOW + 301)
    assert not verify("key", b"other", signature, NOW)
    assert not verify("other", b"body", signature, NOW)
    assert not verify("key", b"body", b"nonsense", NOW)


def test_secrets_do_not_print() -> None:
    assert "a key" not in repr(SETTINGS)
    assert "token" not in repr(render(note(), SETTINGS, NOW))
