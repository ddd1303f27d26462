from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.providers.gemini import GeminiUpstream
from fairlead.types import FailureKind as K


def body(status: str, message: str = "m", *details: dict[str, Any], code: int = 400) -> bytes:
    return json.dumps(
        {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    ).encode()


INFO = "type.googleapis.com/google.rpc.ErrorInfo"
QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, body("INVALID_ARGUMENT"), K.INVALID_REQUEST),
        (400, body("INVALID_ARGUMENT", TOO_LONG), K.CONTEXT_WINDOW),
        (400, body("INVALID_ARGUMENT", "bad key", {"@type": INFO, "reason": "API_KEY_INVALID"}), K.AUTH),
        (400, body("FAILED_PRECONDITION"), K.QUOTA),
        (401, body("UNAUTHENTICATED"), K.AUTH),
        (403, body("PERMISSION_DENIED"), K.AUTH),
        (403, body("PERMISSION_DENIED", "m", {"@type": INFO, "reason": "BILLING_DISABLED"}), K.QUOTA),
        (404, body("NOT_FOUND"), K.NOT_FOUND),
        (429, body("RESOURCE_EXHAUSTED"), K.RATE_LIMITED),
        (
            429,
            body(
                "RESOURCE_EXHAUSTED",
                "m",
                {"@type": QUOTA, "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]},
            ),
            K.QUOTA,
        ),
        (500, body("INTERNAL"), K.SERVER_ERROR),
        (503, body("UNAVAILABLE"), K.OVERLOADED),
        (504, body("DEADLINE_EXCEEDED"), K.TIMEOUT),
        (503, b"[" + body("UNAVAILABLE") + b"]", K.OVERLOADED),
        (429, body("", code=429), K.RATE_LIMITED),
        (502, b"<html><title>Bad Gateway</title>", K.SERVER_ERROR),
        (429, b"", K.RATE_LIMITED),
        (400, b"[]", K.INVALID_REQUEST),
        (200, b'{"promptFeedback":{"blockReason":"SAFETY"}}', K.CONTENT_POLICY),
        (200, b"{}", K.SERVER_ERROR),
    ],
)
def test_failures(status: int, data: bytes, kind: K) -> None:
    failure = GeminiUpstream().failure(status, [], data)

    assert failure.kind is kind
    assert failure.message


@pytest.mark.parametrize(("delay", "wait"), [("34s", 34.0), ("34.074824224s", 34.074824224), ("x", 9.0)])
def test_retry_delay(delay: str, wait: float) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}

    failure = GeminiUpstream().failure(429, [(b"retry-after", b"9")], body("RESOURCE_EXHAUSTED", "m", info))

    assert failure.retry_after_s == wait


def test_credentials_are_never_quoted() -> None:
    key = "AIzaSyA1234567890abcdefghij"
    info = {"@type": INFO, "reason": "API_KEY_INVALID"}
    upstream = GeminiUpstream()

    for data in (body("INVALID_ARGUMENT", f"bad {key}", info), body("INTERNAL", key), key.encode()):
        assert key not in upstream.failure(500, [], data).message
