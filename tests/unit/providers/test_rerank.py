"""Reranking answers at a glance."""

from __future__ import annotations

import pytest

from fairlead.providers.rerank import glance
from fairlead.types import FailureKind, Usage


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"model":"m","usage":{"total_tokens":9},"results":[{"index":0,"relevance_score":0.5}]}',
         Usage(input_tokens=9)),
        (b'{"id":"x","results":[],"meta":{"tokens":{"input_tokens":9.0,"output_tokens":1}}}',
         Usage(input_tokens=9, output_tokens=1)),
        (b'{"results":[]}', None),
    ],
)  # fmt: skip
def test_usage_of_all_shapes(body: bytes, usage: Usage | None) -> None:
    glimpse = glance(body)
    assert (glimpse.usage, glimpse.failure, glimpse.ended) == (usage, None, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", FailureKind.BAD_ANSWER),
        (b"{}", FailureKind.BAD_ANSWER),
        (b'{"object":"error","message":"x","code":503}', FailureKind.OVERLOADED),
    ],
)
def test_a_200_that_is_no_answer_is_a_failure(body: bytes, kind: FailureKind) -> None:
    failure = glance(body).failure
    assert failure is not None
    assert failure.kind is kind
