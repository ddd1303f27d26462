"""Batches of inputs, taken apart and put together."""

from __future__ import annotations

import json
from array import array
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.embeddings import in_encoding, to_base64
from fairlead.providers.embeddings_batch import parts, put_together, subset, take_apart

numbers = st.floats(-1, 1) | st.floats(-1, 1, width=32)
vectors = st.lists(st.lists(numbers, min_size=1, max_size=4), min_size=1, max_size=5)


def answer(found: list[Any], **fields: Any) -> bytes:
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(found)]
    body = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    return json.dumps(body | fields).encode()


@given(found=vectors, encoding=st.sampled_from(["float", "base64"]))
def test_an_answer_put_together_is_the_answer(
    found: list[list[float]], encoding: Literal["float", "base64"]
) -> None:
    body = answer(found)
    kept, tokens = take_apart(body, len(found))

    again = put_together(kept, encoding=encoding, input_tokens=tokens, model="asked")

    assert json.loads(again) == json.loads(in_encoding(body, encoding))


@given(vectors)
def test_base64_loses_nothing_either(found: list[list[float]]) -> None:
    narrow = [array("f", vector).tolist() for vector in found]
    kept, _ = take_apart(answer([to_base64(vector) for vector in narrow]), len(narrow))

    assert kept == take_apart(answer(narrow), len(narrow))[0]
    again = put_together(kept, encoding="float", input_tokens=0, model="m")
    assert [entry["embedding"] for entry in json.loads(again)["data"]] == narrow


@given(found=vectors, data=st.data())
def test_known_and_asked_for_make_one_answer(found: list[list[float]], data: st.DataObject) -> None:
    kept, _ = take_apart(answer(found), len(found))
    missing = sorted(data.draw(st.sets(st.integers(0, len(found) - 1))))
    known = {place: one for place, one in enumerate(kept) if place not in missing}

    if missing:
        fresh, _ = take_apart(answer([found[place] for place in missing]), len(missing))
        known |= dict(zip(missing, fresh, strict=True))

    assert [known[place] for place in range(len(found))] == kept


def test_vectors_go_by_their_index() -> None:
    body = answer([[1.0], [2.0]])
    turned = body.replace(b'"index": 0', b'"index": 9').replace(b'"index": 1', b'"index": 0')

    assert take_apart(turned.replace(b'"index": 9', b'"index": 1'), 2)[0] == take_apart(body, 2)[0][::-1]


@pytest.mark.parametrize(
    "body",
    [
        answer([[1.0]]),
        answer([[1.0], [2.0], [3.0]]),
        answer([[1.0], [2.0]]).replace(b'"index": 1', b'"index": 0'),
        answer([[1.0], [2.0]]).replace(b'"index": 1', b'"index": 2'),
        answer([[1.0], "not base64!"]),
        answer([[1.0], ["x"]]),
        b"{}",
        b"[",
        b"\xff",
    ],
)
def test_what_is_not_a_vector_for_each_input_is_refused(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        take_apart(body, 2)


def test_a_subset_keeps_every_other_byte() -> None:
    body = b'{"model":"m", "input": ["a", "b\\u00e9", [1,2]],"x": 1.50}'

    assert msgspec.json.decode(subset(body, [1, 2])) == {"model": "m", "input": ["bé", [1, 2]], "x": 1.5}
    assert b"1.50" in subset(body, [0])
    assert b"b\\u00e9" in subset(body, [1])


@pytest.mark.parametrize("given_input", [b'"a"', b"[1,2,3]"])
def test_one_input_is_its_own_subset(given_input: bytes) -> None:
    body = b'{"model":"m","input":%b}' % given_input

    assert subset(body, [0]) == body


@given(tokens=st.integers(0, 10_000), lengths=st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_parts_of_the_tokens_add_up(tokens: int, lengths: list[int]) -> None:
    shares = parts(tokens, lengths)

    assert sum(shares) == tokens
    assert all(share >= 0 for share in shares)
    assert len(shares) == len(lengths)


def test_a_longer_input_has_more_of_the_tokens() -> None:
    assert parts(100, [10, 30, 60]) == [10, 30, 60]
    assert parts(3, [0, 0]) == [2, 1]
