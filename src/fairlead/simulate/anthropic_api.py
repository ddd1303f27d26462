"""/v1/messages and /v1/messages/count_tokens in Anthropic's wire format."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.simulate.outlet import Outlet
from fairlead.simulate.schema import JsonValue
from fairlead.simulate.service import Generation, Service
from fairlead.simulate.shapes import sse
from fairlead.simulate.text import Ask, Reply, Token, Tool
from fairlead.simulate.tokens import count

Json = dict[str, object]
_encode = msgspec.json.encode
_SIGNATURE = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A content block; of a kind that is no text only the kind is read."""

    type: str
    text: str | None = None
    thinking: str | None = None
    content: str | list[Block] | None = None
    name: str | None = None
    input: JsonValue = None

    @property
    def words(self) -> str:
        """What of the block the model reads, as text."""
        if self.type in ("text", "thinking"):
            return self.text or self.thinking or ""
        if self.type == "tool_use":
            return f"{self.name}({_encode(self.input).decode()})"
        if self.type == "tool_result":
            return _words(self.content)
        return f"<{self.type}>"


def _words(content: str | list[Block] | None) -> str:
    if isinstance(content, list):
        return "\n".join(block.words for block in content)
    return content or ""


class AnthropicMessage(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class AnthropicTool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    input_schema: JsonValue = None
    description: str | None = None


class AnthropicChoice(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Thinking(msgspec.Struct, frozen=True):
    type: Literal["enabled", "disabled", "adaptive"]


class OutputFormat(msgspec.Struct, frozen=True):
    type: Literal["json_schema"]
    schema: JsonValue = None


class OutputConfig(msgspec.Struct, frozen=True):
    format: OutputFormat | None = None


class CountBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of /v1/messages/count_tokens."""

    model: str
    messages: Annotated[list[AnthropicMessage], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: list[AnthropicTool] | None = None

    def prompt(self) -> str:
        """The whole prompt as text."""
        turns = "".join(f"<|{message.role}|>\n{_words(message.content)}\n" for message in self.messages)
        tools = _encode(self.tools).decode() + "\n" if self.tools else ""
        system = f"<|system|>\n{_words(self.system)}\n" if self.system else ""
        return f"{tools}{system}{turns}<|assistant|>\n"


class MessagesBody(CountBody, frozen=True, kw_only=True):
    """Body of /v1/messages."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop_sequences: list[str] | None = None
    tool_choice: AnthropicChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    def ask(self) -> Ask:
        """What this body asks of the model.

        Raises:
            InvalidRequest: a forced tool that is not among the tools.
        """
        last = self.messages[-1]
        questions = [_user_words(message) for message in self.messages if message.role == "user"]
        choice = self.tool_choice
        tools = tuple(Tool(name=tool.name, parameters=tool.input_schema) for tool in self.tools or ())
        named = choice.name if choice is not None and choice.type == "tool" else None
        if choice is not None and choice.type == "tool" and named not in {tool.name for tool in tools}:
            raise InvalidRequest(f"tool_choice: Tool {named!r} not found in provided tools")
        forced = choice is not None and choice.type in ("any", "tool")
        structured = self.output_format or (self.output_config.format if self.output_config else None)
        return Ask(
            prompt=self.prompt(),
            question=next((text for text in reversed(questions) if text), ""),
            after_tool=isinstance(last.content, list)
            and any(block.type == "tool_result" for block in last.content),
            max_tokens=self.max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            stop=tuple(self.stop_sequences or ()),
            tools=tools,
            tool_mode="none"
            if choice is not None and choice.type == "none"
            else "required"
            if forced
            else "auto",
            tool_name=named,
            parallel_tools=choice is None or not choice.disable_parallel_tool_use,
            output="text" if structured is None else "json",
            schema=None if structured is None else structured.schema,
            think=self.thinking is not None and self.thinking.type != "disabled",
        )


def _user_words(message: AnthropicMessage) -> str:
    """A user's own words: a tool's result is not the user speaking."""
    if isinstance(message.content, list):
        return "\n".join(block.words for block in message.content if block.type == "text")
    return message.content


def _usage(generation: Generation, output_tokens: int) -> Json:
    """Anthropic's input tokens leave the cached ones out."""
    return {
        "input_tokens": generation.prompt_tokens - generation.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": generation.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        **_output_usage(generation, output_tokens),
        "service_tier": "standard",
    }


def _output_usage(generation: Generation, output_tokens: int) -> Json:
    usage: Json = {"output_tokens": output_tokens}
    if generation.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": min(output_tokens, generation.reasoning_tokens)}
    return usage


def _stop(reply: Reply) -> Json:
    reason = "stop_sequence" if reply.stop is not None else _STOP_REASONS[reply.finish]
    return {"stop_reason": reason, "stop_sequence": reply.stop}


async def messages(service: Service, body: MessagesBody, outlet: Outlet, model: str) -> None:
    """Answer one message."""
    generation = service.start(body.ask(), model=model, id_prefix="msg_")
    try:
        if body.stream:
            await _stream(generation, outlet)
            return
        await generation.job.rest()
        reply = generation.replies[0]
        answer = {
            **_message(generation),
            "content": _content(reply),
            **_stop(reply),
            "usage": _usage(generation, generation.output_tokens),
        }
        await outlet.whole(_encode(answer), tokens=generation.output_tokens)
    finally:
        generation.job.leave()


async def count_tokens(body: CountBody, outlet: Outlet) -> None:
    """Answer how many tokens a prompt has."""
    await outlet.whole(_encode({"input_tokens": max(1, count(body.prompt()))}))


def _message(generation: Generation) -> Json:
    return {
        "id": generation.id,
        "type": "message",
        "role": "assistant",
        "model": generation.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _content(reply: Reply) -> list[Json]:
    content: list[Json] = []
    if reply.reasoning_tokens:
        thought = reply.joined("reasoning")
        content.append({"type": "thinking", "thinking": thought, "signature": _SIGNATURE})
    if any(token.kind == "text" for token in reply.tokens):
        content.append({"type": "text", "text": reply.joined("text")})
    for index, call in enumerate(reply.calls):
        arguments = reply.arguments(index)
        if arguments == call.arguments:
            value = msgspec.json.decode(arguments)
        elif arguments:
            value = {}  # cut by max_tokens: what there was of the object
        else:
            continue
        content.append({"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": value})
    return content


def _call_id(call_id: str) -> str:
    return "toolu_" + call_id.removeprefix("call_")


def _event(kind: str, **fields: object) -> bytes:
    return sse(_encode({"type": kind, **fields}), kind.encode())


def _block_start(reply: Reply, token: Token) -> Json:
    if token.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if token.kind == "text":
        return {"type": "text", "text": ""}
    call = reply.calls[token.call]
    return {"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": {}}


def _delta(token: Token) -> Json:
    if token.kind == "reasoning":
        return {"type": "thinking_delta", "thinking": token.text}
    if token.kind == "text":
        return {"type": "text_delta", "text": token.text}
    return {"type": "input_json_delta", "partial_json": token.text}


async def _stream(generation: Generation, outlet: Outlet) -> None:
    reply, job = generation.replies[0], generation.job
    await outlet.open()
    block = -1
    before: Token | None = None
    while job.left:
        _, index = await job.next()
        token = reply.tokens[index]
        if index == 0:
            message = {**_message(generation), "usage": _usage(generation, 1)}
            await outlet.event(_event("message_start", message=message))
        if before is None or (before.kind, before.call) != (token.kind, token.call):
            await _close_block(outlet, block, before)
            block += 1
            await outlet.event(
                _event("content_block_start", index=block, content_block=_block_start(reply, token))
            )
            if before is None:
                await outlet.event(_event("ping"))
        before = token
        await outlet.event(_event("content_block_delta", index=block, delta=_delta(token)), "token")
    await _close_block(outlet, block, before)
    usage = _output_usage(generation, generation.output_tokens)
    await outlet.event(_event("message_delta", delta=_stop(reply), usage=usage), "finish")
    await outlet.event(_event("message_stop"), "end")
    await outlet.close()


async def _close_block(outlet: Outlet, block: int, last: Token | None) -> None:
    if last is None:
        return
    if last.kind == "reasoning":
        signature = {"type": "signature_delta", "signature": _SIGNATURE}
        await outlet.event(_event("content_block_delta", index=block, delta=signature))
    await outlet.event(_event("content_block_stop", index=block))
