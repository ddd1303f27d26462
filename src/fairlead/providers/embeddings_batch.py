"""A batch of inputs to embed, taken apart and put together: known vectors are not asked for again.

Pure, on bytes. A vector is kept as its numbers, exactly as they came: 32-bit
floats where that loses nothing, else 64-bit ones. Usage is one number for a
batch; each input gets its part by length, so that the parts add up.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.embeddings import from_base64
from fairlead.providers.openai_usage import read_usage
from fairlead.providers.raw import NOTHING
from fairlead.providers.rewrite import object_fields, replace_fields

_BIG_ENDIAN: Final = sys.byteorder == "big"


class Vector(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One input's answer, as it is kept."""

    model: str
    """The upstream's word for who made it."""
    kind: Literal["f", "d"]
    """32-bit or 64-bit floats."""
    data: bytes
    """Little-endian."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    embedding: str | list[float]
    index: int | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    data: list[_Entry]
    model: str = ""
    usage: msgspec.Raw = NOTHING


_answer: Final = msgspec.json.Decoder(_Answer)
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(Vector).decode


def subset(body: bytes, wanted: Sequence[int]) -> bytes:
    """A client's body with only the inputs at these places; every other field keeps its bytes."""
    given = bytes(object_fields(body)["input"])
    if not given.startswith(b"["):
        return body
    entries = msgspec.json.decode(given, type=list[msgspec.Raw])
    if not bytes(entries[0]).startswith((b'"', b"[", b"{")):
        return body  # tokens of one input
    return replace_fields(body, {"input": msgspec.json.encode([entries[place] for place in wanted])})


def take_apart(body: bytes, count: int) -> tuple[list[bytes], int]:
    """The vectors of a whole answer in the order of the inputs, each to be kept, and its input tokens.

    Raises:
        BadUpstreamAnswer: it is not one vector for each of `count` inputs.
    """
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpstreamAnswer(f"the upstream's answer is not a list of embeddings: {error}") from error
    found: dict[int, bytes] = {}
    for place, entry in enumerate(answer.data):
        vector = _exact(entry.embedding)
        data = vector
        if _BIG_ENDIAN:
            data = array(vector.typecode, vector)
            data.byteswap()
        kind: Literal["f", "d"] = "f" if vector.typecode == "f" else "d"
        kept = Vector(model=answer.model, kind=kind, data=data.tobytes())
        found[place if entry.index is None else entry.index] = _pack(kept)
    if len(answer.data) != count or found.keys() != set(range(count)):
        raise BadUpstreamAnswer(f"the upstream answered {len(answer.data)} of {count} inputs with a vector")
    usage = read_usage(answer.usage)
    return [found[place] for place in range(count)], usage.input_tokens if usage is not None else 0


def put_together(
    vectors: Sequence[bytes], *, encoding: Literal["float", "base64"], input_tokens: int, model: str
) -> bytes:
    """The client's `list` object out of kept vectors.

    Args:
        vectors: as `take_apart` gave them, in the order of the inputs.
        encoding: what the client asked for.
        input_tokens: of all inputs together.
        model: stands in where the upstream named none.
    """
    kept = [_unpack(vector) for vector in vectors]
    data = [
        {"object": "embedding", "index": index, "embedding": _shown(vector, encoding)}
        for index, vector in enumerate(kept)
    ]
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    named = next((vector.model for vector in kept if vector.model), model)
    return msgspec.json.encode({"object": "list", "data": data, "model": named, "usage": usage})


def parts(tokens: int, lengths: Sequence[int]) -> list[int]:
    """What each input is of a batch's tokens, by its length; together exactly `tokens`."""
    total = sum(lengths)
    if total <= 0:
        return [tokens // len(lengths) + (place < tokens % len(lengths)) for place in range(len(lengths))]
    shares: list[int] = []
    passed = given = 0
    for length in lengths:
        passed += length
        share = tokens * passed // total - given
        given += share
        shares.append(share)
    return shares


def _exact(embedding: str | list[float]) -> array[float]:
    """The numbers, in 32 bits where those are all there is to them."""
    if isinstance(embedding, str):
        return array("f", from_base64(embedding))
    exact = array("d", embedding)
    try:
        narrow = array("f", embedding)
    except OverflowError:
        return exact
    return narrow if array("d", narrow) == exact else exact


def _shown(vector: Vector, encoding: Literal["float", "base64"]) -> object:
    numbers = array(vector.kind)
    numbers.frombytes(vector.data)
    if _BIG_ENDIAN:
        numbers.byteswap()
    if encoding == "float":
        return numbers.tolist()
    if vector.kind == "f":
        return base64.b64encode(vector.data).decode("ascii")
    narrow = array("f", numbers)
    if _BIG_ENDIAN:
        narrow.byteswap()
    return base64.b64encode(narrow.tobytes()).decode("ascii")
