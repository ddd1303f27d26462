"""Errors and filler in each dialect's own shape."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import msgspec

from fairlead.errors import ContextWindowExceeded, FairleadError

Shape = Literal["openai", "vllm", "anthropic", "gemini", "bedrock"]

_VLLM_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BEDROCK_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def sse(data: bytes, event: bytes | None = None) -> bytes:
    """One server-sent event."""
    if event is None:
        return b"data: " + data + b"\n\n"
    return b"event: " + event + b"\ndata: " + data + b"\n\n"


def frame(kind: str, payload: bytes, *, exception: bool = False) -> bytes:
    """One message of AWS's event stream: prelude, headers, payload, checksums."""
    names = (
        (":exception-type" if exception else ":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "exception" if exception else "event"),
    )
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in names
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def error_object(shape: Shape, status: int, message: str, param: str | None = None) -> dict[str, object]:
    """The JSON error body of a dialect."""
    if shape == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
    if shape == "gemini":
        named = _GEMINI_STATUSES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
        return {"error": {"code": status, "message": message, "status": named}}
    if shape == "bedrock":
        return {"message": message}
    if shape == "vllm":
        kind = _VLLM_TYPES.get(status, "InternalServerError" if status >= 500 else "BadRequestError")
        return {"error": {"message": message, "type": kind, "param": param, "code": status}}
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def error_headers(shape: Shape, status: int) -> bytes:
    """Header lines that go with an error body."""
    if shape == "bedrock":
        kind = _BEDROCK_TYPES.get(status, "InternalServerException")
        return f"x-amzn-errortype: {kind}\r\n".encode()
    return b""


def error_of(shape: Shape, error: FairleadError) -> bytes:
    """The body of an error, in the words of this dialect."""
    message = error.message
    if shape == "anthropic" and isinstance(error, ContextWindowExceeded):
        message = f"prompt is too long: {message}"
    return msgspec.json.encode(error_object(shape, error.status, message, error.param))


def error_event(shape: Shape) -> bytes:
    """An error in the middle of a stream, and the end that goes with it."""
    if shape == "anthropic":
        return sse(msgspec.json.encode(error_object("anthropic", 529, "Overloaded")), b"error")
    if shape == "vllm":
        body = error_object("vllm", 500, "EngineCore encountered an issue.")
        return sse(msgspec.json.encode(body)) + sse(b"[DONE]")
    if shape == "gemini":
        return sse(msgspec.json.encode(error_object("gemini", 503, "The model is overloaded.")))
    if shape == "bedrock":
        return frame("modelStreamErrorException", b'{"message":"The model stream failed."}', exception=True)
    text = "The server had an error while processing your request."
    return sse(msgspec.json.encode(error_object("openai", 500, text)))


def filler_event(shape: Shape, size: int) -> bytes:
    """A valid event without meaning, `size` bytes of padding long."""
    padding = b'"padding":"' + b"x" * size + b'"}'
    if shape == "anthropic":
        return sse(b'{"type":"ping",' + padding, b"ping")
    if shape == "gemini":
        return sse(b'{"candidates":[],' + padding)
    if shape == "bedrock":
        return frame("metadata", b"{" + padding)
    return sse(b'{"object":"chat.completion.chunk","choices":[],' + padding)


def broken_event(shape: Shape) -> bytes:
    """An event whose JSON does not parse."""
    broken = b'{"id":"broken","choices":[{"index":0,"delta":{"content":"'
    if shape == "anthropic":
        return sse(broken, b"content_block_delta")
    if shape == "bedrock":
        return frame("contentBlockDelta", broken)
    return sse(broken)
