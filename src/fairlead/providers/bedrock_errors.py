"""What Bedrock's refusals mean.

The exception's name decides; it comes in the `x-amzn-errortype` field, as
`__type` in the body, or in the headers of an event. Two facts are told only in
a ValidationException's message; `_PATTERNS` is the documented exception to
never deciding by message text.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairlead.providers import bedrock_wire as wire
from fairlead.providers.anthropic_errors import status_kind
from fairlead.providers.retry_after import retry_after_s
from fairlead.providers.upstream_text import body_excerpt, presentable
from fairlead.types import Failure, FailureKind, Headers

_error_decoder: Final = msgspec.json.Decoder(wire.ErrorBody)

_KINDS: Final = {
    "validation": FailureKind.INVALID_REQUEST,
    "accessdenied": FailureKind.AUTH,
    "unrecognizedclient": FailureKind.AUTH,
    "invalidsignature": FailureKind.AUTH,
    "incompletesignature": FailureKind.AUTH,
    "missingauthenticationtoken": FailureKind.AUTH,
    "expiredtoken": FailureKind.AUTH,
    "invalidclienttokenid": FailureKind.AUTH,
    "notauthorized": FailureKind.AUTH,
    "resourcenotfound": FailureKind.NOT_FOUND,
    "throttling": FailureKind.RATE_LIMITED,
    "toomanyrequests": FailureKind.RATE_LIMITED,
    "servicequotaexceeded": FailureKind.QUOTA,
    # The model is being loaded; it comes with status 429.
    "modelnotready": FailureKind.OVERLOADED,
    "serviceunavailable": FailureKind.OVERLOADED,
    "modeltimeout": FailureKind.TIMEOUT,
    "modelerror": FailureKind.SERVER_ERROR,
    "modelstreamerror": FailureKind.SERVER_ERROR,
    "internalserver": FailureKind.SERVER_ERROR,
    "internalfailure": FailureKind.SERVER_ERROR,
}
"""Names without their endings (`Exception`, `Error`), in lower case."""
_ENDING: Final = re.compile(r"(exception|error)$")
_WHOLE: Final = frozenset({"modelerror", "modelstreamerror"})

_PATTERNS: Final = (
    # "Input is too long for requested model."; of Claude: "prompt is too long: 210000 tokens > 200000".
    # "The maximum tokens you requested exceeds the model limit" is about output, and the client's to mend.
    (re.compile(r"[Ii]nput is too long|prompt is too long|exceed context limit"), FailureKind.CONTEXT_WINDOW),
    # "This model's maximum context length is 131072 tokens."
    (re.compile(r"maximum context length"), FailureKind.CONTEXT_WINDOW),
    # "The provided model identifier is invalid."
    (re.compile(r"model identifier is invalid"), FailureKind.NOT_FOUND),
)


def failure(status: int, headers: Headers, body: bytes) -> Failure:
    """What a refusal means."""
    fields = dict(headers)
    name = fields.get(b"x-amzn-errortype", b"").decode("latin-1")
    message = ""
    try:
        found = _error_decoder.decode(body)
        message = found.message or found.capital
        name = name or found.type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = body_excerpt(body)
    result = failure_of(name, message, status)
    return msgspec.structs.replace(result, retry_after_s=retry_after_s(headers))


def failure_of(name: str, message: str, status: int | None) -> Failure:
    """What an exception means, as an answer of `status` or inside a stream."""
    # "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/" or "com.amazon#Validation..."
    code = name.partition(":")[0].rpartition("#")[2].strip()
    lowered = code.lower()
    stem = lowered if lowered in _WHOLE else _ENDING.sub("", lowered)
    kind = _KINDS.get(stem)
    if kind is None:
        kind = FailureKind.SERVER_ERROR if status is None else status_kind(status)
    if kind is FailureKind.INVALID_REQUEST:
        for pattern, special in _PATTERNS:
            if pattern.search(message):
                kind = special
                break
    if kind is FailureKind.AUTH:
        text = f"the upstream refused the configured credential (HTTP {status})"
    else:
        text = presentable(message) or presentable(code) or f"HTTP {status}"
    return Failure(kind=kind, message=text, status=status, code=presentable(code) or None)
