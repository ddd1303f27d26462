"""Drift detection keeps its level on traffic with days, weeks and chatty users, and finds planted shifts.

By simulation with seeds, on vectors without a model; `bench.signals.drift` does
the same with more runs, and with MiniLM.
"""

from __future__ import annotations

import pytest
from bench.signals.corpus import NEW, USUAL
from bench.signals.drift import Embedder, month, run
from bench.signals.traffic import DAY_S, Shift, requests

from fairlead.signals.board import Policy
from fairlead.signals.hashed import vectors

SMALL = Policy(window=100, least_reference=150, most_reference=500, reference_days=14)
PER_DAY = 700


@pytest.fixture(scope="module")
def embed() -> Embedder:
    return Embedder(vectors)


def test_traffic_has_days_weeks_and_people_who_talk_a_lot() -> None:
    found = list(requests(3, days=14, per_day=2000))

    by_hour = [sum(int(request.at % DAY_S // 3600) == hour for request in found) for hour in range(24)]
    assert max(by_hour) > 4 * min(by_hour)
    users = sorted(
        (sum(request.user == user for request in found) for user in {one.user for one in found}), reverse=True
    )
    assert sum(users[:40]) > 0.25 * len(found)
    weekday = [
        request
        for request in found
        if request.at % (7 * DAY_S) >= 4 * DAY_S or request.at % (7 * DAY_S) < 2 * DAY_S
    ]
    assert len(weekday) > 0.75 * len(found)
    assert {request.topic for request in found} == set(USUAL)


def test_a_planted_shift_is_in_the_traffic_from_its_moment() -> None:
    shift = Shift(at=4 * DAY_S + 3 * DAY_S, share=0.3, topic="pets")
    found = list(requests(3, days=6, per_day=2000, shift=shift))

    assert not any(request.topic in NEW for request in found if request.at < shift.at)
    after = [request.topic == "pets" for request in found if request.at >= shift.at + 3600]
    assert 0.2 < sum(after) / len(after) < 0.4


def test_false_alarms_stay_within_the_budget(embed: Embedder) -> None:
    """Five days of unchanged traffic, twice: the budget allows them 0.22 alarms together."""
    done = [month(seed, embed, policy=SMALL, per_day=PER_DAY, days=5) for seed in range(2)]

    comparisons, alarms = (sum(column) for column in zip(*done, strict=True))
    assert comparisons >= 50
    # Of a Poisson number with mean 0.22, three and more have a chance of 0.15 %.
    assert alarms <= 2


def test_p_values_of_unchanged_traffic_keep_their_level(embed: Embedder) -> None:
    p = [
        result.p_value
        for seed in range(24)
        for result in run(seed, embed, policy=SMALL, shift=None, days=14, per_day=PER_DAY, within=100).results
    ]

    assert len(p) >= 20
    # Bonferroni keeps the whole at or below its level; 3 standard errors for the draw.
    for level in (0.05, 0.2):
        assert (
            sum(value <= level for value in p) / len(p) <= level + 3 * (level * (1 - level) / len(p)) ** 0.5
        )


def test_a_large_shift_is_found(embed: Embedder) -> None:
    done = [
        run(seed, embed, policy=SMALL, shift=(0.4, "health"), days=14, per_day=PER_DAY, within=300)
        for seed in range(4)
    ]

    assert sum(one.found for one in done) >= 3
