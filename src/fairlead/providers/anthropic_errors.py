"""Errors in Anthropic's words, in both directions.

The kind of a failure follows from the error's `type`, its machine-readable
`details.error_code` and the HTTP status. Two things Anthropic tells in the
message only, under `invalid_request_error`; `_PATTERNS` is the documented
exception to never deciding by message text.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairlead.errors import FairleadError
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.anthropic_answer import date_of
from fairlead.providers.retry_after import parse_reset, retry_after_s
from fairlead.providers.upstream_text import body_excerpt, presentable
from fairlead.types import Failure, FailureKind, Headers

_error_decoder: Final = msgspec.json.Decoder(wire.ErrorBody)

_KINDS: Final = {
    "invalid_request_error": FailureKind.INVALID_REQUEST,
    "authentication_error": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "billing_error": FailureKind.QUOTA,
    "not_found_error": FailureKind.NOT_FOUND,
    "request_too_large": FailureKind.INVALID_REQUEST,
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "timeout_error": FailureKind.TIMEOUT,
    "api_error": FailureKind.SERVER_ERROR,
    "overloaded_error": FailureKind.OVERLOADED,
}
_SPENT_CODES: Final = frozenset(
    {
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "organization_on_hold",
    }
)
"""`details.error_code`s that say the account cannot pay; they come with several types and statuses."""

_STATUSES: Final = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    413: FailureKind.INVALID_REQUEST,
    422: FailureKind.INVALID_REQUEST,
    429: FailureKind.RATE_LIMITED,
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}

_PATTERNS: Final = (
    # "prompt is too long: 210000 tokens > 200000 maximum";
    # "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"
    (re.compile(r"prompt is too long|exceed context limit"), FailureKind.CONTEXT_WINDOW),
    # "Your credit balance is too low to access the Anthropic API."
    (re.compile(r"credit balance is too low"), FailureKind.QUOTA),
    # "You have reached your specified API usage limits."
    (re.compile(r"reached your specified API usage limits"), FailureKind.QUOTA),
    # "Output blocked by content filtering policy"
    (re.compile(r"content filtering policy"), FailureKind.CONTENT_POLICY),
)
"""What Anthropic says in words only (as seen in its public issue trackers): text to kind."""


def failure(status: int, headers: Headers, body: bytes) -> Failure:
    """What a refusal means."""
    try:
        error = _error_decoder.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        kind = status_kind(status)
        return Failure(
            kind=kind,
            message=_message(kind, body_excerpt(body), status),
            status=status,
            retry_after_s=_retry_after(headers, kind),
        )
    found = failure_of(error, status)
    wait = _retry_after(headers, found.kind)
    return found if wait is None else msgspec.structs.replace(found, retry_after_s=wait)


def failure_of(error: wire.Error, status: int | None) -> Failure:
    """What an error object means, in an answer of `status` or inside a stream."""
    code = error.details.error_code if error.details else None
    kind = _KINDS.get(error.type)
    if kind is None:
        kind = FailureKind.SERVER_ERROR if status is None else status_kind(status)
    if code in _SPENT_CODES:
        kind = FailureKind.QUOTA
    elif kind is FailureKind.INVALID_REQUEST:
        for pattern, special in _PATTERNS:
            if pattern.search(error.message):
                kind = special
                break
    return Failure(
        kind=kind,
        message=_message(kind, error.message or error.type, status),
        status=status,
        code=presentable(code or error.type) or None,
    )


def status_kind(status: int) -> FailureKind:
    """The kind that follows from the HTTP status alone."""
    kind = _STATUSES.get(status)
    if kind is not None:
        return kind
    return FailureKind.INVALID_REQUEST if 400 <= status < 500 else FailureKind.SERVER_ERROR


def _message(kind: FailureKind, text: str, status: int | None) -> str:
    if kind is FailureKind.AUTH:
        # Providers quote what they refused; our credential is nobody else's business.
        return f"the upstream refused the configured credential (HTTP {status})"
    return presentable(text) or f"HTTP {status}"


def _retry_after(headers: Headers, kind: FailureKind) -> float | None:
    """`retry-after`, or when the limits that are used up are reset."""
    wait = retry_after_s(headers)
    if wait is not None or kind is not FailureKind.RATE_LIMITED:
        return wait
    fields = dict(headers)
    now = float(date_of(headers)) or None
    waits = [
        seconds
        for name, value in headers
        if name.startswith(b"anthropic-ratelimit-")
        and name.endswith(b"-reset")
        and fields.get(name[: -len(b"reset")] + b"remaining", b"0").strip() == b"0"
        and (seconds := parse_reset(value.decode("latin-1").strip(), now)) is not None
    ]
    return max(waits, default=None)


# --- our errors for clients ---------------------------------------------------------------------

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_BILLING_CODES: Final = frozenset({"insufficient_quota", "budget_exceeded"})

_FAILURE_TYPES: Final = {
    FailureKind.TIMEOUT: "timeout_error",
    FailureKind.TOO_SLOW: "timeout_error",
    FailureKind.OVERLOADED: "overloaded_error",
    FailureKind.RATE_LIMITED: "rate_limit_error",
    FailureKind.INVALID_REQUEST: "invalid_request_error",
    FailureKind.CONTEXT_WINDOW: "invalid_request_error",
    FailureKind.CONTENT_POLICY: "invalid_request_error",
    FailureKind.UNSUPPORTED: "invalid_request_error",
    FailureKind.NOT_FOUND: "not_found_error",
}


def error_type(error: FairleadError) -> str:
    """The `type` under which Anthropic's SDKs know an error."""
    if error.code in _BILLING_CODES:
        return "billing_error"
    known = _TYPES.get(error.status)
    if known is not None:
        return known
    return "invalid_request_error" if 400 <= error.status < 500 else "api_error"


def error_body(error: FairleadError, request_id: str) -> bytes:
    """`{"type": "error", ...}`; our own code travels as `details.error_code`, where SDKs look for one."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return _envelope(error_type(error), message, error.code, request_id)


def error_event(error: FairleadError, request_id: str) -> bytes:
    """The event that ends a stream; the SDKs raise it."""
    return b"event: error\ndata: " + error_body(error, request_id) + b"\n\n"


def failure_event(failure: Failure, request_id: str) -> bytes:
    """The event that ends a stream with an upstream's failure."""
    kind = _FAILURE_TYPES.get(failure.kind, "api_error")
    return (
        b"event: error\ndata: " + _envelope(kind, failure.message, failure.kind.value, request_id) + b"\n\n"
    )


def _envelope(kind: str, message: str, code: str, request_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": kind, "message": message, "details": {"error_code": code}},
            "request_id": request_id,
        }
    )
