"""The published workloads of fair serving, as arrivals.

Rates, lengths and durations are those of the experiments of Sheng et al.
(2024; the artifact's `fair_bench`). `flood` is the promise in words: a quiet
client beside a runaway one. Uniform arrivals are evenly spaced; random ones
come from a seed, so that every run gives the same table.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

_SECONDS_OFF: Final = 60.0
_TOKENS: Final = 256


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    at_s: float
    client: int
    input_tokens: int
    output_tokens: int


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One client of a workload."""

    name: str
    pattern: str
    """What it sends, in words."""
    weight: float = 1.0


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A set of clients and when they send what."""

    name: str
    about: str
    """One line."""
    duration_s: float
    clients: tuple[Client, ...]
    send: Callable[[float, random.Random], Iterator[Arrival]]
    """Arrivals before a time, in any order."""

    def arrivals(self, until_s: float, seed: int) -> list[Arrival]:
        """All requests that arrive before `until_s`, in order of arrival."""
        # S311: a reproducible sequence is wanted, not an unpredictable one.
        return sorted(self.send(until_s, random.Random(seed)), key=lambda one: one.at_s)  # noqa: S311


def _even(client: int, rate: float, start: float, end: float, *, on_off: bool = False) -> Iterator[Arrival]:
    """Evenly spaced from `start`; with `on_off` every second minute is silent."""
    count = 0
    # Clients begin a little apart, else equal rates would always meet in the same order.
    offset = start + (0.5 + 0.01 * client) / rate
    while (at := offset + count / rate) < end:
        count += 1
        if not (on_off and int(at // _SECONDS_OFF) % 2):
            yield Arrival(at, client, _TOKENS, _TOKENS)


def _steady(*rates: float, on_off: bool = False) -> Callable[[float, random.Random], Iterator[Arrival]]:
    def send(until: float, chance: random.Random) -> Iterator[Arrival]:
        for client, rate in enumerate(rates):
            yield from _even(client, rate, 0.0, until, on_off=on_off and client == 0)

    return send


def _increase(until: float, chance: random.Random) -> Iterator[Arrival]:
    yield from _even(0, 0.5, 0.0, until)
    at, first, last, over = 0.0, 0.2, 2.0, 600.0
    while (at := at + 1.0 / (first + (last - first) * min(at / over, 1.0))) < until:
        yield Arrival(at, 1, _TOKENS, _TOKENS)


def _short_long(until: float, chance: random.Random) -> Iterator[Arrival]:
    at, short, long = 0.0, 8.0, 1.5
    while (at := at + chance.expovariate(short + long)) < until:
        if chance.random() * (short + long) < short:
            yield Arrival(at, 0, _TOKENS // 4, _TOKENS // 4)
        else:
            yield Arrival(at, 1, _TOKENS, _TOKENS)


def _shift(until: float, chance: random.Random) -> Iterator[Arrival]:
    yield from _even(0, 0.5, 0.0, 300.0, on_off=True)
    yield from _even(1, 2.0, 0.0, 300.0)
    yield from _even(0, 1.0, 300.0, 600.0)
    yield from _even(1, 1.0, 300.0, 600.0)
    yield from _even(0, 0.5, 600.0, until)
    yield from _even(1, 1.5, 600.0, until)


def _clients(*patterns: str, weights: tuple[float, ...] | None = None) -> tuple[Client, ...]:
    shares = weights or (1.0,) * len(patterns)
    return tuple(
        Client(name=f"c{number}", pattern=pattern, weight=weight)
        for number, (pattern, weight) in enumerate(zip(patterns, shares, strict=True), start=1)
    )


_ALL: Final = (
    Workload(
        name="overload",
        about="Two clients send more than their half; the second twice as much.",
        duration_s=360.0,
        clients=_clients("1.5/s", "3/s"),
        send=_steady(1.5, 3.0),
    ),
    Workload(
        name="flood",
        about="A quiet client beside a runaway one.",
        duration_s=360.0,
        clients=_clients("0.5/s", "8/s"),
        send=_steady(0.5, 8.0),
    ),
    Workload(
        name="overload-multi",
        about="Eight clients, all above their eighth.",
        duration_s=360.0,
        clients=_clients(*["0.4/s"] * 3, *["0.6/s"] * 5),
        send=_steady(0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6),
    ),
    Workload(
        name="overload-weighted",
        about="Four clients with weights 1 to 4, all above their share.",
        duration_s=360.0,
        clients=_clients("0.8/s", "0.8/s", "1.2/s", "1.6/s", weights=(1.0, 2.0, 3.0, 4.0)),
        send=_steady(0.8, 0.8, 1.2, 1.6),
    ),
    Workload(
        name="proportional",
        about="Two clients below their third, one far above.",
        duration_s=600.0,
        clients=_clients("0.25/s", "0.5/s", "1.5/s"),
        send=_steady(0.25, 0.5, 1.5),
    ),
    Workload(
        name="on_off_less",
        about="A client below its half, silent every second minute, beside a busy one.",
        duration_s=600.0,
        clients=_clients("0.5/s, on and off", "2/s"),
        send=_steady(0.5, 2.0, on_off=True),
    ),
    Workload(
        name="on_off_overload",
        about="A client above its half, silent every second minute, beside a busier one.",
        duration_s=600.0,
        clients=_clients("2/s, on and off", "3/s"),
        send=_steady(2.0, 3.0, on_off=True),
    ),
    Workload(
        name="increase",
        about="A steady client beside one that sends ever more.",
        duration_s=600.0,
        clients=_clients("0.5/s", "0.2/s to 2/s"),
        send=_increase,
    ),
    Workload(
        name="poisson_short_long",
        about="Many short requests beside fewer long ones, at random times.",
        duration_s=600.0,
        clients=_clients("8/s, short", "1.5/s, long"),
        send=_short_long,
    ),
    Workload(
        name="dist_shift",
        about="On and off, then both busy, then one below its half: five minutes each.",
        duration_s=900.0,
        clients=_clients("0.5/s on and off, 1/s, 0.5/s", "2/s, 1/s, 1.5/s"),
        send=_shift,
    ),
)

WORKLOADS: Final = {workload.name: workload for workload in _ALL}
"""By name; the two promises first."""
