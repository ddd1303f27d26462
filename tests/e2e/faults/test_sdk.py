"""What users of the real SDKs see: their own exceptions, and no retries that multiply an outage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import anthropic
import msgspec
import openai
import pytest
from tests.e2e.faults.gateway import running
from tests.e2e.faults.scenarios import begun, half, sends
from tests.e2e.faults.shapes import CHAT, CHAT_STREAM, MESSAGES, MESSAGES_STREAM, Shape
from tests.e2e.faults.stories import provider, target

from fairlead.testing import Close, Script, ScriptedUpstream, Stall, Wait

QUESTION = [{"role": "user", "content": "Where do rivers go?"}]


def openai_client(port: int, **options: Any) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", http_client=http, **options)


def anthropic_client(port: int, **options: Any) -> anthropic.Anthropic:
    http = anthropic.DefaultHttpxClient(trust_env=False)
    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{port}", api_key="none", http_client=http, **options
    )


def openai_stream(port: int, model: str, got: list[str], **options: Any) -> None:
    with openai_client(port, **options) as client:
        for chunk in client.chat.completions.create(model=model, messages=QUESTION, stream=True):  # type: ignore[arg-type]  # plain dicts
            got.append(chunk.choices[0].delta.content or "")  # type: ignore[union-attr]  # a chunk


def anthropic_stream(port: int, model: str, got: list[str], **options: Any) -> None:
    with (
        anthropic_client(port, **options) as client,
        client.messages.stream(model=model, max_tokens=64, messages=QUESTION) as stream,  # type: ignore[arg-type]  # plain dicts
    ):
        for text in stream.text_stream:
            got.append(text)


def openai_whole(port: int, model: str, got: list[str], **options: Any) -> None:
    with openai_client(port, **options) as client:
        answer = client.chat.completions.create(model=model, messages=QUESTION)  # type: ignore[arg-type]  # plain dicts
        got.append(answer.choices[0].message.content or "")


def anthropic_whole(port: int, model: str, got: list[str], **options: Any) -> None:
    with anthropic_client(port, **options) as client:
        answer = client.messages.create(model=model, max_tokens=64, messages=QUESTION)  # type: ignore[arg-type]  # plain dicts
        got.append(answer.content[0].text)  # type: ignore[union-attr]  # a text block


Use = Callable[..., None]
STREAMERS: Final = [(CHAT_STREAM, openai_stream), (MESSAGES_STREAM, anthropic_stream)]
ASKERS: Final = [*STREAMERS, (CHAT, openai_whole), (MESSAGES, anthropic_whole)]

FAULTS: Final[dict[str, Callable[[Shape], list[Script]]]] = {
    "cut": lambda shape: [sends(begun(shape), Wait(0.1), half(shape.tokens(" reach")), Close())],
    "error": lambda shape: [sends(begun(shape), Wait(0.1), shape.error_event(), shape.end())],
    "stall": lambda shape: [sends(begun(shape), Stall())],
    "no finish": lambda shape: [sends(begun(shape), Wait(0.1), shape.end())],
    "down": lambda shape: [sends(shape.refusal(500, "api_error"), Close())],
    "limited": lambda shape: [
        sends(shape.refusal(429, "rate_limit_error", headers=["retry-after: 2"]), Close())
    ],
    "recovers": lambda shape: [sends(Close()), sends(shape.whole(), Stall())],
    "hangs": lambda shape: [sends(Stall())],
}
IN_A_STREAM: Final = ("cut", "error", "stall", "no finish")
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "limited": {"max_retries": 0},
    "recovers": {"max_retries": 0},
    "hangs": {"max_retries": 0, "timeout": 0.6},
}
"""Of the SDK's client; the rest uses its defaults, retries included."""


class Felt(msgspec.Struct, frozen=True):
    """What came of one use of an SDK."""

    got: str
    raised: Exception | None
    requests: int
    """That reached the upstream."""


@pytest.fixture(scope="module")
def felt() -> dict[tuple[str, str], Felt]:
    """Every fault in every API that it concerns, against one gateway."""
    return asyncio.run(feel())


async def feel() -> dict[tuple[str, str], Felt]:
    found: dict[tuple[str, str], Felt] = {}
    async with contextlib.AsyncExitStack() as stack:
        uses = {
            (fault, shape.name): (use, await stack.enter_async_context(ScriptedUpstream(*does(shape))), shape)
            for fault, does in FAULTS.items()
            for shape, use in (STREAMERS if fault in IN_A_STREAM else ASKERS)
        }
        names = {place: f"{place[0]}-{place[1]}".replace(" ", "-") for place in uses}
        settings = {
            "providers": {
                names[place]: provider(shape, upstream) for place, (_, upstream, shape) in uses.items()
            },
            "models": {
                name: {"targets": [target(name)], "timeouts": {"stall_s": 0.4}} for name in names.values()
            },
        }
        with running(settings) as gateway:
            for place, (use, upstream, _) in uses.items():
                got: list[str] = []
                raised: Exception | None = None
                try:
                    options = OPTIONS.get(place[0], {})
                    await asyncio.to_thread(use, gateway.port, names[place], got, **options)
                except (openai.OpenAIError, anthropic.AnthropicError) as error:
                    raised = error
                found[place] = Felt("".join(got), raised, len(upstream.requests))
    return found


@pytest.mark.parametrize("api", [shape.name for shape, _ in STREAMERS])
@pytest.mark.parametrize("fault", IN_A_STREAM)
def test_a_failure_in_a_stream_is_raised(felt: dict[tuple[str, str], Felt], fault: str, api: str) -> None:
    seen = felt[fault, api]
    assert seen.got == "All rivers"
    assert isinstance(seen.raised, openai.APIError | anthropic.APIError)
    assert "ended early" in str(seen.raised)
    assert seen.requests == 1


@pytest.mark.parametrize("api", [shape.name for shape, _ in ASKERS])
def test_an_outage_is_not_multiplied_by_the_sdk(felt: dict[tuple[str, str], Felt], api: str) -> None:
    """By default an SDK asks three times, and the gateway would ask three times for each."""
    seen = felt["down", api]
    assert isinstance(seen.raised, openai.InternalServerError | anthropic.InternalServerError)
    assert (seen.got, seen.raised.status_code, seen.requests) == ("", 502, 3)


@pytest.mark.parametrize("api", [shape.name for shape, _ in ASKERS])
def test_a_rate_limit_tells_the_sdk_when_to_come_back(felt: dict[tuple[str, str], Felt], api: str) -> None:
    seen = felt["limited", api]
    assert isinstance(seen.raised, openai.RateLimitError | anthropic.RateLimitError)
    assert seen.raised.response.headers["retry-after"] == "2"
    assert seen.requests == 1


@pytest.mark.parametrize("api", [shape.name for shape, _ in ASKERS])
def test_a_recovery_is_not_noticed(felt: dict[tuple[str, str], Felt], api: str) -> None:
    assert felt["recovers", api] == Felt("All rivers reach the sea", None, 2)


@pytest.mark.parametrize("api", [shape.name for shape, _ in ASKERS])
def test_the_sdks_own_timeout_ends_it(felt: dict[tuple[str, str], Felt], api: str) -> None:
    """By its own clock or by the gateway's, which reads the SDK's time-out from its headers."""
    seen = felt["hangs", api]
    assert seen.got == ""
    timeouts = openai.APITimeoutError | anthropic.APITimeoutError
    assert isinstance(seen.raised, timeouts | openai.InternalServerError | anthropic.InternalServerError)
    assert seen.requests == 1
