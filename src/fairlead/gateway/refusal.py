"""What a failed attempt means for the client, once nothing else can be tried."""

from __future__ import annotations

from fairlead.errors import (
    BadUpstreamAnswer,
    ContentPolicyRefused,
    ContextWindowExceeded,
    FairleadError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RateLimited,
    UnsupportedByTarget,
    UpstreamCut,
    UpstreamError,
    UpstreamsExhausted,
    UpstreamTimeout,
)
from fairlead.providers.upstream_text import is_error_envelope
from fairlead.types import Failure, FailureKind

_REFUSALS: dict[FailureKind, type[InvalidRequest]] = {
    FailureKind.INVALID_REQUEST: InvalidRequest,
    FailureKind.CONTEXT_WINDOW: ContextWindowExceeded,
    FailureKind.CONTENT_POLICY: ContentPolicyRefused,
    FailureKind.UNSUPPORTED: UnsupportedByTarget,
}

_FAILURES: dict[FailureKind, type[FairleadError]] = {
    FailureKind.UNREACHABLE: UpstreamsExhausted,
    FailureKind.TLS: UpstreamsExhausted,
    FailureKind.TIMEOUT: UpstreamTimeout,
    FailureKind.TOO_SLOW: UpstreamTimeout,
    FailureKind.DISCONNECTED: UpstreamError,
    FailureKind.CUT: UpstreamCut,
    FailureKind.EMPTY: BadUpstreamAnswer,
    FailureKind.BAD_ANSWER: BadUpstreamAnswer,
    FailureKind.SERVER_ERROR: UpstreamError,
    FailureKind.OVERLOADED: Overloaded,
    FailureKind.RATE_LIMITED: RateLimited,
    FailureKind.NOT_FOUND: ModelNotFound,
}


def client_error(failure: Failure, body: bytes = b"") -> FairleadError:
    """The error to raise for `failure`.

    `body` is the upstream's own error body; it reaches a client of the same
    dialect untouched when the client is the one who must act (4xx) and its SDK
    can read it. Trouble with our own credential or credit at the provider is a
    502: the client's key is fine, and a 401 would send its user looking in the
    wrong place.
    """
    kind = failure.kind
    refusal = _REFUSALS.get(kind)
    if refusal is not None:
        error = refusal(failure.message, param=failure.param)
        if failure.status is not None and 400 <= failure.status < 500:
            error.status = failure.status
        error.upstream_body = body if is_error_envelope(body) else b""
        return error
    if kind is FailureKind.AUTH:
        return UpstreamError("the provider refused the gateway's credential")
    if kind is FailureKind.QUOTA:
        return UpstreamError("the gateway's account at the provider has no credit left")
    return _FAILURES[kind](failure.message, retry_after_s=failure.retry_after_s)
