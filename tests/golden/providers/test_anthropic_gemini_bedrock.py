"""Wire formats of Anthropic, Gemini and Bedrock against recorded expectations.

`requests`: a `/v1/messages` body as each upstream is asked. `answers`: an
upstream's answer as a `/v1/messages` client gets it. `streams`: an upstream's
stream as events and as that client's stream, however it is split.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fairlead.errors import InvalidRequest
from fairlead.providers.anthropic import AnthropicClient, AnthropicUpstream
from fairlead.providers.bedrock import BedrockUpstream
from fairlead.providers.chat import End, Event, Finish
from fairlead.providers.dialect import UpstreamDialect
from fairlead.providers.eventstream import HeaderValue, encode_message
from fairlead.providers.gemini import GeminiUpstream

HERE = Path(__file__).parent
UPSTREAMS: dict[str, UpstreamDialect] = {
    "anthropic": AnthropicUpstream(),
    "gemini": GeminiUpstream(),
    "bedrock": BedrockUpstream(),
}
MODELS = {
    "anthropic": "claude-sonnet-5",
    "gemini": "gemini-3-pro",
    "bedrock": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
}
HEADERS = [(b"date", b"Tue, 01 Sep 2026 12:00:00 GMT"), (b"x-amzn-requestid", b"a1b2-c3")]
CLIENT = AnthropicClient()
PARSABLE = b'{"model":"asked-model","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'


def cases(kind: str) -> list[tuple[str, Path]]:
    return [
        (dialect, path) for dialect in UPSTREAMS for path in sorted((HERE / dialect / kind).glob("*.in.*"))
    ]


def stem(path: Path) -> str:
    return path.name.partition(".")[0]


def ids(value: object) -> str:
    return stem(value) if isinstance(value, Path) else str(value)


def encoded_request(dialect: str, body: bytes) -> object:
    try:
        out = UPSTREAMS[dialect].encode(CLIENT.parse(body), MODELS[dialect])
    except InvalidRequest as error:
        return {"refused": type(error).__name__, "param": error.param, "message": error.message}
    return {"path": out.path, "ignored": list(out.ignored), "body": json.loads(out.body)}


def wire_bytes(path: Path) -> bytes:
    """A stream's bytes; Bedrock's frames are written down as JSON lines."""
    if path.suffix != ".jsonl":
        return path.read_bytes()
    frames = b""
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        payload = json.dumps(fields.pop("payload")).encode()
        headers: dict[str, HeaderValue] = dict(fields)
        frames += encode_message(headers, payload)
    return frames


def ended(events: list[Event]) -> list[Event]:
    """With the end that the gateway adds where a dialect (Gemini's) has no mark for it."""
    finished = any(isinstance(event, Finish) for event in events)
    return events if not finished or isinstance(events[-1], End) else [*events, End()]


def described(events: list[Event]) -> str:
    lines = [f"{type(event).__name__} {msgspec.json.encode(event).decode()}" for event in events]
    return "\n".join(lines) + "\n"


REQUESTS = sorted((HERE / "anthropic" / "requests").glob("*.in.json"))


@pytest.mark.parametrize("dialect", UPSTREAMS)
@pytest.mark.parametrize("path", REQUESTS, ids=ids)
def test_request(dialect: str, path: Path) -> None:
    expected = json.loads((HERE / dialect / "requests" / f"{stem(path)}.out.json").read_text())

    assert encoded_request(dialect, path.read_bytes()) == expected


@pytest.mark.parametrize(("dialect", "path"), cases("answers"), ids=ids)
def test_answer(dialect: str, path: Path) -> None:
    expected = json.loads(path.with_name(f"{stem(path)}.out.json").read_text())
    answer = UPSTREAMS[dialect].decode(path.read_bytes(), HEADERS)

    rendered = CLIENT.render(answer, CLIENT.parse(PARSABLE), "req-1")

    assert json.loads(rendered) == expected


@pytest.mark.parametrize(("dialect", "path"), cases("streams"), ids=ids)
def test_stream(dialect: str, path: Path) -> None:
    request = CLIENT.parse(PARSABLE)
    events = UPSTREAMS[dialect].decoder(request).feed(wire_bytes(path))

    assert described(events) == path.with_name(f"{stem(path)}.events.txt").read_text()
    rendered = CLIENT.encoder(request, "req-1").encode(ended(events))
    assert rendered.decode() == path.with_name(f"{stem(path)}.out.sse").read_text()


@pytest.mark.parametrize(("dialect", "path"), cases("streams"), ids=ids)
def test_any_split_of_a_stream_gives_the_same_events(dialect: str, path: Path) -> None:
    request = CLIENT.parse(PARSABLE)
    data = wire_bytes(path)
    whole = described(UPSTREAMS[dialect].decoder(request).feed(data))

    for at in range(1, len(data)):
        decoder = UPSTREAMS[dialect].decoder(request)
        assert described(decoder.feed(data[:at]) + decoder.feed(data[at:])) == whole

    decoder = UPSTREAMS[dialect].decoder(request)
    bytewise = [event for at in range(len(data)) for event in decoder.feed(data[at : at + 1])]
    assert described(bytewise) == whole
