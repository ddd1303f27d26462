"""Google's Gemini API: generateContent, streamGenerateContent, countTokens and embedContent."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.simulate.embed import embed
from fairlead.simulate.outlet import Outlet
from fairlead.simulate.schema import JsonValue
from fairlead.simulate.service import Generation, Service
from fairlead.simulate.shapes import sse
from fairlead.simulate.text import Ask, Reply, Token, Tool
from fairlead.simulate.tokens import count

Json = dict[str, object]
_encode = msgspec.json.encode
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Gemini's fields are in camel case."""


class GeminiCall(_Body, frozen=True, kw_only=True):
    name: str
    args: JsonValue = None


class GeminiPart(_Body, frozen=True, kw_only=True):
    """One part of a turn."""

    text: str | None = None
    function_call: GeminiCall | None = None
    function_response: JsonValue = None

    @property
    def words(self) -> str:
        """What of the part the model reads, as text."""
        if self.text is not None:
            return self.text
        if self.function_call is not None:
            return f"{self.function_call.name}({_encode(self.function_call.args).decode()})"
        if self.function_response is not None:
            return _encode(self.function_response).decode()
        return "<data>"


class GeminiContent(_Body, frozen=True, kw_only=True):
    """One turn."""

    parts: list[GeminiPart] = []
    role: str | None = None

    @property
    def words(self) -> str:
        return "\n".join(part.words for part in self.parts)


class GeminiFunction(_Body, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: JsonValue = None
    parameters_json_schema: JsonValue = None


class GeminiTool(_Body, frozen=True, kw_only=True):
    function_declarations: list[GeminiFunction] = []


class FunctionCalling(_Body, frozen=True, kw_only=True):
    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(_Body, frozen=True, kw_only=True):
    function_calling_config: FunctionCalling = FunctionCalling()


class ThinkingConfig(_Body, frozen=True, kw_only=True):
    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool = False


class GenerationConfig(_Body, frozen=True, kw_only=True):
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    stop_sequences: list[str] = []
    seed: int | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=8)] = 1
    response_mime_type: str | None = None
    response_schema: JsonValue = None
    response_json_schema: JsonValue = None
    thinking_config: ThinkingConfig | None = None


class GenerateBody(_Body, frozen=True, kw_only=True):
    """Body of generateContent."""

    contents: Annotated[list[GeminiContent], Meta(min_length=1)]
    system_instruction: GeminiContent | None = None
    tools: list[GeminiTool] = []
    tool_config: ToolConfig = ToolConfig()
    generation_config: GenerationConfig = GenerationConfig()

    def prompt(self) -> str:
        """The whole prompt as text."""
        system = f"<|system|>\n{self.system_instruction.words}\n" if self.system_instruction else ""
        tools = _encode(self.tools).decode() + "\n" if self.tools else ""
        turns = "".join(f"<|{content.role or 'user'}|>\n{content.words}\n" for content in self.contents)
        return f"{tools}{system}{turns}<|model|>\n"

    def ask(self) -> Ask:
        """What this body asks of the model."""
        options = self.generation_config
        calling = self.tool_config.function_calling_config
        allowed = calling.allowed_function_names
        tools = tuple(
            Tool(
                name=function.name, parameters=_lower(function.parameters) or function.parameters_json_schema
            )
            for tool in self.tools
            for function in tool.function_declarations
            if not allowed or function.name in allowed
        )
        users = [content for content in self.contents if content.role in (None, "user")]
        said = [[part.text for part in content.parts if part.text is not None] for content in users]
        thinking = options.thinking_config
        return Ask(
            prompt=self.prompt(),
            question=next(("\n".join(texts) for texts in reversed(said) if texts), ""),
            after_tool=any(part.function_response is not None for part in self.contents[-1].parts),
            max_tokens=options.max_output_tokens,
            temperature=1.0 if options.temperature is None else options.temperature,
            seed=options.seed,
            stop=tuple(options.stop_sequences),
            tools=tools,
            tool_mode="required" if calling.mode == "ANY" else "none" if calling.mode == "NONE" else "auto",
            output="json" if options.response_mime_type == "application/json" else "text",
            schema=_lower(options.response_schema) or options.response_json_schema,
            think=thinking is not None and thinking.thinking_budget != 0,
        )


def _lower(schema: JsonValue) -> JsonValue:
    """Gemini's schema dialect writes its types in capitals."""
    if isinstance(schema, dict):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
            for name, value in schema.items()
        }
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    return schema


class CountTokensBody(_Body, frozen=True, kw_only=True):
    contents: list[GeminiContent] = []


class EmbedBody(_Body, frozen=True, kw_only=True):
    content: GeminiContent
    output_dimensionality: Annotated[int, Meta(ge=1, le=8192)] | None = None


class BatchEmbedBody(_Body, frozen=True, kw_only=True):
    requests: Annotated[list[EmbedBody], Meta(min_length=1)]


async def generate(service: Service, body: GenerateBody, outlet: Outlet, model: str, *, stream: bool) -> None:
    """Answer generateContent, or streamGenerateContent with `alt=sse`."""
    options = body.generation_config
    generation = service.start(body.ask(), model=model, id_prefix="", choices=options.candidate_count)
    thoughts = options.thinking_config is not None and options.thinking_config.include_thoughts
    try:
        if stream:
            await _stream(generation, outlet, thoughts=thoughts)
            return
        await generation.job.rest()
        candidates = [
            _candidate(index, _parts(reply, reply.tokens, thoughts=thoughts), reply)
            for index, reply in enumerate(generation.replies)
        ]
        answer = _response(generation, candidates, generation.output_tokens)
        await outlet.whole(_encode(answer), tokens=generation.output_tokens)
    finally:
        generation.job.leave()


async def count_tokens(body: CountTokensBody, outlet: Outlet) -> None:
    """Answer how many tokens a prompt has."""
    total = sum(count(content.words) for content in body.contents)
    await outlet.whole(_encode({"totalTokens": total}))


async def embed_content(service: Service, body: EmbedBody, outlet: Outlet) -> None:
    """Answer embedContent."""
    await outlet.whole(_encode({"embedding": _embedding(service, body)}))


async def batch_embed_contents(service: Service, body: BatchEmbedBody, outlet: Outlet) -> None:
    """Answer batchEmbedContents."""
    vectors = [_embedding(service, request) for request in body.requests]
    await outlet.whole(_encode({"embeddings": vectors}))


def _embedding(service: Service, body: EmbedBody) -> Json:
    dimensions = body.output_dimensionality or service.config.embedding_dimensions
    return {"values": embed(body.content.words, dimensions)}


def _parts(reply: Reply, tokens: tuple[Token, ...], *, thoughts: bool) -> list[Json]:
    """The parts of some tokens; a function call is one part, given when its last token is there."""
    parts: list[Json] = []
    thought = "".join(token.text for token in tokens if token.kind == "reasoning")
    if thought and thoughts:
        parts.append({"text": thought, "thought": True})
    text = "".join(token.text for token in tokens if token.kind == "text")
    if text:
        parts.append({"text": text})
    for index, call in enumerate(reply.calls):
        mine = [token for token in tokens if token.kind == "tool" and token.call == index]
        if mine and "".join(token.text for token in mine) == call.arguments:
            arguments = msgspec.json.decode(call.arguments)
            parts.append({"functionCall": {"id": call.id, "name": call.name, "args": arguments}})
    return parts


def _candidate(index: int, parts: list[Json], reply: Reply | None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": index}
    if reply is not None:
        candidate["finishReason"] = _FINISH[reply.finish]
    return candidate


def _response(generation: Generation, candidates: list[Json], produced: int) -> Json:
    """A response object. Gemini counts thoughts beside the candidates' tokens."""
    thoughts = min(produced, generation.reasoning_tokens)
    usage: Json = {
        "promptTokenCount": generation.prompt_tokens,
        "candidatesTokenCount": produced - thoughts,
        "totalTokenCount": generation.prompt_tokens + produced,
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if generation.cached_tokens:
        usage["cachedContentTokenCount"] = generation.cached_tokens
    return {
        "candidates": candidates,
        "usageMetadata": usage,
        "modelVersion": generation.model,
        "responseId": generation.id,
    }


async def _stream(generation: Generation, outlet: Outlet, *, thoughts: bool) -> None:
    job, produced = generation.job, 0
    await outlet.open()
    while job.left:
        choice, index = await job.next()
        produced += 1
        reply = generation.replies[choice]
        last = index + 1 == len(reply.tokens)
        parts = _ready(reply, index, thoughts=thoughts)
        if parts:
            event = _response(generation, [_candidate(choice, parts, None)], produced)
            await outlet.event(sse(_encode(event)), "token")
        if last:
            event = _response(generation, [_candidate(choice, [{"text": ""}], reply)], produced)
            await outlet.event(sse(_encode(event)), "finish")
    await outlet.close()


def _ready(reply: Reply, index: int, *, thoughts: bool) -> list[Json]:
    """The parts that token number `index` completes."""
    token = reply.tokens[index]
    if token.kind != "tool":
        return _parts(reply, (token,), thoughts=thoughts)
    following = reply.tokens[index + 1] if index + 1 < len(reply.tokens) else None
    if following is not None and following.call == token.call:
        return []
    mine = tuple(other for other in reply.tokens if other.kind == "tool" and other.call == token.call)
    return _parts(reply, mine, thoughts=thoughts)
