"""The `/v1/embeddings` API: read a request, ask another dialect, answer in floats or base64.

An OpenAI-compatible upstream is asked natively; then only `in_encoding` may
have work to do, because some engines answer in floats whatever was asked
(OpenAI's SDK asks for base64 by default). Gemini, and Titan and Cohere on
Bedrock, are asked by translation of text inputs.

Base64 is that of 32-bit little-endian floats, as OpenAI has it.
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from typing import Final, Literal, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from fairlead.errors import BadUpstreamAnswer, InvalidRequest, UnsupportedByTarget
from fairlead.providers.dialect import Glimpse, Outgoing
from fairlead.providers.fields import Fields, decode_field
from fairlead.providers.openai_errors import failure_of, is_error
from fairlead.providers.openai_usage import read_usage
from fairlead.providers.raw import NOTHING
from fairlead.types import Failure, FailureKind

_T = TypeVar("_T")

MAX_INPUTS: Final = 2048

_BIG_ENDIAN: Final = sys.byteorder == "big"


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to embed. Exactly one of `texts` and `tokens` has entries."""

    model: str
    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    encoding: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    extras: dict[str, msgspec.Raw] = {}


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs."""

    vectors: tuple[list[float], ...]
    input_tokens: int = 0


class EmbeddingsDialect(Protocol):
    """How one kind of upstream embeds."""

    def encode(self, request: EmbeddingsRequest, model: str) -> Outgoing:
        """The request. Raises UnsupportedByTarget."""
        ...

    def decode(self, body: bytes) -> Embeddings:
        """A whole 200 answer. Raises BadUpstreamAnswer."""
        ...


def parse_embeddings(body: bytes) -> EmbeddingsRequest:
    """A client's request.

    Raises:
        InvalidRequest: it is not valid; `param` names the field.
    """
    fields = Fields(body)
    texts, tokens = _input(fields)
    encoding: Literal["float", "base64"] | None = fields.take("encoding_format", Literal["float", "base64"])
    dimensions = fields.take("dimensions", int)
    if dimensions is not None and dimensions < 1:
        raise InvalidRequest("dimensions: a number of at least 1 is expected", param="dimensions")
    request = EmbeddingsRequest(
        model=fields.require("model", str),
        texts=texts,
        tokens=tokens,
        encoding=encoding or "float",
        dimensions=dimensions,
        user=fields.take("user", str),
    )
    return msgspec.structs.replace(request, extras=fields.rest())


def _input(fields: Fields) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    raw = fields.take_raw("input")
    if raw is None:
        raise InvalidRequest("input: this field is required", param="input")
    given: str | list[str | int | list[int]] = decode_field(
        "input", bytes(raw), str | list[str | int | list[int]]
    )
    if isinstance(given, str):
        given = [given]
    if not given:
        raise InvalidRequest("input: at least one text is expected", param="input")
    if isinstance(given[0], int):
        ids = tuple(entry for entry in given if isinstance(entry, int))
        if len(ids) == len(given):
            return (), (ids,)
    texts = tuple(entry for entry in given if isinstance(entry, str))
    tokens = tuple(tuple(entry) for entry in given if isinstance(entry, list))
    if len(given) not in (len(texts), len(tokens)):
        raise InvalidRequest("input: texts and token ids cannot be mixed", param="input")
    if len(given) > MAX_INPUTS:
        raise InvalidRequest(f"input: at most {MAX_INPUTS} inputs are accepted", param="input")
    return texts, tokens


def render_embeddings(answer: Embeddings, request: EmbeddingsRequest) -> bytes:
    """The client's `list` object, in the encoding it asked for."""
    as_base64 = request.encoding == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": to_base64(vector) if as_base64 else vector}
        for index, vector in enumerate(answer.vectors)
    ]
    usage = {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})


# --- native answers -----------------------------------------------------------------------------


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    usage: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    object: str | None = None
    model: str | None = None


def glance(body: bytes) -> Glimpse:
    """Usage, model and failure of a whole native answer."""
    glimpse = Glimpse()
    try:
        head = msgspec.json.decode(body, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        glimpse.failure = _bad("is not a list of embeddings")
        return glimpse
    if is_error(head.error, head.object):
        glimpse.failure = failure_of(200, [], body)
    elif not bytes(head.data).startswith(b"["):
        glimpse.failure = _bad("is not a list of embeddings")
    else:
        glimpse.model = head.model or ""
        glimpse.usage = read_usage(head.usage)
        glimpse.finish_reason = "stop"
        glimpse.ended = True
    return glimpse


def in_encoding(body: bytes, encoding: Literal["float", "base64"]) -> bytes:
    """A native answer in the encoding that was asked for; as it is when it is in that already.

    Raises:
        BadUpstreamAnswer: it holds no embeddings.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        entries = msgspec.json.decode(fields["data"], type=list[dict[str, msgspec.Raw]])
        changed = False
        for entry in entries:
            value = bytes(entry["embedding"])
            if encoding == "base64" and value.startswith(b"["):
                shown: object = to_base64(msgspec.json.decode(value, type=list[float]))
            elif encoding == "float" and value.startswith(b'"'):
                shown = from_base64(msgspec.json.decode(value, type=str))
            else:
                continue
            entry["embedding"] = msgspec.Raw(msgspec.json.encode(shown))
            changed = True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise BadUpstreamAnswer("the upstream's answer is not a list of embeddings") from error
    if not changed:
        return body
    fields["data"] = msgspec.Raw(msgspec.json.encode(entries))
    return msgspec.json.encode(fields)


def to_base64(vector: list[float]) -> str:
    """32-bit little-endian floats in base64. Raises BadUpstreamAnswer when one does not fit."""
    floats = array("f", vector)
    if not all(map(math.isfinite, floats)):
        raise BadUpstreamAnswer("an embedding holds a number that is no 32-bit float")
    if _BIG_ENDIAN:
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")


def from_base64(text: str) -> list[float]:
    """The opposite of `to_base64`. Raises BadUpstreamAnswer."""
    floats = array("f")
    try:
        floats.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadUpstreamAnswer("an embedding of the upstream's answer is not base64 of floats") from error
    if _BIG_ENDIAN:
        floats.byteswap()
    return floats.tolist()


def _bad(what: str) -> Failure:
    return Failure(kind=FailureKind.BAD_ANSWER, message=f"the upstream's answer {what}")


# --- other dialects -----------------------------------------------------------------------------


def _texts_only(request: EmbeddingsRequest, target: str, *, extras: frozenset[str] = frozenset()) -> None:
    if request.tokens:
        raise UnsupportedByTarget(f"input: {target} takes texts, not token ids", param="input")
    for name in request.extras:
        if name not in extras:
            raise UnsupportedByTarget(f"{name}: {target} has no such option", param=name)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpstreamAnswer(f"the upstream's answer holds no embeddings: {error}") from error


class _GeminiVector(msgspec.Struct, frozen=True, kw_only=True):
    values: list[float]


class _GeminiAnswer(msgspec.Struct, frozen=True, kw_only=True):
    embeddings: list[_GeminiVector]


class GeminiEmbeddings:
    """Gemini's `batchEmbedContents`; it reports no usage."""

    def encode(self, request: EmbeddingsRequest, model: str) -> Outgoing:
        """See `EmbeddingsDialect.encode`. `task_type` is taken from the extras."""
        _texts_only(request, "Gemini", extras=frozenset({"task_type"}))
        name = model if model.startswith("models/") else f"models/{model}"
        options: dict[str, object] = {}
        if request.dimensions is not None:
            options["outputDimensionality"] = request.dimensions
        if "task_type" in request.extras:
            options["taskType"] = request.extras["task_type"]
        requests = [
            {"model": name, "content": {"parts": [{"text": text}]}} | options for text in request.texts
        ]
        ignored = () if request.user is None else ("user",)
        return Outgoing(
            path=f"/{quote(name)}:batchEmbedContents",
            body=msgspec.json.encode({"requests": requests}),
            ignored=ignored,
        )

    def decode(self, body: bytes) -> Embeddings:
        """See `EmbeddingsDialect.decode`."""
        answer = _decode(body, _GeminiAnswer)
        return Embeddings(vectors=tuple(vector.values for vector in answer.embeddings))


class _TitanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    embedding: list[float]
    input_text_token_count: int = msgspec.field(name="inputTextTokenCount", default=0)


class TitanEmbeddings:
    """Amazon Titan on Bedrock: one text a call."""

    def encode(self, request: EmbeddingsRequest, model: str) -> Outgoing:
        """See `EmbeddingsDialect.encode`."""
        _texts_only(request, "Titan on Bedrock")
        if len(request.texts) != 1:
            raise UnsupportedByTarget("input: Titan on Bedrock takes one text a request", param="input")
        body: dict[str, object] = {"inputText": request.texts[0]}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        ignored = () if request.user is None else ("user",)
        return Outgoing(
            path=f"/model/{quote(model, safe='')}/invoke", body=msgspec.json.encode(body), ignored=ignored
        )

    def decode(self, body: bytes) -> Embeddings:
        """See `EmbeddingsDialect.decode`."""
        answer = _decode(body, _TitanAnswer)
        return Embeddings(vectors=(answer.embedding,), input_tokens=answer.input_text_token_count)


class _CohereAnswer(msgspec.Struct, frozen=True, kw_only=True):
    embeddings: list[list[float]]


class CohereEmbeddings:
    """Cohere's embedding models on Bedrock; what the vectors are for must be said."""

    def encode(self, request: EmbeddingsRequest, model: str) -> Outgoing:
        """See `EmbeddingsDialect.encode`. `input_type` is taken from the extras."""
        _texts_only(request, "Cohere on Bedrock", extras=frozenset({"input_type", "truncate"}))
        if "input_type" not in request.extras:
            raise UnsupportedByTarget(
                "input_type: Cohere on Bedrock needs it (`search_document` or `search_query`)",
                param="input_type",
            )
        if request.dimensions is not None:
            raise UnsupportedByTarget("dimensions: Cohere on Bedrock has no such option", param="dimensions")
        body: dict[str, object] = {"texts": request.texts, **request.extras}
        ignored = () if request.user is None else ("user",)
        return Outgoing(
            path=f"/model/{quote(model, safe='')}/invoke", body=msgspec.json.encode(body), ignored=ignored
        )

    def decode(self, body: bytes) -> Embeddings:
        """See `EmbeddingsDialect.decode`."""
        return Embeddings(vectors=tuple(_decode(body, _CohereAnswer).embeddings))


def bedrock_embeddings(model: str) -> EmbeddingsDialect:
    """The dialect of one Bedrock model. Raises UnsupportedByTarget."""
    if "titan-embed" in model:
        return TitanEmbeddings()
    if "cohere.embed" in model:
        return CohereEmbeddings()
    raise UnsupportedByTarget(f"model: `{model}` on Bedrock makes no embeddings that we know", param="model")
