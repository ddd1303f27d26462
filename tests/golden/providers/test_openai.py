"""OpenAI's dialects: what goes in and what comes out, as files to read.

`requests/NAME.API.json` is a client's body of one API, and beside it what the
upstream is sent in each flavour. `streams/NAME.sse` is an upstream's stream;
beside it are its neutral events, the streams of clients of each API, and what
the watcher of an untranslated call relays and learns. `answers/NAME.json` is
the same for whole answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fairlead.providers.chat import ChatRequest, Event, Message, TextPart
from fairlead.providers.dialect import ClientDialect
from fairlead.providers.openai_chat import ENGINE, OPENAI, ChatWatcher, OpenAIChatClient, OpenAIChatUpstream
from fairlead.providers.openai_completions import CompletionsClient
from fairlead.providers.openai_responses import ResponsesClient

HERE = Path(__file__).parent / "openai"
CLIENTS: dict[str, ClientDialect] = {
    "chat": OpenAIChatClient(),
    "completions": CompletionsClient(),
    "responses": ResponsesClient(),
}
UPSTREAMS = {"openai": OpenAIChatUpstream(OPENAI), "engine": OpenAIChatUpstream(ENGINE)}
REQUEST = ChatRequest(
    model="route-name", messages=(Message(role="user", parts=(TextPart(text="hi"),)),), stream=True,
    include_usage=True,
)  # fmt: skip


def names(folder: str, suffix: str) -> list[str]:
    found = sorted(path.name.removesuffix(suffix) for path in (HERE / folder).glob(f"*{suffix}"))
    assert found
    return [name for name in found if "." not in name]


def told(event: Event) -> dict[str, object]:
    return {"event": type(event).__name__} | json.loads(msgspec.json.encode(event))


@pytest.mark.parametrize("flavour", UPSTREAMS)
@pytest.mark.parametrize("path", sorted((HERE / "requests").glob("*.*.json")), ids=lambda path: path.name)
def test_requests(path: Path, flavour: str) -> None:
    name, api, _ = path.name.split(".")
    if api not in CLIENTS:
        pytest.fail(f"{path.name} belongs to no API") if api not in UPSTREAMS else None
        return
    request = CLIENTS[api].parse(path.read_bytes())
    outgoing = UPSTREAMS[flavour].encode(request, "upstream-name")
    expected = json.loads((path.parent / f"{name}.{flavour}.json").read_bytes())
    assert {"body": json.loads(outgoing.body), "ignored": list(outgoing.ignored)} == expected


@pytest.mark.parametrize("name", names("streams", ".sse"))
def test_streams_as_events(name: str) -> None:
    events = UPSTREAMS["openai"].decoder(REQUEST).feed((HERE / "streams" / f"{name}.sse").read_bytes())
    expected = (HERE / "streams" / f"{name}.events.jsonl").read_text().splitlines()
    assert [told(event) for event in events] == [json.loads(line) for line in expected]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("name", names("streams", ".sse"))
def test_streams_for_clients(name: str, api: str) -> None:
    events = UPSTREAMS["openai"].decoder(REQUEST).feed((HERE / "streams" / f"{name}.sse").read_bytes())
    stream = CLIENTS[api].encoder(REQUEST, "req-1").encode(events)
    assert stream.decode() == (HERE / "streams" / f"{name}.{api}.sse").read_text()


@pytest.mark.parametrize("name", names("streams", ".sse"))
def test_streams_in_passing(name: str) -> None:
    watcher = ChatWatcher(strip_usage=True)
    relayed = watcher.feed((HERE / "streams" / f"{name}.sse").read_bytes())
    assert relayed.decode() == (HERE / "streams" / f"{name}.relayed.sse").read_text()
    glimpse = watcher.glimpse
    assert json.loads((HERE / "streams" / f"{name}.glimpse.json").read_bytes()) == json.loads(
        msgspec.json.encode({field: getattr(glimpse, field) for field in type(glimpse).__slots__})
    )


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("name", names("answers", ".json"))
def test_answers(name: str, api: str) -> None:
    answer = UPSTREAMS["openai"].decode((HERE / "answers" / f"{name}.json").read_bytes(), [])
    body = CLIENTS[api].render(answer, REQUEST, "req-1")
    assert json.loads(body) == json.loads((HERE / "answers" / f"{name}.{api}.json").read_bytes())
