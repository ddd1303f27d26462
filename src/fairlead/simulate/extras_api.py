"""The smaller OpenAI-compatible endpoints: embeddings, rerank, transcription, images, tokenize, models.

They answer at once: only generation takes the engine's time.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.simulate.chat_body import ChatMessage, Input, input_texts
from fairlead.simulate.embed import embed, similarity
from fairlead.simulate.multipart import FormPart
from fairlead.simulate.outlet import Outlet
from fairlead.simulate.service import Service
from fairlead.simulate.tokens import count, token_id, tokenize

_encode = msgspec.json.encode
_PLAIN = b"content-type: text/plain; charset=utf-8\r\n"
MAX_INPUTS = 2048


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=8192)] | None = None


async def embeddings(service: Service, body: EmbeddingBody, outlet: Outlet, model: str) -> None:
    """Answer /v1/embeddings."""
    texts = input_texts(body.input)
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise InvalidRequest(f"`input` takes 1 to {MAX_INPUTS} texts, got {len(texts)}.", param="input")
    dimensions = body.dimensions or service.config.embedding_dimensions
    data = []
    for index, text in enumerate(texts):
        vector: list[float] | str = embed(text, dimensions)
        if body.encoding_format == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(max(1, count(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    await outlet.whole(_encode({"object": "list", "data": data, "model": model, "usage": usage}))


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool | None = None


async def rerank(service: Service, body: RerankBody, outlet: Outlet, model: str) -> None:
    """Relevance is the likeness of the embeddings, scaled to 0..1."""
    if not 1 <= len(body.documents) <= MAX_INPUTS:
        raise InvalidRequest(f"`documents` takes 1 to {MAX_INPUTS} texts.", param="documents")
    query = embed(body.query, service.config.embedding_dimensions)
    results = []
    for index, text in enumerate(body.documents):
        near = similarity(query, embed(text, service.config.embedding_dimensions))
        entry: dict[str, object] = {"index": index, "relevance_score": (1 + near) / 2}
        if body.return_documents is not False:
            entry["document"] = {"text": text}
        results.append((near, entry))
    results.sort(key=lambda pair: -pair[0])
    top = len(results) if body.top_n is None or body.top_n <= 0 else body.top_n
    tokens = count(body.query) + sum(count(text) for text in body.documents)
    answer = {
        "id": service.new_id("rerank-"),
        "model": model,
        "results": [entry for _, entry in results[:top]],
        "usage": {"total_tokens": tokens},
    }
    await outlet.whole(_encode(answer))


async def transcription(form: dict[str, FormPart], outlet: Outlet) -> None:
    """The transcript names the file; its words depend on the file's bytes."""
    audio = form.get("file")
    if audio is None:
        raise InvalidRequest("`file` is required.", param="file")
    digest = hashlib.blake2b(audio.data, digest_size=4).hexdigest()
    text = f"This is a simulated transcript of {audio.filename or 'audio'}, fingerprint {digest}."
    wanted = form["response_format"].text if "response_format" in form else "json"
    if wanted == "text":
        await outlet.whole(text.encode() + b"\n", _PLAIN)
        return
    if wanted not in ("json", "verbose_json"):
        raise InvalidRequest(f"`response_format` {wanted!r} is not simulated.", param="response_format")
    answer: dict[str, object] = {"text": text}
    # One second per 16 kB, as of 16-bit mono audio at 8 kHz.
    seconds = len(audio.data) / 16_000
    if wanted == "verbose_json":
        segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
        answer |= {"task": "transcribe", "language": "english", "duration": seconds, "segments": [segment]}
    else:
        answer["usage"] = {"type": "duration", "seconds": max(1, round(seconds))}
    await outlet.whole(_encode(answer))


class ImageBody(msgspec.Struct, frozen=True, kw_only=True):
    prompt: str
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    response_format: Literal["b64_json", "url"] | None = None


def png(prompt: str, index: int, side: int = 16) -> bytes:
    """A small valid PNG in two colours that depend on the prompt."""
    digest = hashlib.blake2b(f"{index}:{prompt}".encode(), digest_size=38).digest()
    colours, pattern = (digest[:3], digest[3:6]), int.from_bytes(digest[6:], "big")
    rows = bytearray()
    for y in range(side):
        rows.append(0)  # filter: none
        for x in range(side):
            rows += colours[pattern >> ((y * side + x) % 256) & 1]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


async def images(service: Service, body: ImageBody, outlet: Outlet) -> None:
    """Answer /v1/images/generations with a small PNG."""
    data = []
    for index in range(body.n or 1):
        encoded = base64.b64encode(png(body.prompt, index)).decode()
        if body.response_format == "url":
            data.append({"url": f"data:image/png;base64,{encoded}"})
        else:
            data.append({"b64_json": encoded})
    await outlet.whole(_encode({"created": service.unix_time(), "data": data}))


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """vLLM's /tokenize: a prompt, or the messages of a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    return_token_strs: bool | None = None


async def tokenize_text(service: Service, body: TokenizeBody, outlet: Outlet) -> None:
    """Answer /tokenize as vLLM does."""
    if body.prompt is not None:
        text = body.prompt
    elif body.messages is not None:
        text = "".join(message.rendered() for message in body.messages) + "<|assistant|>\n"
    else:
        raise InvalidRequest("`prompt` or `messages` is required.", param="prompt")
    tokens = tokenize(text)
    answer: dict[str, object] = {
        "count": len(tokens),
        "max_model_len": service.engine.context_tokens,
        "tokens": [token_id(token) for token in tokens],
        "token_strs": tokens if body.return_token_strs else None,
    }
    await outlet.whole(_encode(answer))


def model_card(service: Service, model: str, created: int) -> dict[str, object]:
    """One entry of /v1/models."""
    return {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": "fairlead-simulate",
        "root": model,
        "parent": None,
        "max_model_len": service.engine.context_tokens,
    }
