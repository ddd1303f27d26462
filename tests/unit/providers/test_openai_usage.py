"""One meaning for the many spellings of usage."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.openai_usage import chat_usage, read_usage, responses_usage
from fairlead.types import Usage


def read(**fields: object) -> Usage | None:
    return read_usage(msgspec.Raw(json.dumps(fields).encode()))


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
         Usage(input_tokens=9, output_tokens=4)),
        ({"prompt_tokens": 9, "completion_tokens": 4,
          "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2, "audio_tokens": 1},
          "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1,
                                        "accepted_prediction_tokens": 0}},
         Usage(input_tokens=9, output_tokens=4, cache_read_tokens=5, cache_write_tokens=2,
               audio_input_tokens=1, reasoning_tokens=3, audio_output_tokens=1)),
        ({"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 5},
          "output_tokens_details": {"reasoning_tokens": 3}},
         Usage(input_tokens=9, output_tokens=4, cache_read_tokens=5, reasoning_tokens=3)),
        # DeepSeek
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 6},
         Usage(input_tokens=9, output_tokens=4, cache_read_tokens=6)),
        # Moonshot
        ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 6},
         Usage(input_tokens=9, output_tokens=4, cache_read_tokens=6)),
        # SGLang
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "reasoning_tokens": 2,
          "prompt_tokens_details": None},
         Usage(input_tokens=9, output_tokens=4, reasoning_tokens=2)),
        # xAI: reasoning beside the completion
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 33,
          "completion_tokens_details": {"reasoning_tokens": 20}},
         Usage(input_tokens=9, output_tokens=24, reasoning_tokens=20)),
        # embeddings, rerank
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(input_tokens=9)),
        ({"total_tokens": 9}, Usage(input_tokens=9)),
        ({"prompt_tokens": -1, "completion_tokens": None}, Usage()),
        ({}, None),
        ({"prompt_tokens": "many"}, None),
    ],
)  # fmt: skip
def test_spellings(fields: dict[str, object], usage: Usage | None) -> None:
    assert read(**fields) == usage


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"5", b"{"])
def test_what_is_no_usage_is_none(raw: bytes) -> None:
    assert read_usage(msgspec.Raw(raw)) is None


COUNT = st.integers(0, 1_000_000)


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_what_is_rendered_reads_the_same(
    into: int, out: int, cached: int, written: int, thought: int
) -> None:
    usage = Usage(
        input_tokens=into + cached + written,
        output_tokens=out + thought,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=thought,
    )
    for shown in (chat_usage(usage), responses_usage(usage)):
        assert read_usage(msgspec.Raw(msgspec.json.encode(shown))) == usage
