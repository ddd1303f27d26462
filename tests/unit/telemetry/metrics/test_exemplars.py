"""Traces that stand for buckets."""

from __future__ import annotations

import pytest

from fairlead.telemetry.metrics.exemplars import Exemplars, sampled_trace
from fairlead.telemetry.metrics.samples import Exemplar

TRACE = "0af7651916cd43dd8448eb211c80319c"


def seen(bucket: int, trace: str = TRACE, at: float = 1.0) -> Exemplar:
    return Exemplar(bucket=bucket, trace_id=trace, value=0.5, at=at)


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-0b", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-00", ""),
        (f"00-{TRACE}-b7ad6b7169203331-0a", ""),
        ("", ""),
        ("00-short-01", ""),
    ],
)
def test_only_sampled_traces_count(parent: str, expected: str) -> None:
    assert sampled_trace(parent) == expected


def test_the_latest_trace_of_a_bucket_is_kept() -> None:
    kept = Exemplars()
    kept.note("h", ("a",), seen(3, "1" * 32))
    kept.note("h", ("a",), seen(1))
    kept.note("h", ("a",), seen(3, "2" * 32))
    kept.note("h", ("b",), seen(0))
    kept.note("other", ("a",), seen(2))

    assert kept.of("h") == {("a",): (seen(1), seen(3, "2" * 32)), ("b",): (seen(0),)}


def test_their_number_is_bounded_and_known_buckets_go_on() -> None:
    kept = Exemplars(most=10)
    for number in range(1000):
        kept.note("h", (str(number),), seen(0))
    kept.note("h", ("3",), seen(0, "9" * 32))

    found = kept.of("h")
    assert len(found) == 10
    assert found[("3",)] == (seen(0, "9" * 32),)
