"""Limits and clocks for the tests of this package."""

from __future__ import annotations

from fairlead.limits.quota import Limit, What, Window

NOW_US = 1_700_000_000_000_000
"""Tuesday, 14 November 2023, 22:13:20 UTC."""


class Clock:
    """A clock that tests set: Unix microseconds."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)

    def seconds(self) -> float:
        return self.now_us / 1e6


def requests(amount: int, **options: object) -> Limit:
    return limit(What.REQUESTS, amount, **{"burst": amount, **options})


def tokens(amount: int, **options: object) -> Limit:
    return limit(What.TOKENS, amount, **{"burst": amount, **options})


def budget(microusd: int, **options: object) -> Limit:
    return limit(What.USD, microusd, **{"window": Window.HOUR, **options})


def places(amount: int, **options: object) -> Limit:
    return limit(What.CONCURRENT, amount, **options)


def limit(what: What, amount: int, **options: object) -> Limit:
    """A limit of the node `acme`, unless the options say otherwise."""
    node = options.pop("node", "acme")
    return Limit(id=f"{node}/{what}", node=str(node), what=what, amount=amount, **options)  # type: ignore[arg-type]  # the callers' options
