"""What Gemini's refusals mean.

Google's `status` decides, with its machine-readable details (`ErrorInfo`,
`RetryInfo`, `QuotaFailure`). Only that a prompt is too long is told in words,
under INVALID_ARGUMENT; `_TOO_LONG` is the documented exception to never
deciding by message text.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairlead.providers import gemini_wire as wire
from fairlead.providers.anthropic_errors import status_kind
from fairlead.providers.retry_after import parse_reset, retry_after_s
from fairlead.providers.upstream_text import body_excerpt, presentable
from fairlead.types import Failure, FailureKind, Headers

_error_decoder: Final = msgspec.json.Decoder(wire.ErrorBody | list[wire.ErrorBody])
_response_decoder: Final = msgspec.json.Decoder(wire.Response)

_KINDS: Final = {
    "INVALID_ARGUMENT": FailureKind.INVALID_REQUEST,
    "OUT_OF_RANGE": FailureKind.INVALID_REQUEST,
    # The account: no billing, or a region where the API is not offered.
    "FAILED_PRECONDITION": FailureKind.QUOTA,
    "UNAUTHENTICATED": FailureKind.AUTH,
    "PERMISSION_DENIED": FailureKind.AUTH,
    "NOT_FOUND": FailureKind.NOT_FOUND,
    "RESOURCE_EXHAUSTED": FailureKind.RATE_LIMITED,
    "UNAVAILABLE": FailureKind.OVERLOADED,
    "DEADLINE_EXCEEDED": FailureKind.TIMEOUT,
    "INTERNAL": FailureKind.SERVER_ERROR,
    "UNKNOWN": FailureKind.SERVER_ERROR,
    "ABORTED": FailureKind.SERVER_ERROR,
    "CANCELLED": FailureKind.SERVER_ERROR,
    "DATA_LOSS": FailureKind.SERVER_ERROR,
}
_CREDENTIAL_REASONS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})
"""`ErrorInfo.reason`s of a bad key, which comes as INVALID_ARGUMENT."""
_SPENT_REASONS: Final = frozenset({"BILLING_DISABLED", "CONSUMER_SUSPENDED"})

_TOO_LONG: Final = re.compile(r"token count.{0,40}exceeds the maximum number of tokens")
# "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."


def failure(status: int, headers: Headers, body: bytes) -> Failure:
    """What a refusal means; also that of a prompt in an answer with status 200."""
    try:
        found = _error_decoder.decode(body)
        # A stream that is not SSE wraps its error in a list.
        error = found[0].error if isinstance(found, list) else found.error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return blocked(body) or _plain(status, headers, body)
    result = failure_of(error, status)
    wait = result.retry_after_s if result.retry_after_s is not None else retry_after_s(headers)
    return msgspec.structs.replace(result, retry_after_s=wait)


def failure_of(error: wire.Error, status: int | None) -> Failure:
    """What an error object means, in an answer of `status` or inside a stream."""
    details = error.details or []
    kind = _KINDS.get(error.status) or status_kind(error.code or status or 500)
    reasons = {detail.reason for detail in details}
    quotas = [violation.quota_id for detail in details for violation in detail.violations or ()]
    if reasons & _CREDENTIAL_REASONS:
        kind = FailureKind.AUTH
    elif reasons & _SPENT_REASONS or any("PerDay" in quota for quota in quotas):
        # A day's quota is not worth waiting for.
        kind = FailureKind.QUOTA
    elif kind is FailureKind.INVALID_REQUEST and _TOO_LONG.search(error.message):
        kind = FailureKind.CONTEXT_WINDOW
    waits = (parse_reset(detail.retry_delay, None) for detail in details if detail.retry_delay)
    message = presentable(error.message) or error.status or f"HTTP {status}"
    if kind is FailureKind.AUTH:
        message = f"the upstream refused the configured credential (HTTP {status or error.code})"
    return Failure(
        kind=kind,
        message=message,
        status=status if status is not None else error.code or None,
        code=presentable(error.status) or None,
        retry_after_s=next((wait for wait in waits if wait is not None), None),
    )


def blocked(body: bytes) -> Failure | None:
    """The failure of a blocked prompt; None when the body says nothing of the kind."""
    try:
        feedback = _response_decoder.decode(body).prompt_feedback
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if feedback is None or feedback.block_reason is None:
        return None
    reason = presentable(feedback.block_reason)
    return Failure(
        kind=FailureKind.CONTENT_POLICY,
        message=presentable(feedback.block_reason_message or "") or f"the prompt was blocked ({reason})",
        status=200,
        code=reason,
    )


def _plain(status: int, headers: Headers, body: bytes) -> Failure:
    kind = status_kind(status)
    message = presentable(body_excerpt(body))
    if kind is FailureKind.AUTH:
        message = f"the upstream refused the configured credential (HTTP {status})"
    return Failure(kind=kind, message=message, status=status, retry_after_s=retry_after_s(headers))
