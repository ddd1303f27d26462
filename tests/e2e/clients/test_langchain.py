"""LangChain's `ChatOpenAI`, `OpenAIEmbeddings` and `ChatAnthropic` against every upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr
from tests.e2e.clients.test_openai_chat import PIXEL
from tests.e2e.gateway import GatewayProcess


class Event(BaseModel):
    """Something that takes place."""

    name: str
    guests: list[str]


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


@tool
def clock() -> str:
    """The time."""
    return "noon"


class Shared:
    """LangChain shares connections between its objects and never closes them; so one loop, one end."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self._sync: list[Any] = []
        self._async: list[Any] = []

    def openai(self, made: ChatOpenAI) -> ChatOpenAI:
        self._sync.append(made.root_client)
        self._async.append(made.root_async_client)
        return made

    def anthropic(self, made: ChatAnthropic) -> ChatAnthropic:
        self._sync.append(made._client)
        self._async.append(made._async_client)
        return made

    def embeddings(self, made: OpenAIEmbeddings) -> OpenAIEmbeddings:
        self._sync.append(made.client._client)
        self._async.append(made.async_client._client)
        return made

    def close(self) -> None:
        for client in self._sync:
            client.close()

        async def close() -> None:
            for client in self._async:
                await client.close()

        self.runner.run(close())
        self.runner.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    made = Shared()
    yield made
    made.close()


@pytest.fixture(params=["ChatOpenAI", "ChatOpenAI responses", "ChatAnthropic"])
def chat(
    request: pytest.FixtureRequest, gateway: GatewayProcess, shared: Shared, model: str
) -> BaseChatModel:
    """Each class, and both APIs of the first."""
    key = SecretStr(gateway.admin_key)
    if request.param == "ChatAnthropic":
        return shared.anthropic(
            ChatAnthropic(  # type: ignore[call-arg]  # the fields' aliases, as its documentation writes them
                model=model, base_url=gateway.url, api_key=key, max_retries=0, max_tokens=2000
            )
        )
    return shared.openai(
        ChatOpenAI(
            model=model,
            base_url=gateway.url + "/v1",
            api_key=key,
            max_retries=0,
            stream_usage=True,
            use_responses_api=request.param.endswith("responses"),
        )
    )


def test_invoke(chat: BaseChatModel) -> None:
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("say exactly: Grüße!")])
    assert answer.text == "Grüße!"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.usage_metadata["output_tokens"] > 0


def test_stream_and_async(chat: BaseChatModel, shared: Shared) -> None:
    pieces = list(chat.stream("say exactly: One, two, three."))
    assert len([piece for piece in pieces if piece.text]) > 3
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.text == "One, two, three."
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0

    async def scenario() -> None:
        assert (await chat.ainvoke("say exactly: whole")).text == "whole"
        assert "".join([piece.text async for piece in chat.astream("say exactly: pieces")]) == "pieces"

    shared.runner.run(scenario())


def test_tools_go_round(chat: BaseChatModel) -> None:
    bound = chat.bind_tools([weather, clock])
    asked: list[Any] = [HumanMessage("use the tools")]
    answer = bound.invoke(asked)
    assert sorted(call["name"] for call in answer.tool_calls) == ["clock", "weather"]
    results = {"weather": weather, "clock": clock}
    asked += [answer, *(results[call["name"]].invoke(call) for call in answer.tool_calls)]
    assert all(isinstance(message, ToolMessage) for message in asked[2:])
    done = bound.invoke(asked)
    assert done.text
    assert not done.tool_calls

    streamed: Any = None
    for piece in bound.stream([HumanMessage("use the tools")]):
        streamed = piece if streamed is None else streamed + piece
    assert sorted(call["name"] for call in streamed.tool_calls) == ["clock", "weather"]


def test_structured_output(chat: BaseChatModel) -> None:
    for method in ("json_schema", "function_calling"):
        parsed = chat.with_structured_output(Event, method=method).invoke("An event, please.")
        assert isinstance(parsed, Event)


def test_an_image(chat: BaseChatModel) -> None:
    content: list[str | dict[str, Any]] = [
        {
            "type": "image",
            "base64": PIXEL.partition(",")[2],
            "mime_type": "image/png",
        },
        {"type": "text", "text": "say exactly: seen"},
    ]
    assert chat.invoke([HumanMessage(content)]).text == "seen"


@pytest.mark.parametrize("native", ["openai", "engine"])
def test_embeddings(gateway: GatewayProcess, shared: Shared, native: str) -> None:
    # `check_embedding_ctx_length=False` sends texts; the default sends token ids and needs a download.
    made = shared.embeddings(
        OpenAIEmbeddings(
            model=native,
            base_url=gateway.url + "/v1",
            api_key=SecretStr(gateway.admin_key),
            check_embedding_ctx_length=False,
            max_retries=0,
        )
    )
    first, second = made.embed_documents(["The river.", "The sea."])
    assert len(first) == len(second) > 8
    assert first == pytest.approx(made.embed_query("The river."))
    assert shared.runner.run(made.aembed_query("The sea.")) == pytest.approx(second)
