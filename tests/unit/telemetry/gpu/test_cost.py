"""GPU time shared among requests: to the micro-dollar, whatever the requests."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.config.scrape_options import ApiPrice, GpuPool
from fairlead.telemetry.gpu.cost import (
    ASSUMED,
    HOUR_US,
    WINDOW_US,
    Piece,
    Share,
    Weights,
    Window,
    apportion,
    break_even,
    close,
    cost_between,
    price_microusd,
    weights_of,
    work_until,
)
from fairlead.telemetry.scrapers.engine import Work

MINUTE = WINDOW_US
BASE = 1_700_000_040 * 1_000_000  # on a minute
EQUAL = Weights(1, 1, "configured")


def piece(number: int = 0, **fields: int) -> Piece:
    defaults = {
        "started_us": BASE, "first_us": BASE + 10_000_000, "ended_us": BASE + 30_000_000, "input_tokens": 100,
        "cached_tokens": 0, "output_tokens": 100,
    }  # fmt: skip
    return Piece(id=f"r{number}", attempt=0, target="lab/big", **{**defaults, **fields})  # type: ignore[arg-type]  # numbers


def closed(
    *pieces: Piece,
    start_us: int = BASE,
    price: int = 3_600_000,
    gpus: int = 1,
    replicas: int = 1,
    weights: Weights = EQUAL,
) -> tuple[Window, list[Share]]:
    return close(
        pieces,
        start_us=start_us,
        end_us=start_us + MINUTE,
        microusd_per_hour=price,
        gpus=gpus,
        replicas=replicas,
        weights=weights,
    )


def test_a_window_costs_its_part_of_the_hour_and_is_used_as_long_as_a_request_runs() -> None:
    window, (share,) = closed(piece())

    assert window.reserved_microusd == 60_000
    assert (window.used_microusd, window.idle_microusd) == (30_000, 30_000)
    assert (share.microusd, share.gpu_us) == (30_000, 30_000_000)


def test_nobody_there_all_is_idle() -> None:
    window, shares = closed()

    assert (window.used_microusd, window.idle_microusd, shares) == (0, 60_000, [])


def test_requests_that_run_together_share_by_their_work() -> None:
    window, shares = closed(piece(1, output_tokens=300), piece(2, input_tokens=0, output_tokens=100))

    assert window.used_microusd == 30_000  # the same half minute
    assert [share.microusd for share in shares] == [24_000, 6_000]


def test_cached_prompt_tokens_are_no_work() -> None:
    _, shares = closed(piece(1, input_tokens=300, cached_tokens=300), piece(2, input_tokens=300))

    assert [share.microusd for share in shares] == [6_000, 24_000]


def test_replicas_are_busy_one_by_one() -> None:
    together = (piece(1), piece(2), piece(3))

    assert closed(piece(1), gpus=4, replicas=2)[0].used_microusd == 60_000  # one of two, half of the time
    assert closed(*together, gpus=4, replicas=2)[0].used_microusd == 120_000
    assert closed(*together, gpus=4, replicas=2)[0].gpu_us == 4 * 30_000_000


def test_a_request_that_spans_windows_is_charged_in_each_for_its_work_there() -> None:
    times = {"started_us": BASE, "first_us": BASE + MINUTE, "ended_us": BASE + 2 * MINUTE}
    first = closed(piece(**times))
    begun = msgspec.structs.replace(piece(**times), begun=True)
    other = piece(9, **{**times, "started_us": BASE + MINUTE, "input_tokens": 0})
    second = closed(begun, other, start_us=BASE + MINUTE)

    assert (first[0].requests, second[0].requests) == (0, 2)
    assert [share.microusd for share in first[1]] == [60_000]
    assert [share.microusd for share in second[1]] == [30_000, 30_000]


def test_a_late_record_has_a_share_of_what_others_used_and_adds_no_time() -> None:
    late = piece(7, started_us=BASE - 5 * MINUTE, first_us=BASE - 4 * MINUTE, ended_us=BASE - 3 * MINUTE)

    window, shares = closed(late, piece(1))

    assert window.used_microusd == 30_000
    assert [share.microusd for share in shares] == [15_000, 15_000]
    assert closed(late)[0].used_microusd == 0


def test_one_without_tokens_has_the_time_it_took() -> None:
    (share,) = closed(piece(input_tokens=0, output_tokens=0))[1]

    assert share.microusd == 30_000


_times = st.lists(st.integers(-10 * MINUTE, 70 * MINUTE), min_size=3, max_size=3).map(sorted)
_pieces = st.lists(
    st.tuples(
        _times, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 30)
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    _pieces,
    st.integers(0, 50_000_000),
    st.integers(1, 16),
    st.integers(1, 16),
    st.sampled_from([EQUAL, ASSUMED, Weights(0, 7, "configured"), Weights(10**9, 123_456_789, "learned")]),
)
def test_an_hour_adds_up_to_its_price_exactly(
    drawn: list[tuple[list[int], int, int, int, int]], price: int, gpus: int, replicas: int, weights: Weights
) -> None:
    """Requests that span windows, run together or come late: the loop of `gpu_accounts`, in memory."""
    hour = [
        (
            piece(number, started_us=BASE + times[0], first_us=BASE + times[1], ended_us=BASE + times[2],
                  input_tokens=tokens, cached_tokens=cached, output_tokens=output),
            BASE + times[2] + delay * MINUTE,
        )
        for number, (times, tokens, cached, output, delay) in enumerate(drawn)
    ]  # fmt: skip
    pending: list[Piece] = []
    reserved = used = idle = shared = gpu_us = shared_us = 0
    for start in range(BASE, BASE + HOUR_US, WINDOW_US):
        end = start + WINDOW_US
        pending += [one for one, seen in hour if start <= seen < end]
        due = [one for one in pending if one.started_us < end]
        window, shares = closed(
            *due, start_us=start, price=price, gpus=gpus, replicas=min(replicas, gpus), weights=weights
        )
        reserved += window.reserved_microusd
        used += window.used_microusd
        idle += window.idle_microusd
        gpu_us += window.gpu_us
        shared += sum(share.microusd for share in shares)
        shared_us += sum(share.gpu_us for share in shares)
        assert 0 <= window.used_microusd <= window.reserved_microusd
        assert window.gpu_us <= gpus * WINDOW_US
        assert all(share.microusd >= 0 and share.gpu_us >= 0 for share in shares)
        begun = {share.piece.id for share in shares}
        pending = [
            msgspec.structs.replace(one, begun=one.begun or one.id in begun)
            for one in pending
            if not (one.id in begun and one.ended_us <= end)
        ]

    assert reserved == price * gpus
    assert shared == used
    assert used + idle == reserved
    assert shared_us == gpu_us


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**15), max_size=30))
def test_parts_are_fair_to_a_unit_and_add_up(amount: int, works: list[int]) -> None:
    parts = apportion(amount, works)

    total = sum(works)
    assert sum(parts) == (amount if total else 0)
    for part, work in zip(parts, works, strict=True):
        if total:
            assert abs(part - amount * work / total) < 1.0 + 1e-6 * amount


@given(st.integers(0, 10**8), st.lists(st.integers(0, 10**15), min_size=2, max_size=10).map(sorted))
def test_adjacent_stretches_cost_what_the_whole_does(price: int, moments: list[int]) -> None:
    pieces = pairwise(moments)

    assert sum(cost_between(price, start, end) for start, end in pieces) == cost_between(
        price, moments[0], moments[-1]
    )


@given(_times, st.lists(st.integers(-20 * MINUTE, 90 * MINUTE), max_size=6).map(sorted))
def test_work_never_goes_down_and_is_whole_at_the_end(times: list[int], moments: list[int]) -> None:
    one = piece(started_us=BASE + times[0], first_us=BASE + times[1], ended_us=BASE + times[2])

    done = [work_until(one, ASSUMED, BASE + at) for at in moments]

    assert done == sorted(done)
    assert work_until(one, ASSUMED, one.ended_us) == 100 * ASSUMED.prompt + 100 * ASSUMED.output


def pool(**fields: object) -> GpuPool:
    return GpuPool(targets=["lab/big"], usd_per_hour=2.5, count=1, **fields)  # type: ignore[arg-type]  # of the test


def test_weights_are_configured_else_learned_else_assumed() -> None:
    seen = Work(prefill_s=10.0, decode_s=200.0, prompt_tokens=100_000, output_tokens=20_000)

    assert weights_of(pool(prompt_weight=1.0, output_weight=3.0), [seen]) == Weights(
        10**9, 3 * 10**9, "configured"
    )
    assert weights_of(pool(), [seen]) == Weights(10**9, 100 * 10**9, "learned")
    assert weights_of(pool(), [seen, seen]) == weights_of(pool(), [seen])
    assert weights_of(pool(), []) == ASSUMED
    assert weights_of(pool(), [Work(prefill_s=1, decode_s=1, prompt_tokens=10, output_tokens=10)]) == ASSUMED
    assert (
        weights_of(pool(), [Work(prefill_s=1e-9, decode_s=1e9, prompt_tokens=1e6, output_tokens=1e4)]).output
        == 10**12
    )


def test_the_break_even_is_how_many_times_the_traffic_would_cost_as_much() -> None:
    found = break_even(
        2_000_000, 1_000_000, 500_000, ApiPrice(input_usd_per_mtok=0.2, output_usd_per_mtok=0.6)
    )

    assert (found.api_microusd, found.saved_microusd, found.times) == (500_000, -1_500_000, 4.0)
    assert break_even(5, 0, 0, ApiPrice(input_usd_per_mtok=1, output_usd_per_mtok=1)).times is None


@pytest.mark.parametrize(("usd", "expected"), [(2.5, 2_500_000), (0.1 + 0.2, 300_000), (0, 0)])
def test_a_price_is_whole_micro_dollars(usd: float, expected: int) -> None:
    assert price_microusd(usd) == expected
