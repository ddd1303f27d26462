"""/v1/responses in OpenAI's native shape: text, reasoning and function calls, whole or streamed.

Nothing is stored: `previous_response_id` is refused, as by an engine without a store.
"""

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

Json = dict[str, object]
_encode = msgspec.json.encode


class InputPart(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    text: str | None = None


class InputItem(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or another item of which only the words are read."""

    type: str = "message"
    role: str | None = None
    content: str | list[InputPart] | None = None
    output: str | list[InputPart] | None = None
    name: str | None = None
    arguments: str | None = None

    @property
    def words(self) -> str:
        """What of the item the model reads, as text."""
        content = self.output if self.type == "function_call_output" else self.content
        if isinstance(content, list):
            return "\n".join(part.text or f"<{part.type}>" for part in content)
        return content or f"{self.name or ''}{self.arguments or ''}"


class ResponseTool(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    name: str | None = None
    parameters: JsonValue = None
    description: str | None = None


class ResponseChoice(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    name: str | None = None


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: JsonValue = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    format: TextFormat | None = None


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    effort: str | None = None


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of /v1/responses."""

    model: str
    input: str | list[InputItem]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None

    def ask(self) -> Ask:
        """What this body asks of the model.

        Raises:
            InvalidRequest: it builds on a stored response, or forces an unknown tool.
        """
        if self.previous_response_id is not None:
            raise InvalidRequest(
                f"Previous response with id '{self.previous_response_id}' not found.",
                param="previous_response_id",
            )
        items = [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        if not items:
            raise InvalidRequest("`input` is empty.", param="input")
        tools = tuple(
            Tool(name=tool.name, parameters=tool.parameters)
            for tool in self.tools or ()
            if tool.type == "function" and tool.name is not None
        )
        choice = self.tool_choice
        named = choice.name if isinstance(choice, ResponseChoice) else None
        if named is not None and named not in {tool.name for tool in tools}:
            raise InvalidRequest(f"The tool {named!r} is not among `tools`.", param="tool_choice")
        questions = [item.words for item in items if item.role == "user"]
        wanted = self.text.format if self.text is not None else None
        effort = self.reasoning.effort if self.reasoning is not None else None
        return Ask(
            prompt=self._prompt(items),
            question=questions[-1] if questions else "",
            after_tool=items[-1].type == "function_call_output",
            max_tokens=self.max_output_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            tools=tools,
            tool_mode="required" if named is not None else choice if isinstance(choice, str) else "auto",
            tool_name=named,
            parallel_tools=self.parallel_tool_calls is not False,
            output="json" if wanted is not None and wanted.type != "text" else "text",
            schema=wanted.schema if wanted is not None else None,
            think=effort not in (None, "none", "minimal"),
        )

    def _prompt(self, items: list[InputItem]) -> str:
        tools = _encode(self.tools).decode() + "\n" if self.tools else ""
        system = f"<|system|>\n{self.instructions}\n" if self.instructions else ""
        turns = "".join(f"<|{item.role or item.type}|>\n{item.words}\n" for item in items)
        return f"{tools}{system}{turns}<|assistant|>\n"


async def responses(service: Service, body: ResponseBody, outlet: Outlet, model: str) -> None:
    """Answer one response."""
    generation = service.start(body.ask(), model=model, id_prefix="resp_")
    try:
        if body.stream:
            await _Stream(body, generation, outlet).run()
            return
        await generation.job.rest()
        answer = _response(body, generation, items=_items(generation))
        await outlet.whole(_encode(answer), tokens=generation.output_tokens)
    finally:
        generation.job.leave()


def _response(body: ResponseBody, generation: Generation, *, items: list[Json] | None) -> Json:
    """The response object; `items` is None while it is in progress."""
    cut = generation.replies[0].finish == "length"
    status = "in_progress" if items is None else "incomplete" if cut else "completed"
    return {
        "id": generation.id,
        "object": "response",
        "created_at": generation.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": generation.model,
        "output": items or [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": "text"}} if body.text is None else body.text,
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if items is None else _usage(generation),
    }


def _usage(generation: Generation) -> Json:
    return {
        "input_tokens": generation.prompt_tokens,
        "input_tokens_details": {"cached_tokens": generation.cached_tokens},
        "output_tokens": generation.output_tokens,
        "output_tokens_details": {"reasoning_tokens": generation.reasoning_tokens},
        "total_tokens": generation.prompt_tokens + generation.output_tokens,
    }


def _spans(reply: Reply) -> list[Token]:
    """The first token of each output item, in order."""
    spans: list[Token] = []
    for token in reply.tokens:
        if not spans or (spans[-1].kind, spans[-1].call) != (token.kind, token.call):
            spans.append(token)
    return spans


def _items(generation: Generation) -> list[Json]:
    reply = generation.replies[0]
    return [_item(generation, index, first, done=True) for index, first in enumerate(_spans(reply))]


def _item(generation: Generation, index: int, first: Token, *, done: bool) -> Json:
    """An output item: as it is at its end when `done`, else as it is announced."""
    reply = generation.replies[0]
    suffix = f"{generation.id.removeprefix('resp_')}{index:02d}"
    status = "completed" if done else "in_progress"
    if first.kind == "reasoning":
        text = {"type": "summary_text", "text": reply.joined("reasoning")}
        return {"id": f"rs_{suffix}", "type": "reasoning", "summary": [text] if done else []}
    if first.kind == "text":
        part = {"type": "output_text", "text": reply.joined("text"), "annotations": [], "logprobs": []}
        content = [part] if done else []
        message = {"id": f"msg_{suffix}", "type": "message", "status": status, "role": "assistant"}
        return {**message, "content": content}
    call = reply.calls[first.call]
    return {
        "id": f"fc_{suffix}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": reply.arguments(first.call) if done else "",
    }


_DELTAS = {
    "reasoning": "response.reasoning_summary_text",
    "text": "response.output_text",
    "tool": "response.function_call_arguments",
}


class _Stream:
    def __init__(self, body: ResponseBody, generation: Generation, outlet: Outlet) -> None:
        self._body = body
        self._generation = generation
        self._outlet = outlet
        self._number = 0

    def _event(self, kind: str, **fields: object) -> bytes:
        event = _encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return sse(event, kind.encode())

    async def run(self) -> None:
        generation, outlet = self._generation, self._outlet
        reply, job = generation.replies[0], generation.job
        await outlet.open()
        index, item = -1, None
        while job.left:
            _, number = await job.next()
            token = reply.tokens[number]
            if number == 0:
                started = _response(self._body, generation, items=None)
                await outlet.event(self._event("response.created", response=started))
                await outlet.event(self._event("response.in_progress", response=started))
            if item is None or (item.kind, item.call) != (token.kind, token.call):
                if item is not None:
                    await self._close_item(index, item)
                index, item = index + 1, token
                await self._open_item(index, item)
            place = self._place(index, item)
            if token.kind == "text":
                place["logprobs"] = []
            await outlet.event(
                self._event(_DELTAS[token.kind] + ".delta", delta=token.text, **place), "token"
            )
        if item is not None:
            await self._close_item(index, item)
        final = _response(self._body, generation, items=_items(generation))
        await outlet.event(self._event(f"response.{final['status']}", response=final), "finish")
        await outlet.close()

    def _place(self, index: int, item: Token) -> Json:
        item_id = _item(self._generation, index, item, done=False)["id"]
        place: Json = {"item_id": item_id, "output_index": index}
        if item.kind == "text":
            place["content_index"] = 0
        elif item.kind == "reasoning":
            place["summary_index"] = 0
        return place

    async def _open_item(self, index: int, item: Token) -> None:
        announced = _item(self._generation, index, item, done=False)
        added = self._event("response.output_item.added", output_index=index, item=announced)
        await self._outlet.event(added)
        place = self._place(index, item)
        if item.kind == "text":
            part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            await self._outlet.event(self._event("response.content_part.added", part=part, **place))
        elif item.kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            await self._outlet.event(self._event("response.reasoning_summary_part.added", part=part, **place))

    async def _close_item(self, index: int, item: Token) -> None:
        done = _item(self._generation, index, item, done=True)
        place = self._place(index, item)
        outlet, name = self._outlet, _DELTAS[item.kind] + ".done"
        if item.kind == "text":
            text = self._generation.replies[0].joined("text")
            await outlet.event(self._event(name, text=text, logprobs=[], **place))
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            await outlet.event(self._event("response.content_part.done", part=part, **place))
        elif item.kind == "reasoning":
            text = self._generation.replies[0].joined("reasoning")
            await outlet.event(self._event(name, text=text, **place))
            part = {"type": "summary_text", "text": text}
            await outlet.event(self._event("response.reasoning_summary_part.done", part=part, **place))
        else:
            call = {"name": done["name"], "arguments": done["arguments"]}
            await outlet.event(self._event(name, **call, **place))
        await outlet.event(self._event("response.output_item.done", output_index=index, item=done))
