"""Bedrock's Converse and ConverseStream, the latter in AWS's binary event stream; Titan's embeddings.

Request signatures are not checked: with an API key set, it is expected as a
bearer token, which Bedrock accepts too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.simulate.embed import embed
from fairlead.simulate.outlet import Outlet
from fairlead.simulate.schema import JsonValue
from fairlead.simulate.service import Generation, Service
from fairlead.simulate.shapes import frame
from fairlead.simulate.text import Ask, Reply, Token, Tool
from fairlead.simulate.tokens import count

Json = dict[str, object]
_encode = msgspec.json.encode
EVENT_STREAM = b"content-type: application/vnd.amazon.eventstream\r\n"
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Converse's fields are in camel case."""


class ToolResultText(_Body, frozen=True, kw_only=True):
    text: str | None = None
    json: JsonValue = None


class ToolResult(_Body, frozen=True, kw_only=True):
    tool_use_id: str
    content: list[ToolResultText] = []


class ConverseToolUse(_Body, frozen=True, kw_only=True):
    name: str
    input: JsonValue = None


class ConverseBlock(_Body, frozen=True, kw_only=True):
    """A content block; exactly one field is set."""

    text: str | None = None
    tool_use: ConverseToolUse | None = None
    tool_result: ToolResult | None = None

    @property
    def words(self) -> str:
        """What of the block the model reads, as text."""
        if self.text is not None:
            return self.text
        if self.tool_use is not None:
            return f"{self.tool_use.name}({_encode(self.tool_use.input).decode()})"
        if self.tool_result is not None:
            parts = self.tool_result.content
            return "\n".join(part.text or _encode(part.json).decode() for part in parts)
        return "<data>"


class ConverseMessage(_Body, frozen=True, kw_only=True):
    role: Literal["user", "assistant"]
    content: list[ConverseBlock]


class InferenceConfig(_Body, frozen=True, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    stop_sequences: list[str] = []


class InputSchema(_Body, frozen=True, kw_only=True):
    json: JsonValue = None


class ToolSpec(_Body, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    input_schema: InputSchema = InputSchema()


class ConverseTool(_Body, frozen=True, kw_only=True):
    tool_spec: ToolSpec | None = None


class NamedTool(_Body, frozen=True, kw_only=True):
    name: str


class ConverseChoice(_Body, frozen=True, kw_only=True):
    auto: JsonValue = None
    any: JsonValue = None
    tool: NamedTool | None = None


class ConverseTools(_Body, frozen=True, kw_only=True):
    tools: list[ConverseTool] = []
    tool_choice: ConverseChoice = ConverseChoice()


class ConverseSchema(_Body, frozen=True, kw_only=True):
    schema: str
    """JSON, as text."""


class OutputStructure(_Body, frozen=True, kw_only=True):
    json_schema: ConverseSchema


class TextFormat(_Body, frozen=True, kw_only=True):
    type: Literal["json_schema"]
    structure: OutputStructure


class ConverseOutput(_Body, frozen=True, kw_only=True):
    """What an answer holds."""

    text_format: TextFormat | None = None

    def schema(self) -> JsonValue:
        """The schema that the text has to fit.

        Raises:
            InvalidRequest: it is not JSON.
        """
        if self.text_format is None:
            return None
        try:
            found: JsonValue = msgspec.json.decode(self.text_format.structure.json_schema.schema)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"outputConfig.textFormat: the schema is not JSON: {error}") from error
        return found


class ConverseBody(_Body, frozen=True, kw_only=True):
    """Body of Converse and ConverseStream."""

    messages: Annotated[list[ConverseMessage], Meta(min_length=1)]
    system: list[ConverseBlock] = []
    inference_config: InferenceConfig = InferenceConfig()
    tool_config: ConverseTools = ConverseTools()
    output_config: ConverseOutput = ConverseOutput()
    additional_model_request_fields: dict[str, JsonValue] = {}
    additional_model_response_field_paths: list[str] = []

    def ask(self) -> Ask:
        """What this body asks of the model.

        Raises:
            InvalidRequest: a schema that is not JSON.
        """
        options, choice = self.inference_config, self.tool_config.tool_choice
        questions = [
            [block.text for block in message.content if block.text is not None]
            for message in self.messages
            if message.role == "user"
        ]
        tools = tuple(
            Tool(name=tool.tool_spec.name, parameters=tool.tool_spec.input_schema.json)
            for tool in self.tool_config.tools
            if tool.tool_spec is not None
        )
        system = "".join(block.words for block in self.system)
        turns = "".join(
            f"<|{message.role}|>\n" + "\n".join(block.words for block in message.content) + "\n"
            for message in self.messages
        )
        listed = _encode(self.tool_config.tools).decode() if tools else ""
        forced = choice.any is not None or choice.tool is not None
        thinking = self.additional_model_request_fields.get("thinking")
        return Ask(
            prompt=f"{listed}\n<|system|>\n{system}\n{turns}<|assistant|>\n",
            question=next(("\n".join(texts) for texts in reversed(questions) if texts), ""),
            after_tool=any(block.tool_result is not None for block in self.messages[-1].content),
            max_tokens=options.max_tokens,
            temperature=1.0 if options.temperature is None else options.temperature,
            stop=tuple(options.stop_sequences),
            tools=tools,
            tool_mode="required" if forced else "auto",
            tool_name=choice.tool.name if choice.tool is not None else None,
            output="text" if self.output_config.text_format is None else "json",
            schema=self.output_config.schema(),
            think=isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"),
        )


class TitanBody(_Body, frozen=True, kw_only=True):
    """Body of InvokeModel for Titan's text embeddings."""

    input_text: str
    dimensions: Annotated[int, Meta(ge=1, le=8192)] | None = None


async def titan_embedding(service: Service, body: TitanBody, outlet: Outlet) -> None:
    """Answer InvokeModel of a Titan embedding model."""
    dimensions = body.dimensions or service.config.embedding_dimensions
    vector = embed(body.input_text, dimensions)
    tokens = max(1, count(body.input_text))
    await outlet.whole(_encode({"embedding": vector, "inputTextTokenCount": tokens}))


async def converse(service: Service, body: ConverseBody, outlet: Outlet, model: str, *, stream: bool) -> None:
    """Answer one conversation turn."""
    generation = service.start(body.ask(), model=model, id_prefix="")
    started_at = service.loop.time()
    try:
        if stream:
            await _stream(service, body, generation, outlet, started_at)
            return
        await generation.job.rest()
        reply = generation.replies[0]
        answer = {
            "output": {"message": {"role": "assistant", "content": _content(reply)}},
            **_stop(body, reply),
            "usage": _usage(generation),
            "metrics": {"latencyMs": round((service.loop.time() - started_at) * 1000)},
        }
        await outlet.whole(_encode(answer), tokens=generation.output_tokens)
    finally:
        generation.job.leave()


def _stop(body: ConverseBody, reply: Reply) -> Json:
    """Why it ended; which sequence stopped it only for those who asked."""
    ended: Json = {"stopReason": "stop_sequence" if reply.stop is not None else _STOP_REASONS[reply.finish]}
    if "/stop_sequence" in body.additional_model_response_field_paths:
        ended["additionalModelResponseFields"] = {"stop_sequence": reply.stop}
    return ended


def _usage(generation: Generation) -> Json:
    """Converse's input tokens leave the cached ones out; the total has them."""
    return {
        "inputTokens": generation.prompt_tokens - generation.cached_tokens,
        "outputTokens": generation.output_tokens,
        "totalTokens": generation.prompt_tokens + generation.output_tokens,
        "cacheReadInputTokens": generation.cached_tokens,
        "cacheWriteInputTokens": 0,
    }


def _content(reply: Reply) -> list[Json]:
    content: list[Json] = []
    if reply.reasoning_tokens:
        thought = {"text": reply.joined("reasoning"), "signature": "simulated"}
        content.append({"reasoningContent": {"reasoningText": thought}})
    if any(token.kind == "text" for token in reply.tokens):
        content.append({"text": reply.joined("text")})
    for index, call in enumerate(reply.calls):
        arguments = reply.arguments(index)
        if arguments:
            whole = arguments == call.arguments
            value = msgspec.json.decode(arguments) if whole else {}
            content.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": value}})
    return content


def _event(kind: str, payload: Json) -> bytes:
    return frame(kind, _encode(payload))


def _delta(token: Token) -> Json:
    if token.kind == "reasoning":
        return {"reasoningContent": {"text": token.text}}
    if token.kind == "text":
        return {"text": token.text}
    return {"toolUse": {"input": token.text}}


async def _stream(
    service: Service, body: ConverseBody, generation: Generation, outlet: Outlet, started_at: float
) -> None:
    reply, job = generation.replies[0], generation.job
    await outlet.open(EVENT_STREAM)
    block = -1
    before: Token | None = None
    while job.left:
        _, index = await job.next()
        token = reply.tokens[index]
        if index == 0:
            await outlet.event(_event("messageStart", {"role": "assistant"}))
        if before is None or (before.kind, before.call) != (token.kind, token.call):
            await _close_block(outlet, block, before)
            block += 1
            if token.kind == "tool":
                call = reply.calls[token.call]
                start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
                await outlet.event(_event("contentBlockStart", {"start": start, "contentBlockIndex": block}))
        before = token
        delta = {"delta": _delta(token), "contentBlockIndex": block}
        await outlet.event(_event("contentBlockDelta", delta), "token")
    await _close_block(outlet, block, before)
    await outlet.event(_event("messageStop", _stop(body, reply)), "finish")
    latency = {"latencyMs": round((service.loop.time() - started_at) * 1000)}
    await outlet.event(_event("metadata", {"usage": _usage(generation), "metrics": latency}), "end")
    await outlet.close()


async def _close_block(outlet: Outlet, block: int, last: Token | None) -> None:
    if last is None:
        return
    if last.kind == "reasoning":
        signature = {"reasoningContent": {"signature": "simulated"}}
        await outlet.event(_event("contentBlockDelta", {"delta": signature, "contentBlockIndex": block}))
    await outlet.event(_event("contentBlockStop", {"contentBlockIndex": block}))
