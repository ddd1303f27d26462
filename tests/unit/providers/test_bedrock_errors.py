from __future__ import annotations

import pytest

from fairlead.providers.bedrock import BedrockUpstream
from fairlead.types import FailureKind as K

PREFIX = b":http://internal.amazon.com/coral/com.amazon.bedrock/"


@pytest.mark.parametrize(
    ("status", "name", "body", "kind"),
    [
        (400, b"ValidationException" + PREFIX, b'{"message":"m"}', K.INVALID_REQUEST),
        (
            400,
            b"ValidationException",
            b'{"message":"Input is too long for requested model."}',
            K.CONTEXT_WINDOW,
        ),
        (
            400,
            b"ValidationException",
            b'{"message":"prompt is too long: 2 tokens > 1 maximum"}',
            K.CONTEXT_WINDOW,
        ),
        (
            400,
            b"ValidationException",
            b'{"message":"The provided model identifier is invalid."}',
            K.NOT_FOUND,
        ),
        (400, b"ServiceQuotaExceededException", b'{"message":"m"}', K.QUOTA),
        (403, b"AccessDeniedException", b'{"Message":"m"}', K.AUTH),
        (403, b"UnrecognizedClientException", b'{"message":"m"}', K.AUTH),
        (403, b"ExpiredTokenException", b'{"message":"m"}', K.AUTH),
        (403, b"InvalidSignatureException", b'{"message":"m"}', K.AUTH),
        (404, b"ResourceNotFoundException", b'{"message":"m"}', K.NOT_FOUND),
        (408, b"ModelTimeoutException", b'{"message":"m"}', K.TIMEOUT),
        (424, b"ModelErrorException", b'{"message":"m"}', K.SERVER_ERROR),
        (429, b"ThrottlingException", b'{"message":"m"}', K.RATE_LIMITED),
        (429, b"ModelNotReadyException", b'{"message":"m"}', K.OVERLOADED),
        (500, b"InternalServerException", b'{"message":"m"}', K.SERVER_ERROR),
        (503, b"ServiceUnavailableException", b'{"message":"m"}', K.OVERLOADED),
        (
            400,
            b"",
            b'{"__type":"com.amazon.coral.service#ThrottlingException","message":"m"}',
            K.RATE_LIMITED,
        ),
        (429, b"", b"", K.RATE_LIMITED),
        (503, b"", b"<html>", K.OVERLOADED),
        (403, b"", b'{"message":"m"}', K.AUTH),
    ],
)
def test_failures(status: int, name: bytes, body: bytes, kind: K) -> None:
    failure = BedrockUpstream().failure(status, [(b"x-amzn-errortype", name)] if name else [], body)

    assert failure.kind is kind
    assert failure.message


def test_the_code_is_the_exceptions_name() -> None:
    headers = [(b"x-amzn-errortype", b"ThrottlingException" + PREFIX), (b"retry-after", b"3")]

    failure = BedrockUpstream().failure(429, headers, b'{"message":"slow down"}')

    assert (failure.code, failure.message) == ("ThrottlingException", "slow down")
    assert failure.retry_after_s == 3.0


def test_credentials_are_never_quoted() -> None:
    key = "AKIAIOSFODNN7EXAMPLE"
    body = b'{"message":"key ' + key.encode() + b' is wrong"}'

    for name in (b"UnrecognizedClientException", b"InternalServerException", b""):
        failure = BedrockUpstream().failure(500, [(b"x-amzn-errortype", name)], body)
        assert key not in failure.message
