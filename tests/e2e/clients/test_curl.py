"""curl against every upstream: plain, streamed, chunked uploads, `Expect: 100-continue`, kept connections."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from tests.e2e.gateway import GatewayProcess

CURL = shutil.which("curl") or "curl"


def curl(gateway: GatewayProcess, path: str, *options: str, data: bytes | None = None) -> str:
    """Its output; it must end well."""
    done = subprocess.run(
        [
            *(CURL, "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"),
            *("-H", f"authorization: Bearer {gateway.admin_key}", *options, gateway.url + path),
        ],
        input=data,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def body(model: str, text: str = "say exactly: Grüße!", **fields: object) -> bytes:
    asked = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(asked).encode()


def content(answer: Any) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def test_plain(gateway: GatewayProcess, model: str) -> None:
    out = curl(gateway, "/v1/chat/completions", "--http1.1", "-i", "-d", "@-", data=body(model))
    head, _, text = out.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "\r\ncontent-type: application/json" in head
    assert "\r\nx-request-id: req_" in head
    assert content(json.loads(text)) == "Grüße!"


def test_http_1_0_and_http_2_upgrades(gateway: GatewayProcess, model: str) -> None:
    """An offer to upgrade is declined, and an old client gets an answer that ends with its connection."""
    for version in ("--http1.0", "--http2"):
        out = curl(gateway, "/v1/chat/completions", version, "-d", "@-", data=body(model))
        assert content(json.loads(out)) == "Grüße!"
    out = curl(gateway, "/v1/chat/completions", "--http1.0", "-N", "-d", "@-", data=body(model, stream=True))
    assert out.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("size", [0, 200_000], ids=["small", "large"])
def test_a_chunked_upload(gateway: GatewayProcess, model: str, size: int) -> None:
    asked = body(model, "word " * (size // 5) + "say exactly: Grüße!")
    out = curl(
        gateway,
        "/v1/chat/completions",
        *("-H", "transfer-encoding: chunked", "-H", "content-type: application/json", "--data-binary", "@-"),
        data=asked,
    )
    assert content(json.loads(out)) == "Grüße!"


def test_expect_100_continue(gateway: GatewayProcess, model: str) -> None:
    out = curl(
        gateway,
        "/v1/chat/completions",
        *("-i", "-H", "expect: 100-continue", "--expect100-timeout", "10", "--data-binary", "@-"),
        # curl would go on by itself after the time-out, so it must be the gateway that answered.
        *("--max-time", "5"),
        data=body(model),
    )
    assert out.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert content(json.loads(out.rpartition("\r\n\r\n")[2])) == "Grüße!"


def test_a_refusal_comes_before_the_body(gateway: GatewayProcess) -> None:
    out = curl(
        gateway,
        "/v1/chat/completions",
        *("-i", "-H", "authorization: Bearer wrong", "-H", "expect: 100-continue"),
        *("--expect100-timeout", "10", "--max-time", "5", "--data-binary", "@-"),
        data=body("openai", "x" * 1_000_000),
    )
    assert out.startswith("HTTP/1.1 401 ")
    assert "100 Continue" not in out


def test_a_stream(gateway: GatewayProcess, model: str) -> None:
    out = curl(
        gateway,
        "/v1/chat/completions",
        *("-N", "-i", "-d", "@-"),
        data=body(model, "say exactly: One, two.", stream=True),
    )
    head, _, text = out.partition("\r\n\r\n")
    assert "\r\ncontent-type: text/event-stream; charset=utf-8" in head
    assert "\r\ncache-control: no-cache" in head
    events = text.rstrip("\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(deltas) == "One, two."


def test_anthropics_events(gateway: GatewayProcess, model: str) -> None:
    out = curl(
        gateway,
        "/v1/messages",
        *("-N", "-H", "anthropic-version: 2023-06-01", "-d", "@-"),
        data=body(model, "say exactly: One, two.", stream=True, max_tokens=50),
    )
    events = [event.split("\n") for event in out.rstrip("\n").split("\n\n")]
    for name, data in events:
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
    assert (events[0][0], events[-1][0]) == ("event: message_start", "event: message_stop")


def test_connections_are_kept(gateway: GatewayProcess) -> None:
    url = gateway.url + "/v1/models"
    out = curl(gateway, "/v1/models", "-w", "%{num_connects}\n", "-o", "/dev/null", url, "-o", "/dev/null")
    assert out == "1\n0\n"


def test_an_upload_of_a_form(gateway: GatewayProcess, tmp_path: Any) -> None:
    (tmp_path / "note.wav").write_bytes(bytes(range(256)) * 2000)
    fields = ("-F", "model=openai", "-F", f"file=@{tmp_path}/note.wav")
    plain = json.loads(curl(gateway, "/v1/audio/transcriptions", *fields))
    assert "note.wav" in plain["text"]
    chunked = curl(gateway, "/v1/audio/transcriptions", *fields, "-H", "transfer-encoding: chunked")
    assert json.loads(chunked)["text"] == plain["text"]
    # The file may come before the model's name.
    swapped = curl(gateway, "/v1/audio/transcriptions", *fields[2:], *fields[:2])
    assert json.loads(swapped)["text"] == plain["text"]


def test_errors_are_readable(gateway: GatewayProcess) -> None:
    for options, status, word in (
        (("-d", "{"), 400, "not valid JSON"),
        (("-d", "{}"), 400, "`model` is missing"),
        (("-X", "DELETE"), 405, "answers POST"),
    ):
        out = curl(gateway, "/v1/chat/completions", "-w", "\n%{http_code}", *options)
        text, _, code = out.rpartition("\n")
        assert (int(code), word in json.loads(text)["error"]["message"]) == (status, True), out
    missing = curl(gateway, "/v1/nothing", "-w", "\n%{http_code}", "-d", "{}")
    assert missing.endswith("\n404")
