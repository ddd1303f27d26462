"""Simulated traffic: a day that rises and falls, topics that have their hours, and people who talk a lot.

Nothing changes from week to week, unless a shift is planted. Sessions have
several requests on one topic; a tenth of the users has most sessions of theirs
about one thing. A user's session lasts minutes, so requests that stand next to
each other are alike: an i.i.d. sample this is not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final

import msgspec

from bench.signals.corpus import NEW, USUAL, text

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
_MONDAY: Final = 4 * DAY_S
"""The first Monday of 1970."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    id: str
    at: float
    user: str
    session: str
    text: str
    topic: str


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """From `at` on, `share` of sessions are about `topic`; "*" stands for all the new ones together."""

    at: float
    share: float
    topic: str


def requests(
    seed: int,
    *,
    days: float,
    per_day: int,
    shift: Shift | None = None,
    users: int = 400,
    start: float = _MONDAY,
) -> Iterator[Request]:
    """Traffic in order of time."""
    roll = random.Random(seed)
    chatty = {f"user-{number}": roll.choice(list(USUAL)) for number in range(users // 10)}
    made: list[Request] = []
    count = 0
    for hour in range(round(days * 24)):
        at = start + hour * HOUR_S
        mean = per_day / 24 * _activity(at) / _SESSION_MEAN
        for _ in range(_poisson(mean, roll)):
            made += _session(at + roll.random() * HOUR_S, chatty, users, shift, roll, count)
            count += 1
    return iter(sorted(made, key=lambda request: request.at))


_SESSION_MEAN: Final = 2.2


def _session(
    at: float, chatty: dict[str, str], users: int, shift: Shift | None, roll: random.Random, number: int
) -> list[Request]:
    user = roll.choice(list(chatty)) if roll.random() < 0.3 else f"user-{roll.randrange(users)}"
    topic = chatty.get(user, "") if roll.random() < 0.8 else ""
    topic = topic or roll.choices(list(USUAL), [_weight(name, at) for name in USUAL])[0]
    if shift is not None and at >= shift.at and roll.random() < shift.share:
        topic = roll.choice(list(NEW)) if shift.topic == "*" else shift.topic
    found = []
    for turn in range(_geometric(1 / (3.0 if user in chatty else 1.9), roll)):
        found.append(
            Request(
                id=f"r{number}-{turn}",
                at=at,
                user=user,
                session=f"s{number}",
                text=text(topic, roll),
                topic=topic,
            )
        )
        at += roll.expovariate(1 / 60.0)
    return found


def _activity(at: float) -> float:
    """Of an hour, 1.0 on average over a week."""
    hour = at % DAY_S / HOUR_S
    weekend = (at - _MONDAY) % (7 * DAY_S) >= 5 * DAY_S
    return (1.0 + 0.85 * math.sin((hour - 8) / 24 * 2 * math.pi)) * (0.55 if weekend else 1.18)


def _weight(topic: str, at: float) -> float:
    """Topics have hours at which they are asked most, and some are for weekends."""
    place = list(USUAL).index(topic)
    hour = at % DAY_S / HOUR_S
    weekend = (at - _MONDAY) % (7 * DAY_S) >= 5 * DAY_S
    leisure = topic in ("cooking", "travel", "plants")
    return (1.0 + 0.8 * math.sin((hour - 2 * place) / 24 * 2 * math.pi)) * (
        2.5 if weekend and leisure else 1.0
    )


def _poisson(mean: float, roll: random.Random) -> int:
    limit, product, count = math.exp(-mean), roll.random(), 0
    while product > limit:
        product *= roll.random()
        count += 1
    return count


def _geometric(p: float, roll: random.Random) -> int:
    count = 1
    while roll.random() > p and count < 30:
        count += 1
    return count
