"""Trace contexts: what is taken of a client's, and what upstreams are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.otel.trace_context import Sampler, valid_parent, valid_state

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def bits_of(*numbers: int) -> Callable[[int], int]:
    """A source of the given numbers, one after the other."""
    left = list(numbers)
    return lambda count: left.pop(0) % 2**count


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what-will-come", f"cc-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"cc-{TRACE}-{SPAN}-01.more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}", ""),
        ("", ""),
    ],
)
def test_only_a_valid_parent_is_taken(value: str, expected: str) -> None:
    assert valid_parent(value.encode()) == expected


@given(st.binary(max_size=100))
def test_what_is_taken_is_one_harmless_line(value: bytes) -> None:
    assert valid_parent(value) == "" or len(valid_parent(value)) == 55
    state = valid_state(value)
    assert state.isprintable()
    assert state.isascii()


def test_no_header_is_no_context() -> None:
    assert valid_parent(None) == valid_state(None) == ""
    assert valid_state(b"a=1" * 200) == ""


def test_a_request_continues_its_clients_trace_with_a_span_of_its_own() -> None:
    sampler = Sampler(0.0, parent_based=True, bits=bits_of(0xAB, 0xCD))

    trace = sampler.begin(f"00-{TRACE}-{SPAN}-01", "vendor=1")

    assert trace.parent() == f"00-{TRACE}-00000000000000ab-01"
    span_id = trace.new_id()
    assert span_id == "00000000000000cd"
    assert trace.lines(span_id) == (
        f"traceparent: 00-{TRACE}-{span_id}-01\r\ntracestate: vendor=1\r\n".encode()
    )


def test_without_a_client_the_trace_is_new() -> None:
    trace = Sampler(1.0, parent_based=True, bits=bits_of(0x1234, 0x56)).begin("", "")

    assert trace.parent() == f"00-{0x1234:032x}-{0x56:016x}-01"
    assert trace.lines("0" * 15 + "1") == f"traceparent: 00-{0x1234:032x}-{'0' * 15}1-01\r\n".encode()


def test_an_id_is_never_zero() -> None:
    trace = Sampler(0.0, parent_based=True, bits=bits_of(0, 0)).begin("", "")

    assert int(trace.trace_id, 16) == int(trace.span_id, 16) == 1


@pytest.mark.parametrize("flags", ["00", "02"])
def test_a_client_that_does_not_sample_decides(flags: str) -> None:
    trace = Sampler(1.0, parent_based=True, bits=bits_of(1)).begin(f"00-{TRACE}-{SPAN}-{flags}", "")

    assert not trace.sampled
    assert trace.parent().endswith("-00")


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, False), (1.0, True)])
def test_the_share_decides_where_clients_are_not_trusted_with_it(ratio: float, expected: bool) -> None:
    for flags in ("00", "01"):
        trace = Sampler(ratio, parent_based=False, bits=bits_of(1)).begin(f"00-{TRACE}-{SPAN}-{flags}", "")
        assert trace.sampled is expected


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_the_same_trace_is_decided_alike_everywhere(number: int, ratio: float) -> None:
    ours = Sampler(ratio, parent_based=False, bits=bits_of(number, 1)).begin("", "")
    other = Sampler(ratio, parent_based=False, bits=bits_of(1)).begin(f"00-{number:032x}-{SPAN}-00", "")

    assert ours.trace_id == other.trace_id
    assert ours.sampled == other.sampled


def test_the_share_is_one_of_the_ids() -> None:
    quarter = Sampler(0.25, parent_based=True, bits=bits_of(2**62 - 1, 1, 2**62, 1))

    assert quarter.begin("", "").sampled
    assert not quarter.begin("", "").sampled
