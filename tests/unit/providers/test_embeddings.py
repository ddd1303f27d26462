"""Embeddings: requests, encodings and other dialects."""

from __future__ import annotations

import base64
import json
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer, InvalidRequest, UnsupportedByTarget
from fairlead.providers.embeddings import (
    CohereEmbeddings,
    Embeddings,
    EmbeddingsRequest,
    GeminiEmbeddings,
    TitanEmbeddings,
    bedrock_embeddings,
    from_base64,
    glance,
    in_encoding,
    parse_embeddings,
    render_embeddings,
    to_base64,
)
from fairlead.types import FailureKind, Usage

VECTORS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@given(VECTORS)
def test_base64_is_little_endian_floats_and_back(vector: list[float]) -> None:
    text = to_base64(vector)
    assert base64.b64decode(text) == struct.pack(f"<{len(vector)}f", *vector)
    assert from_base64(text) == vector


@pytest.mark.parametrize("text", ["!", "AAA=", "AAAAAAA="])
def test_what_is_no_base64_of_floats_is_refused(text: str) -> None:
    with pytest.raises(BadUpstreamAnswer):
        from_base64(text)


def test_a_number_that_is_no_32_bit_float_is_refused() -> None:
    with pytest.raises(BadUpstreamAnswer, match="32-bit"):
        to_base64([1.0, 1e300])


def parse(**fields: object) -> EmbeddingsRequest:
    return parse_embeddings(json.dumps({"model": "m"} | fields).encode())


def test_inputs_of_all_kinds() -> None:
    assert parse(input="a").texts == ("a",)
    assert parse(input=["a", "b"]).texts == ("a", "b")
    assert parse(input=[1, 2]).tokens == ((1, 2),)
    assert parse(input=[[1, 2], [3]]).tokens == ((1, 2), (3,))
    request = parse(input="a", encoding_format="base64", dimensions=8, user="u", truncate="NONE")
    assert (request.encoding, request.dimensions, request.user) == ("base64", 8, "u")
    assert request.extras == {"truncate": msgspec.Raw(b'"NONE"')}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, [2]]}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_what_is_invalid_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def native(*embeddings: object) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 4}}).encode()


def test_an_answer_gets_the_encoding_that_was_asked_for() -> None:
    floats, packed = native([1.0, 2.5]), native(to_base64([1.0, 2.5]))
    assert in_encoding(floats, "float") is floats
    assert in_encoding(packed, "base64") is packed
    assert json.loads(in_encoding(floats, "base64")) == json.loads(packed)
    assert json.loads(in_encoding(packed, "float")) == json.loads(floats)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data":[{}]}', b'{"data":[{"embedding":["a"]}]}'])
def test_what_holds_no_embeddings_is_refused(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        in_encoding(body, "base64")


def test_a_native_answer_at_a_glance() -> None:
    glimpse = glance(native([1.0]))
    assert (glimpse.usage, glimpse.model, glimpse.ended) == (Usage(input_tokens=4), "m", True)
    for body, kind in (
        (b"{}", FailureKind.BAD_ANSWER),
        (b"<", FailureKind.BAD_ANSWER),
        (b'{"error":{"message":"x","code":"rate_limit_exceeded"}}', FailureKind.RATE_LIMITED),
    ):
        failure = glance(body).failure
        assert failure is not None
        assert failure.kind is kind


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_rendering(encoding: str) -> None:
    answer = Embeddings(vectors=([1.0], [2.0]), input_tokens=3)
    body = json.loads(render_embeddings(answer, parse(input=["a", "b"], encoding_format=encoding)))
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert [entry["index"] for entry in body["data"]] == [0, 1]
    shown = [entry["embedding"] for entry in body["data"]]
    assert shown == ([[1.0], [2.0]] if encoding == "float" else [to_base64([1.0]), to_base64([2.0])])


def test_gemini() -> None:
    outgoing = GeminiEmbeddings().encode(
        parse(input=["a", "b"], dimensions=8, user="u"), "text-embedding-004"
    )
    assert outgoing.path == "/models/text-embedding-004:batchEmbedContents"
    assert outgoing.ignored == ("user",)
    assert json.loads(outgoing.body)["requests"][1] == {
        "model": "models/text-embedding-004",
        "content": {"parts": [{"text": "b"}]},
        "outputDimensionality": 8,
    }
    answer = GeminiEmbeddings().decode(b'{"embeddings":[{"values":[1.0]},{"values":[2]}]}')
    assert answer.vectors == ([1.0], [2.0])


def test_titan_takes_one_text() -> None:
    outgoing = bedrock_embeddings("amazon.titan-embed-text-v2:0").encode(
        parse(input="a", dimensions=256), "amazon.titan-embed-text-v2:0"
    )
    assert outgoing.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert json.loads(outgoing.body) == {"inputText": "a", "dimensions": 256}
    answer = TitanEmbeddings().decode(b'{"embedding":[1],"inputTextTokenCount":5}')
    assert answer == Embeddings(vectors=([1.0],), input_tokens=5)
    with pytest.raises(UnsupportedByTarget, match="one text"):
        TitanEmbeddings().encode(parse(input=["a", "b"]), "m")


def test_cohere_must_know_what_for() -> None:
    dialect = bedrock_embeddings("cohere.embed-english-v3")
    with pytest.raises(UnsupportedByTarget, match="input_type"):
        dialect.encode(parse(input="a"), "m")
    outgoing = dialect.encode(parse(input="a", input_type="search_query"), "m")
    assert json.loads(outgoing.body) == {"texts": ["a"], "input_type": "search_query"}
    assert CohereEmbeddings().decode(b'{"embeddings":[[1,2]]}').vectors == ([1.0, 2.0],)


@pytest.mark.parametrize("dialect", [GeminiEmbeddings(), TitanEmbeddings(), CohereEmbeddings()])
def test_tokens_and_unknown_options_are_refused_by_name(dialect: GeminiEmbeddings) -> None:
    with pytest.raises(UnsupportedByTarget, match="input"):
        dialect.encode(parse(input=[1]), "m")
    with pytest.raises(UnsupportedByTarget, match="surprise"):
        dialect.encode(parse(input="a", surprise=1), "m")
    with pytest.raises(BadUpstreamAnswer):
        dialect.decode(b"{}")


def test_other_bedrock_models_make_no_embeddings() -> None:
    with pytest.raises(UnsupportedByTarget):
        bedrock_embeddings("anthropic.claude")
