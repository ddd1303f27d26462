"""Errors of the OpenAI family: what an upstream's failure means, and how a client is told of ours.

Codes and types decide first, then the HTTP status. Message patterns are the
last resort for one question only, whether the prompt was too long: vLLM,
SGLang, TGI and several hosted providers answer a bare 400 whose text is the
only signal (`_TOO_LONG`).

What an upstream says is shown without anything that looks like a credential;
for a refused credential, which some providers echo, long tokens go as well.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairlead.errors import FairleadError
from fairlead.providers.raw import NOTHING, present
from fairlead.providers.retry_after import retry_after_s
from fairlead.providers.upstream_text import body_excerpt, presentable
from fairlead.types import Failure, FailureKind, Headers

_KIND_BY_CODE: Final = {
    "context_length_exceeded": FailureKind.CONTEXT_WINDOW,
    "exceed_context_size_error": FailureKind.CONTEXT_WINDOW,  # llama.cpp
    "content_filter": FailureKind.CONTENT_POLICY,
    "content_policy_violation": FailureKind.CONTENT_POLICY,
    "image_content_policy_violation": FailureKind.CONTENT_POLICY,
    "responsibleaipolicyviolation": FailureKind.CONTENT_POLICY,  # Azure
    "moderation_blocked": FailureKind.CONTENT_POLICY,
    "invalid_prompt": FailureKind.CONTENT_POLICY,  # OpenAI: flagged by the usage policy
    "bio_policy": FailureKind.CONTENT_POLICY,
    "cyber_policy": FailureKind.CONTENT_POLICY,
    "misalignment_policy_violation": FailureKind.CONTENT_POLICY,
    "insufficient_quota": FailureKind.QUOTA,
    "billing_hard_limit_reached": FailureKind.QUOTA,
    "billing_not_active": FailureKind.QUOTA,
    "insufficient_balance": FailureKind.QUOTA,
    "invalid_api_key": FailureKind.AUTH,
    "authentication_error": FailureKind.AUTH,
    "authenticationerror": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "permissiondeniederror": FailureKind.AUTH,
    "model_not_found": FailureKind.NOT_FOUND,
    "deploymentnotfound": FailureKind.NOT_FOUND,  # Azure
    "not_found_error": FailureKind.NOT_FOUND,
    "notfounderror": FailureKind.NOT_FOUND,  # vLLM
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "ratelimiterror": FailureKind.RATE_LIMITED,
    "overloaded": FailureKind.OVERLOADED,  # TGI
    "overloaded_error": FailureKind.OVERLOADED,
    "unavailable_error": FailureKind.OVERLOADED,  # llama.cpp while it loads a model
    "service_unavailable": FailureKind.OVERLOADED,
    "serviceunavailableerror": FailureKind.OVERLOADED,
    "engine_overloaded": FailureKind.OVERLOADED,
    "timeout_error": FailureKind.TIMEOUT,
    "server_error": FailureKind.SERVER_ERROR,
    "internal_server_error": FailureKind.SERVER_ERROR,
    "internalservererror": FailureKind.SERVER_ERROR,  # vLLM
    "generation": FailureKind.SERVER_ERROR,  # TGI
    "invalid_request_error": FailureKind.INVALID_REQUEST,
    "badrequesterror": FailureKind.INVALID_REQUEST,  # vLLM, SGLang
    "unprocessableentityerror": FailureKind.INVALID_REQUEST,
    "validation": FailureKind.INVALID_REQUEST,  # TGI
}
_VAGUE: Final = {FailureKind.INVALID_REQUEST, FailureKind.SERVER_ERROR}
"""Kinds that a more telling sign (another code, the status, the text) may replace."""

_KIND_BY_STATUS: Final = {
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.SERVER_ERROR,  # a lock at the provider; SDKs retry it too
    424: FailureKind.SERVER_ERROR,  # TGI: generation failed
    429: FailureKind.RATE_LIMITED,
    498: FailureKind.OVERLOADED,  # Groq: flex capacity
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    522: FailureKind.TIMEOUT,
    524: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}

_TOO_LONG: Final = (
    "maximum context length",  # OpenAI, vLLM, SGLang, Mistral, Fireworks
    "model's context length",  # SGLang
    "context window",
    "exceed the available context size",  # llama.cpp
    "exceeds the available context size",
    "exceed context size",
    "maximum prompt length",  # xAI
    "prompt is too long",
    "`inputs` tokens + `max_new_tokens` must be <=",  # TGI
    "`inputs` must have less than",  # TGI
    "maximum model length",  # vLLM
)

_LONG_TOKEN: Final = re.compile(r"(?=\S*[\d*])[\w*.+/=-]{16,}")


class _Detail(msgspec.Struct, frozen=True, kw_only=True):
    message: msgspec.Raw = NOTHING
    type: msgspec.Raw = NOTHING
    code: msgspec.Raw = NOTHING
    param: msgspec.Raw = NOTHING
    error_type: msgspec.Raw = NOTHING
    innererror: msgspec.Raw = NOTHING


class _Envelope(_Detail, frozen=True, kw_only=True):
    error: msgspec.Raw = NOTHING
    detail: msgspec.Raw = NOTHING
    object: msgspec.Raw = NOTHING


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_DETAIL: Final = msgspec.json.Decoder(_Detail)


def failure_of(status: int, headers: Headers, body: bytes) -> Failure:
    """What a non-2xx answer, or an error object in a 200, means."""
    try:
        envelope = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _failure(status, headers, f"the upstream answered {status}: {body_excerpt(body)}", _Detail())
    detail = _detail_of(envelope)
    message = _text(detail.message) or _text(envelope.error) or _text(envelope.detail)
    if not message:
        message = f"the upstream answered {status}: {body_excerpt(body)}"
    return _failure(status, headers, message, detail)


def failure_in_stream(data: bytes) -> Failure:
    """What an error object inside a 200 stream means."""
    return failure_of(200, [], data)


def is_error(error: msgspec.Raw, object_: str | None) -> bool:
    """Whether a stream's chunk or a 200's body is an error object instead."""
    return object_ == "error" or bytes(error) not in (b"", b"null", b"false", b'""', b"{}")


def _detail_of(envelope: _Envelope) -> _Detail:
    error = bytes(envelope.error)
    if error.startswith(b"{"):
        try:
            return _DETAIL.decode(error)
        except msgspec.DecodeError:
            return _Detail()
    return envelope


def _failure(status: int, headers: Headers, message: str, detail: _Detail) -> Failure:
    codes = [
        text
        for text in (
            _text(detail.code),
            _inner_code(detail.innererror),
            _text(detail.type),
            _text(detail.error_type),
        )
        if text
    ]
    # Inside a 200 the error's numeric code is the only status there is.
    effective = status
    if 200 <= status < 300:
        effective = next((int(text) for text in codes if text.isdecimal() and len(text) == 3), 0)
    kind = _kind(effective, codes, message)
    return Failure(
        kind=kind,
        message=_shown(message, kind) or f"the upstream answered {status}",
        status=status,
        code=presentable(codes[0])[:100] if codes else None,
        param=presentable(_text(detail.param))[:200] or None,
        retry_after_s=retry_after_s(headers, rate_limited=status == 429),
    )


def _kind(status: int, codes: list[str], message: str) -> FailureKind:
    vague: FailureKind | None = None
    for code in codes:
        kind = _KIND_BY_CODE.get(code.lower())
        if kind is FailureKind.RATE_LIMITED and status == 413:
            continue  # Groq: one request above the per-minute tokens never succeeds
        if kind is not None and kind not in _VAGUE:
            return kind
        vague = vague or kind
    by_status = _KIND_BY_STATUS.get(status)
    if by_status is not None:
        return by_status
    lowered = message.lower()
    if status != 429 and any(pattern in lowered for pattern in _TOO_LONG):
        return FailureKind.CONTEXT_WINDOW
    if 400 <= status < 500:
        return FailureKind.INVALID_REQUEST
    if 300 <= status < 400:
        return FailureKind.BAD_ANSWER
    return vague or FailureKind.SERVER_ERROR


def _shown(message: str, kind: FailureKind) -> str:
    text = presentable(message)
    return _LONG_TOKEN.sub("[redacted]", text) if kind is FailureKind.AUTH else text


def _text(value: msgspec.Raw) -> str:
    """A string or a number as text; "" for everything else."""
    there = present(value)
    if there is None:
        return ""
    try:
        decoded = msgspec.json.decode(there)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if isinstance(decoded, str):
        return decoded
    return str(decoded) if isinstance(decoded, int) and not isinstance(decoded, bool) else ""


def _inner_code(value: msgspec.Raw) -> str:
    if not bytes(value).startswith(b"{"):
        return ""
    try:
        return _text(_DETAIL.decode(value).code)
    except msgspec.DecodeError:
        return ""


# --- towards the client -------------------------------------------------------------------------


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`error` of the envelope; all four fields are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    error: ErrorDetail


_TYPE_BY_STATUS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

_BY_KIND: Final = {
    FailureKind.RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    FailureKind.INVALID_REQUEST: ("invalid_request_error", "invalid_request"),
    FailureKind.CONTEXT_WINDOW: ("invalid_request_error", "context_length_exceeded"),
    FailureKind.CONTENT_POLICY: ("invalid_request_error", "content_policy_violation"),
    FailureKind.TIMEOUT: ("server_error", "upstream_timeout"),
    FailureKind.OVERLOADED: ("server_error", "overloaded"),
    FailureKind.CUT: ("server_error", "upstream_cut"),
}


def error_detail(error: FairleadError) -> ErrorDetail:
    """One of our errors in OpenAI's words."""
    kind = _TYPE_BY_STATUS.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if 400 <= error.status < 500 else "server_error"
    if error.code == "insufficient_quota":
        kind = "insufficient_quota"
    message = f"{error.message} Hint: {error.hint}." if error.hint else error.message
    return ErrorDetail(message=message, type=kind, param=error.param, code=error.code)


def failure_detail(failure: Failure) -> ErrorDetail:
    """An upstream's failure in the middle of a stream, in OpenAI's words."""
    kind, code = _BY_KIND.get(failure.kind, ("server_error", "upstream_error"))
    return ErrorDetail(message=failure.message, type=kind, param=None, code=code)


def error_body(error: FairleadError) -> bytes:
    """The JSON error body."""
    return msgspec.json.encode(ErrorEnvelope(error=error_detail(error)))


def error_frame(detail: ErrorDetail) -> bytes:
    """The SSE event on which OpenAI's SDKs raise."""
    return b"data: " + msgspec.json.encode(ErrorEnvelope(error=detail)) + b"\n\n"
