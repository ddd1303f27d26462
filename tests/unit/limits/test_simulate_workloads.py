"""The workloads are those of the published experiments."""

from __future__ import annotations

from collections import Counter

import pytest

from fairlead.limits.simulate_workloads import WORKLOADS


def counts(name: str, start: float = 0.0, end: float | None = None) -> list[int]:
    """Requests of each client between two times."""
    workload = WORKLOADS[name]
    found = Counter(
        one.client
        for one in workload.arrivals(end or workload.duration_s, seed=1)
        if one.at_s >= start and one.at_s < (end or workload.duration_s)
    )
    return [found[client] for client in range(len(workload.clients))]


@pytest.mark.parametrize("name", WORKLOADS)
def test_arrivals_are_in_order_within_the_time_and_reproducible(name: str) -> None:
    workload = WORKLOADS[name]
    first = workload.arrivals(workload.duration_s, seed=3)
    assert first == workload.arrivals(workload.duration_s, seed=3)
    assert [one.at_s for one in first] == sorted(one.at_s for one in first)
    assert 0.0 <= first[0].at_s < first[-1].at_s < workload.duration_s
    assert {one.client for one in first} == set(range(len(workload.clients)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("overload", [540, 1080]),
        ("flood", [180, 2880]),
        ("overload-multi", [144] * 3 + [216] * 5),
        ("overload-weighted", [288, 288, 432, 576]),
        ("proportional", [150, 300, 900]),
        ("on_off_less", [150, 1200]),
        ("on_off_overload", [600, 1800]),
        ("dist_shift", [90 + 300 + 150, 600 + 300 + 450]),
    ],
)
def test_even_rates(name: str, expected: list[int]) -> None:
    assert counts(name) == expected


def test_off_minutes_are_silent() -> None:
    assert counts("on_off_less", 60, 120) == [0, 120]
    assert counts("on_off_less", 120, 180) == [30, 120]


def test_the_rate_increases() -> None:
    early, late = counts("increase", 0, 60)[1], counts("increase", 540, 600)[1]
    assert early < 20
    assert late > 105


def test_random_arrivals_have_their_rates_and_lengths() -> None:
    short, long = counts("poisson_short_long")
    assert abs(short - 4800) < 250
    assert abs(long - 900) < 110
    arrivals = WORKLOADS["poisson_short_long"].arrivals(600.0, seed=1)
    assert {(one.client, one.input_tokens, one.output_tokens) for one in arrivals} == {
        (0, 64, 64),
        (1, 256, 256),
    }
    assert arrivals != WORKLOADS["poisson_short_long"].arrivals(600.0, seed=2)
