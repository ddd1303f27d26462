"""Errors in each dialect's shape."""

import json

import pytest

from fairlead.errors import ContextWindowExceeded, ModelNotFound
from fairlead.simulate.shapes import (
    Shape,
    error_event,
    error_headers,
    error_object,
    error_of,
    filler_event,
    frame,
)


@pytest.mark.parametrize(
    ("shape", "status", "expected"),
    [
        ("vllm", 404, {"error": {"message": "m", "type": "NotFoundError", "param": "p", "code": 404}}),
        ("vllm", 418, {"error": {"message": "m", "type": "BadRequestError", "param": "p", "code": 418}}),
        ("openai", 429, {"error": {"message": "m", "type": "rate_limit_error", "param": "p", "code": None}}),
        ("openai", 502, {"error": {"message": "m", "type": "server_error", "param": "p", "code": None}}),
        ("gemini", 429, {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}),
        ("bedrock", 400, {"message": "m"}),
    ],
)
def test_an_error_object(shape: Shape, status: int, expected: object) -> None:
    assert error_object(shape, status, "m", "p") == expected


def test_anthropics_types_follow_the_status() -> None:
    kinds = [error_object("anthropic", status, "m")["error"] for status in (401, 418, 500, 529)]
    assert kinds == [
        {"type": "authentication_error", "message": "m"},
        {"type": "invalid_request_error", "message": "m"},
        {"type": "api_error", "message": "m"},
        {"type": "overloaded_error", "message": "m"},
    ]


def test_our_errors_keep_message_status_and_param() -> None:
    body = json.loads(error_of("vllm", ModelNotFound("no x", param="model")))
    assert body["error"] == {"message": "no x", "type": "NotFoundError", "param": "model", "code": 404}
    body = json.loads(error_of("anthropic", ContextWindowExceeded("9 > 8")))
    assert body["error"]["message"] == "prompt is too long: 9 > 8"


def test_bedrock_names_its_errors_in_a_header() -> None:
    assert error_headers("bedrock", 429) == b"x-amzn-errortype: ThrottlingException\r\n"
    assert error_headers("openai", 429) == b""


def test_an_event_stream_frame_has_the_published_layout() -> None:
    # total length, header length, checksum of these, headers, payload, checksum of all
    message = frame("e", b"{}")
    assert int.from_bytes(message[:4], "big") == len(message)
    headers = int.from_bytes(message[4:8], "big")
    assert message[12 : 12 + headers].startswith(b"\x0b:event-type\x07\x00\x01e")
    assert message[12 + headers : -4] == b"{}"


@pytest.mark.parametrize("shape", ["openai", "vllm", "anthropic", "gemini"])
def test_filler_and_errors_are_whole_events_of_json(shape: Shape) -> None:
    for event in (filler_event(shape, 1000), error_event(shape)):
        blocks = event.decode().split("\n\n")
        assert blocks.pop() == ""
        for block in blocks:
            data = block.split("data: ", 1)[1]
            assert data == "[DONE]" or json.loads(data)
    assert len(filler_event(shape, 1000)) > 1000
