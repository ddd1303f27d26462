"""Usage behind an answer that nobody else reads."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.tail import Tail
from fairlead.types import Usage


def told(body: bytes, *, images: bool = False) -> Usage | None:
    tail = Tail()
    tail.feed(body)
    return tail.usage(images=images)


PICTURE = json.dumps(
    {
        "created": 1,
        "data": [{"b64_json": "iVBO" * 5000}],
        "usage": {
            "total_tokens": 4210,
            "input_tokens": 50,
            "output_tokens": 4160,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        },
    }
).encode()


def test_an_image_answer_tells_its_tokens() -> None:
    assert told(PICTURE, images=True) == Usage(
        input_tokens=50, output_tokens=4160, image_input_tokens=40, image_output_tokens=4160
    )


def test_told_kinds_of_output_are_not_overruled() -> None:
    details = {"text_tokens": 100, "image_tokens": 60}
    usage = {"input_tokens": 1, "output_tokens": 160, "output_tokens_details": details}
    found = told(json.dumps({"data": [], "usage": usage}).encode(), images=True)
    assert found == Usage(input_tokens=1, output_tokens=160, image_output_tokens=60)


def test_a_transcription_counts_tokens_or_seconds() -> None:
    by_token = (
        b'{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":'
        b'{"text_tokens":4,"audio_tokens":10},"output_tokens":45,"total_tokens":59}}'
    )
    assert told(by_token) == Usage(input_tokens=14, output_tokens=45, audio_input_tokens=10)
    assert told(b'{"text":"Hi","usage":{"type":"duration","seconds":27}}\n') == Usage(audio_s=27)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RIFF\x00\x01usage",
        b'{"text":"the \\"usage\\": {}"}',
        b'{"usage":{"input_tokens":1',
        b'{"usage":[1]}',
        b'{"usage":null}',
        b'{"usage":{"seconds":-4}}',
        b'{"usage":{"seconds":1e300}}',
    ],
)
def test_whatever_tells_nothing_costs_nothing(body: bytes) -> None:
    assert told(body) is None


@given(st.lists(st.integers(1, len(PICTURE)), max_size=5))
def test_however_the_answer_is_split(cuts: list[int]) -> None:
    tail = Tail()
    edges = [0, *sorted(cuts), len(PICTURE)]
    for start, end in itertools.pairwise(edges):
        tail.feed(PICTURE[start:end])
    assert tail.usage(images=True) == told(PICTURE, images=True)


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    told(b'"usage":' + data + b"}")
