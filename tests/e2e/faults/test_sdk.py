"""What users of the real SDKs see: their own exceptions, and no retries that multiply an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.faults.gateway import running
from tests.e2e.faults.scenarios import begun, half, sends
from tests.e2e.faults.shapes import CHAT, CHAT_STREAM, MESSAGES, MESSAGES_STREAM, Shape
from tests.e2e.faults.stories import config, provider, target

from fairlead.testing import Close, Script, ScriptedUpstream, Send, Stall, Wait

QUESTION = [{"role": "user", "content": "Where do rivers go?"}]


def openai_client(port: int, **options: Any) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", http_client=http, **options)


def anthropic_client(port: int, **options: Any) -> anthropic.Anthropic:
    http = anthropic.DefaultHttpxClient(trust_env=False)
    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{port}", api_key="none", http_client=http, **options
    )


def openai_stream(port: int, got: list[str], **options: Any) -> None:
    with openai_client(port, **options) as client:
        for chunk in client.chat.completions.create(model="m", messages=QUESTION, stream=True):  # type: ignore[arg-type]  # plain dicts
            got.append(chunk.choices[0].delta.content or "")  # type: ignore[union-attr]  # a chunk


def anthropic_stream(port: int, got: list[str], **options: Any) -> None:
    with (
        anthropic_client(port, **options) as client,
        client.messages.stream(model="m", max_tokens=64, messages=QUESTION) as stream,  # type: ignore[arg-type]  # plain dicts
    ):
        for text in stream.text_stream:
            got.append(text)


def openai_whole(port: int, got: list[str], **options: Any) -> None:
    with openai_client(port, **options) as client:
        answer = client.chat.completions.create(model="m", messages=QUESTION)  # type: ignore[arg-type]  # plain dicts
        got.append(answer.choices[0].message.content or "")


def anthropic_whole(port: int, got: list[str], **options: Any) -> None:
    with anthropic_client(port, **options) as client:
        answer = client.messages.create(model="m", max_tokens=64, messages=QUESTION)  # type: ignore[arg-type]  # plain dicts
        got.append(answer.content[0].text)  # type: ignore[union-attr]  # a text block


Use = Callable[..., None]
STREAMERS = [(CHAT_STREAM, openai_stream), (MESSAGES_STREAM, anthropic_stream)]
ASKERS = [*STREAMERS, (CHAT, openai_whole), (MESSAGES, anthropic_whole)]


def run(shape: Shape, use: Use, *scripts: Script, **options: Any) -> tuple[list[str], Exception | None, int]:
    """Use an SDK; what it got, what it raised, and how many requests reached the upstream."""

    async def main() -> tuple[list[str], Exception | None, int]:
        got: list[str] = []
        raised: Exception | None = None
        async with ScriptedUpstream(*scripts) as upstream:
            timeouts = {"stall_s": 0.4, "headers_s": 5.0, "first_token_s": 5.0}
            settings = config({"p": provider(shape, upstream)}, [target("p")], timeouts=timeouts)
            with running(settings) as gateway:
                try:
                    await asyncio.to_thread(use, gateway.port, got, **options)
                except (openai.OpenAIError, anthropic.AnthropicError) as error:
                    raised = error
            return got, raised, len(upstream.requests)

    return asyncio.run(main())


@pytest.mark.parametrize(("shape", "use"), STREAMERS)
@pytest.mark.parametrize("fault", ["cut", "error", "stall", "no finish"])
def test_a_failure_in_a_stream_is_raised(shape: Shape, use: Use, fault: str) -> None:
    endings: dict[str, tuple[Any, ...]] = {
        "cut": (half(shape.tokens(" reach")), Close()),
        "error": (shape.error_event(), shape.end()),
        "stall": (Stall(),),
        "no finish": (shape.end(),),
    }
    got, raised, _ = run(shape, use, sends(begun(shape), Wait(0.1), *endings[fault]))
    assert "".join(got) == "All rivers"
    assert isinstance(raised, openai.APIError | anthropic.APIError)
    assert "ended early" in str(raised)


@pytest.mark.parametrize(("shape", "use"), ASKERS)
def test_an_outage_is_not_multiplied_by_the_sdk(shape: Shape, use: Use) -> None:
    """The SDK would ask three times, and the gateway three times for each."""
    got, raised, requests = run(shape, use, sends(shape.refusal(500, "api_error"), Close()), max_retries=2)
    assert got == []
    assert isinstance(raised, openai.InternalServerError | anthropic.InternalServerError)
    assert raised.status_code == 502
    assert requests == 3


@pytest.mark.parametrize(("shape", "use"), ASKERS)
def test_a_rate_limit_tells_the_sdk_when_to_come_back(shape: Shape, use: Use) -> None:
    refusal = sends(shape.refusal(429, "rate_limit_error", headers=["retry-after: 2"]), Close())
    _, raised, requests = run(shape, use, refusal, max_retries=0, timeout=1.5)
    assert isinstance(raised, openai.RateLimitError | anthropic.RateLimitError)
    assert raised.response.headers["retry-after"] == "2"
    assert requests == 1


@pytest.mark.parametrize(("shape", "use"), ASKERS)
def test_a_recovery_is_not_noticed(shape: Shape, use: Use) -> None:
    healthy = sends(shape.whole(), Stall())
    got, raised, requests = run(shape, use, sends(Close()), healthy, max_retries=0)
    assert ("".join(got), raised, requests) == ("All rivers reach the sea", None, 2)


@pytest.mark.parametrize(("shape", "use"), ASKERS)
def test_the_sdks_own_timeout_reaches_the_upstream(shape: Shape, use: Use) -> None:
    """Nothing is left running for a client that has given up, or is about to."""
    got, raised, requests = run(shape, use, (*sends(Stall()), Send(b"")), max_retries=0, timeout=0.6)
    assert got == []
    assert isinstance(
        raised,
        openai.APITimeoutError
        | anthropic.APITimeoutError
        | openai.InternalServerError
        | anthropic.InternalServerError,
    )
    assert requests == 1
