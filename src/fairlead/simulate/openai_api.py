"""/v1/chat/completions and /v1/completions, in the wire format of OpenAI with vLLM's additions."""

from __future__ import annotations

import msgspec

from fairlead.errors import InvalidRequest
from fairlead.simulate.chat_body import ChatBody, CompletionBody
from fairlead.simulate.outlet import Outlet
from fairlead.simulate.service import Generation, Service
from fairlead.simulate.shapes import sse
from fairlead.simulate.text import Reply, Token
from fairlead.simulate.tokens import token_id

Json = dict[str, object]

_encode = msgspec.json.encode
_DONE = sse(b"[DONE]")


def usage_of(generation: Generation, output_tokens: int | None = None) -> Json:
    """The usage object; of the first `output_tokens` tokens when given."""
    produced = generation.output_tokens if output_tokens is None else output_tokens
    usage: Json = {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": produced,
        "total_tokens": generation.prompt_tokens + produced,
        "prompt_tokens_details": {"cached_tokens": generation.cached_tokens},
    }
    if generation.reasoning_tokens:
        reasoning = min(produced, generation.reasoning_tokens)
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def _logprob(text: str) -> float:
    return -(token_id(text) % 2000) / 1000


def _chat_logprobs(tokens: list[str], top: int) -> Json:
    def entry(text: str, logprob: float) -> Json:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = []
    for text in tokens:
        logprob = _logprob(text)
        others = [entry(f" alt{rank}", logprob - rank) for rank in range(1, top)]
        first = [entry(text, logprob)] if top else []
        content.append({**entry(text, logprob), "top_logprobs": first + others})
    return {"content": content, "refusal": None}


# --- chat -----------------------------------------------------------------------------------------


async def chat(service: Service, body: ChatBody, outlet: Outlet, model: str) -> None:
    """Answer one chat completion."""
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs`.", param="top_logprobs")
    generation = service.start(
        body.ask(), model=model, id_prefix="chatcmpl-", choices=1 if body.n is None else body.n
    )
    try:
        if body.stream:
            await _ChatStream(service, body, outlet, generation).run()
        else:
            await generation.job.rest()
            answer = chat_answer(service, body, generation)
            await outlet.whole(_encode(answer), tokens=generation.output_tokens)
    finally:
        generation.job.leave()


def chat_answer(service: Service, body: ChatBody, generation: Generation) -> Json:
    """A whole chat completion."""
    answer: Json = {
        "id": generation.id,
        "object": "chat.completion",
        "created": generation.created,
        "model": generation.model,
        "choices": [_chat_choice(body, index, reply) for index, reply in enumerate(generation.replies)],
        "usage": usage_of(generation),
        "system_fingerprint": "simulated",
    }
    if service.config.per_request_metrics:
        answer["metrics"] = generation.timings()
    return answer


def _chat_choice(body: ChatBody, index: int, reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.joined("text") or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": reply.arguments(position)},
            }
            for position, call in enumerate(reply.calls)
        ]
    elif message["content"] is None and not reply.reasoning_tokens:
        message["content"] = ""
    if reply.reasoning_tokens:
        message["reasoning_content"] = reply.joined("reasoning")
    logprobs = None
    if body.logprobs:
        texts = [token.text for token in reply.tokens if token.kind == "text"]
        logprobs = _chat_logprobs(texts, body.top_logprobs or 0)
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reply.finish,
        "stop_reason": reply.stop,
    }


class _ChatStream:
    """One streamed chat completion: each token is an event, written when it is due."""

    def __init__(self, service: Service, body: ChatBody, outlet: Outlet, generation: Generation) -> None:
        self._service = service
        self._body = body
        self._outlet = outlet
        self._generation = generation
        self._produced = 0

    async def run(self) -> None:
        job, outlet, replies = self._generation.job, self._outlet, self._generation.replies
        await outlet.open()
        while job.left:
            choice, index = await job.next()
            self._produced += 1
            reply = replies[choice]
            if index == 0:
                await outlet.event(self._delta(choice, {"role": "assistant", "content": ""}))
            await self._token(choice, reply, reply.tokens[index], index)
            if index + 1 == len(reply.tokens):
                await outlet.event(self._delta(choice, {}, reply), "finish")
        if self._body.include_usage:
            await outlet.event(self._chunk([], final=True))
        await outlet.event(_DONE, "end")
        await outlet.close()

    async def _token(self, choice: int, reply: Reply, token: Token, index: int) -> None:
        delta: Json
        if token.kind == "tool":
            before = reply.tokens[index - 1] if index else None
            first = before is None or (before.kind, before.call) != (token.kind, token.call)
            if first:
                call = reply.calls[token.call]
                named = {"index": token.call, "id": call.id, "type": "function"}
                started = {**named, "function": {"name": call.name, "arguments": ""}}
                await self._outlet.event(self._delta(choice, {"tool_calls": [started]}))
            delta = {"tool_calls": [{"index": token.call, "function": {"arguments": token.text}}]}
        else:
            delta = {"content" if token.kind == "text" else "reasoning_content": token.text}
        await self._outlet.event(self._delta(choice, delta, logprobs_of=token), "token")

    def _delta(
        self, choice: int, delta: Json, finished: Reply | None = None, *, logprobs_of: Token | None = None
    ) -> bytes:
        entry: Json = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}
        if finished is not None:
            entry["finish_reason"] = finished.finish
            entry["stop_reason"] = finished.stop
        if self._body.logprobs and logprobs_of is not None and logprobs_of.kind == "text":
            entry["logprobs"] = _chat_logprobs([logprobs_of.text], self._body.top_logprobs or 0)
        return self._chunk([entry])

    def _chunk(self, choices: list[Json], *, final: bool = False) -> bytes:
        generation = self._generation
        chunk: Json = {
            "id": generation.id,
            "object": "chat.completion.chunk",
            "created": generation.created,
            "model": generation.model,
            "choices": choices,
        }
        if self._body.include_usage:
            counted = final or self._body.continuous_usage
            chunk["usage"] = usage_of(generation, self._produced) if counted else None
        if final and self._service.config.per_request_metrics:
            chunk["metrics"] = generation.timings()
        return sse(_encode(chunk))


# --- completions ----------------------------------------------------------------------------------


async def completions(service: Service, body: CompletionBody, outlet: Outlet, model: str) -> None:
    """Answer one text completion; several prompts are answered together."""
    prompts = body.prompts()
    if len(prompts) > 1 and body.stream:
        raise InvalidRequest("A streamed completion takes one prompt.", param="prompt")
    generations: list[Generation] = []
    try:
        for prompt in prompts:
            ask = body.ask(prompt)
            generations.append(
                service.start(ask, model=model, id_prefix="cmpl-", choices=1 if body.n is None else body.n)
            )
        if body.stream:
            await _stream_completion(body, prompts[0], generations[0], outlet)
            return
        for generation in generations:
            await generation.job.rest()
        answer = _completion_answer(service, body, prompts, generations)
        tokens = sum(generation.output_tokens for generation in generations)
        await outlet.whole(_encode(answer), tokens=tokens)
    finally:
        for generation in generations:
            generation.job.leave()


def _completion_logprobs(tokens: list[str], top: int) -> Json:
    offsets, position = [], 0
    for text in tokens:
        offsets.append(position)
        position += len(text)
    return {
        "tokens": tokens,
        "token_logprobs": [_logprob(text) for text in tokens],
        "top_logprobs": [{text: _logprob(text)} for text in tokens] if top else None,
        "text_offset": offsets,
    }


def _completion_choice(body: CompletionBody, index: int, prompt: str, reply: Reply) -> Json:
    tokens = [token.text for token in reply.tokens]
    return {
        "index": index,
        "text": (prompt if body.echo else "") + "".join(tokens),
        "logprobs": None if body.logprobs is None else _completion_logprobs(tokens, body.logprobs),
        "finish_reason": reply.finish,
        "stop_reason": reply.stop,
    }


def _completion_answer(
    service: Service, body: CompletionBody, prompts: list[str], generations: list[Generation]
) -> Json:
    pairs = [
        (prompt, reply)
        for prompt, generation in zip(prompts, generations, strict=True)
        for reply in generation.replies
    ]
    prompt_tokens = sum(generation.prompt_tokens for generation in generations)
    output_tokens = sum(generation.output_tokens for generation in generations)
    first = generations[0]
    answer: Json = {
        "id": first.id,
        "object": "text_completion",
        "created": first.created,
        "model": first.model,
        "choices": [
            _completion_choice(body, index, prompt, reply) for index, (prompt, reply) in enumerate(pairs)
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": prompt_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(item.cached_tokens for item in generations)},
        },
    }
    if service.config.per_request_metrics:
        answer["metrics"] = first.timings()
    return answer


async def _stream_completion(
    body: CompletionBody, prompt: str, generation: Generation, outlet: Outlet
) -> None:
    produced = 0

    def chunk(choices: list[Json], *, final: bool = False) -> bytes:
        data: Json = {
            "id": generation.id,
            "object": "text_completion",
            "created": generation.created,
            "model": generation.model,
            "choices": choices,
        }
        if body.include_usage:
            data["usage"] = usage_of(generation, produced) if final or body.continuous_usage else None
        return sse(_encode(data))

    await outlet.open()
    while generation.job.left:
        choice, index = await generation.job.next()
        produced += 1
        reply = generation.replies[choice]
        text = reply.tokens[index].text
        last = index + 1 == len(reply.tokens)
        entry: Json = {
            "index": choice,
            "text": prompt + text if body.echo and index == 0 else text,
            "logprobs": None if body.logprobs is None else _completion_logprobs([text], body.logprobs),
            "finish_reason": None,
        }
        await outlet.event(chunk([entry]), "token")
        if last:
            finish = {**entry, "text": "", "logprobs": None, "finish_reason": reply.finish}
            await outlet.event(chunk([{**finish, "stop_reason": reply.stop}]), "finish")
    if body.include_usage:
        await outlet.event(chunk([], final=True))
    await outlet.event(_DONE, "end")
    await outlet.close()
