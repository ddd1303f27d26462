"""The OpenAI chat and completion request bodies, and what they ask of the model."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.simulate.schema import JsonValue
from fairlead.simulate.text import Ask, Tool

Tokens = Annotated[int, Meta(ge=1)]
Input = str | list[str | int | list[int]]
"""One text, or several, or token ids in place of either."""


def input_texts(given: Input) -> list[str]:
    """The texts of an input; token ids stand as words of their own."""
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [" ".join(str(token) for token in given)]
    return [" ".join(map(str, part)) if isinstance(part, list) else str(part) for part in given]


class ContentPart(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    function: FunctionCall | None = None
    id: str = ""


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The message's words; a part that is no text stands as its type."""
        if isinstance(self.content, list):
            return "\n".join(part.text or part.refusal or f"<{part.type}>" for part in self.content)
        return self.content or ""

    def rendered(self) -> str:
        """The message as the model reads it."""
        calls = "".join(
            f"{call.function.name}({call.function.arguments})\n"
            for call in self.tool_calls or ()
            if call.function is not None
        )
        return f"<|{self.role}|>\n{self.text}\n{calls}"


class FunctionTool(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: JsonValue = None


class ChatTool(msgspec.Struct, frozen=True):
    type: str
    function: FunctionTool | None = None


class NamedFunction(msgspec.Struct, frozen=True):
    name: str


class NamedChoice(msgspec.Struct, frozen=True):
    type: str
    function: NamedFunction


class JsonSchemaFormat(msgspec.Struct, frozen=True):
    name: str = ""
    schema: JsonValue = None


class ResponseFormat(msgspec.Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StructuredOutputs(msgspec.Struct, frozen=True):
    """vLLM's own constraint; `regex` and `grammar` are not simulated."""

    json: JsonValue = None
    json_object: bool | None = None
    choice: list[str] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that chat and completions share."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: Tokens | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    ignore_eos: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    structured_outputs: StructuredOutputs | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop sequences, as a list however they were given."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)

    def sampled(self, ask: Ask) -> Ask:
        """`ask` with the sampling fields of this body."""
        ask = msgspec.structs.replace(
            ask,
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
            temperature=1.0 if self.temperature is None else self.temperature,
            seed=self.seed,
            stop=self.stops,
        )
        wanted = self.structured_outputs
        if wanted is None:
            return ask
        if wanted.choice:
            return msgspec.structs.replace(ask, output="choice", choices=tuple(wanted.choice))
        if wanted.json is not None or wanted.json_object:
            return msgspec.structs.replace(ask, output="json", schema=wanted.json)
        return ask


class ChatBody(Sampling, frozen=True, kw_only=True):
    """Body of /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    def ask(self) -> Ask:
        """What this body asks of the model.

        Raises:
            InvalidRequest: a forced tool that is not among the tools.
        """
        tools = tuple(
            Tool(name=tool.function.name, parameters=tool.function.parameters)
            for tool in self.tools or ()
            if tool.function is not None
        )
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None
        mode = self.tool_choice if isinstance(self.tool_choice, str) else "auto"
        if named is not None and named not in {tool.name for tool in tools}:
            raise InvalidRequest(f"The tool {named!r} is not among `tools`.", param="tool_choice")
        if mode == "required" and not tools:
            raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice")
        users = [message.text for message in self.messages if message.role == "user"]
        rendered = "".join(message.rendered() for message in self.messages) + "<|assistant|>\n"
        if self.tools:
            rendered = msgspec.json.encode(self.tools).decode() + "\n" + rendered
        ask = self.sampled(
            Ask(
                prompt=rendered,
                question=users[-1] if users else "",
                after_tool=self.messages[-1].role in ("tool", "function"),
                tools=tools,
                tool_mode="required" if named is not None else mode,
                tool_name=named,
                parallel_tools=self.parallel_tool_calls is not False,
                think=self.reasoning_effort not in (None, "none", "minimal"),
            )
        )
        if self.max_completion_tokens is not None:
            ask = msgspec.structs.replace(ask, max_tokens=self.max_completion_tokens)
        wanted = self.response_format
        if wanted is not None and wanted.type != "text":
            schema = wanted.json_schema.schema if wanted.json_schema is not None else None
            ask = msgspec.structs.replace(ask, output="json", schema=schema)
        return ask


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """Body of /v1/completions."""

    prompt: Input
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    def prompts(self) -> list[str]:
        """The prompts as text.

        Raises:
            InvalidRequest: there is none.
        """
        prompts = input_texts(self.prompt)
        if not prompts:
            raise InvalidRequest("`prompt` is empty.", param="prompt")
        return prompts

    def ask(self, prompt: str) -> Ask:
        return self.sampled(Ask(prompt=prompt, question=prompt[-400:]))
