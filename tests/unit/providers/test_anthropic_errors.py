from __future__ import annotations

import json

import anthropic
import httpx2
import pytest
from anthropic.types.shared import ErrorResponse

from fairlead import errors
from fairlead.errors import FairleadError
from fairlead.providers.anthropic import AnthropicClient, AnthropicUpstream
from fairlead.types import FailureKind, Headers

K = FailureKind


def body(kind: str, message: str = "m", **more: object) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, body("invalid_request_error"), K.INVALID_REQUEST),
        (
            400,
            body("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            K.CONTEXT_WINDOW,
        ),
        (
            400,
            body("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            K.CONTEXT_WINDOW,
        ),
        (
            400,
            body("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            K.QUOTA,
        ),
        (400, body("invalid_request_error", "Output blocked by content filtering policy"), K.CONTENT_POLICY),
        (401, body("authentication_error"), K.AUTH),
        (402, body("billing_error"), K.QUOTA),
        (403, body("permission_error"), K.AUTH),
        (403, body("permission_error", details={"error_code": "organization_on_hold"}), K.QUOTA),
        (404, body("not_found_error"), K.NOT_FOUND),
        (413, body("request_too_large"), K.INVALID_REQUEST),
        (429, body("rate_limit_error"), K.RATE_LIMITED),
        (429, body("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}), K.QUOTA),
        (500, body("api_error"), K.SERVER_ERROR),
        (504, body("timeout_error"), K.TIMEOUT),
        (529, body("overloaded_error"), K.OVERLOADED),
        (529, b"", K.OVERLOADED),
        (503, b"<html><title>503 Service Unavailable</title></html>", K.OVERLOADED),
        (502, b"<html>", K.SERVER_ERROR),
        (418, body("teapot_error"), K.INVALID_REQUEST),
        (200, b"not json", K.SERVER_ERROR),
    ],
)
def test_failures(status: int, data: bytes, kind: FailureKind) -> None:
    failure = AnthropicUpstream().failure(status, [], data)

    assert failure.kind is kind
    assert failure.status == status
    assert failure.message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"7")], 0.25),
        (
            [
                (b"date", b"Tue, 01 Sep 2026 12:00:00 GMT"),
                (b"anthropic-ratelimit-requests-remaining", b"9"),
                (b"anthropic-ratelimit-requests-reset", b"2026-09-01T12:09:00Z"),
                (b"anthropic-ratelimit-tokens-remaining", b"0"),
                (b"anthropic-ratelimit-tokens-reset", b"2026-09-01T12:00:30Z"),
            ],
            30.0,
        ),
        ([(b"anthropic-ratelimit-tokens-reset", b"2026-09-01T12:00:30Z")], None),
        ([], None),
    ],
)
def test_retry_after(headers: Headers, wait: float | None) -> None:
    failure = AnthropicUpstream().failure(429, headers, body("rate_limit_error"))

    assert failure.retry_after_s == wait


def test_credentials_are_never_quoted() -> None:
    upstream = AnthropicUpstream()
    key = "sk-ant-api03-abcdefghijk"

    assert key not in upstream.failure(401, [], body("authentication_error", f"bad key {key}")).message
    assert key not in upstream.failure(500, [], f"upstream got {key}".encode()).message
    assert key not in upstream.failure(400, [], body("invalid_request_error", f"header {key}")).message


@pytest.mark.parametrize(
    ("error", "kind", "raised"),
    [
        (errors.InvalidRequest(), "invalid_request_error", anthropic.BadRequestError),
        (errors.ContextWindowExceeded(), "invalid_request_error", anthropic.BadRequestError),
        (errors.Unauthenticated(), "authentication_error", anthropic.AuthenticationError),
        (errors.Forbidden(), "permission_error", anthropic.PermissionDeniedError),
        (errors.ModelNotFound(), "not_found_error", anthropic.NotFoundError),
        (errors.BodyTooLarge(), "request_too_large", anthropic.APIStatusError),
        (errors.RateLimited(), "rate_limit_error", anthropic.RateLimitError),
        (errors.Overloaded(), "overloaded_error", anthropic.InternalServerError),
        (errors.DeadlineExceeded(), "timeout_error", anthropic.InternalServerError),
        (errors.BadUpstreamAnswer(), "api_error", anthropic.InternalServerError),
        (errors.FairleadError(), "api_error", anthropic.InternalServerError),
        (errors.MethodNotAllowed(), "invalid_request_error", anthropic.APIStatusError),
    ],
)
def test_our_errors_are_raised_by_the_sdk(
    error: FairleadError, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    data = AnthropicClient().error_body(error, "req-1")
    transport = httpx2.MockTransport(lambda request: httpx2.Response(error.status, content=data))
    client = anthropic.Anthropic(
        api_key="k", max_retries=0, http_client=anthropic.DefaultHttpxClient(transport=transport)
    )

    with pytest.raises(raised) as caught:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])

    assert json.loads(data)["error"]["type"] == kind
    assert caught.value.error_code == error.code
    assert error.message in caught.value.message
    if kind != "request_too_large":  # documented, and missing from the SDK's own list
        assert ErrorResponse.model_validate_json(data).request_id == "req-1"


def test_a_hint_is_told() -> None:
    data = json.loads(AnthropicClient().error_body(errors.Unauthenticated(), "r"))

    assert "x-api-key" in data["error"]["message"]
