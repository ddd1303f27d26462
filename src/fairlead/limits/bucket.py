"""Rates as arithmetic: the generic cell rate algorithm (GCRA) in whole microseconds.

A bucket is one number, its theoretical arrival time (TAT): the moment at which
everything that was taken has refilled. It is full when that is past. A cost
moves it on by the time that the cost takes to refill, and fits when the bucket
would then be full again within `tolerance_us`.

Nothing here reads a clock. A moment earlier than the last refills nothing,
since only the TAT is kept. Costs are rounded down to the microsecond, so that
what adds up to the burst is always admitted; a rate may so be exceeded by a
microsecond of refill a request.
"""

from __future__ import annotations

from typing import Final

_US: Final = 1_000_000


def cost_us(cost: int, amount: int, period_s: int) -> int:
    """How long `cost` takes to refill at `amount` per period."""
    return cost * period_s * _US // amount


def wait_us(tat: int, now: int, cost: int, tolerance_us: int) -> int:
    """How long until a cost (in microseconds of refill) fits; 0 when it does now.

    Meaningless for a cost above the tolerance, which never fits.
    """
    return max(0, max(tat, now) + cost - tolerance_us - now)


def take(tat: int, now: int, cost: int) -> int:
    """The TAT after taking a cost, whether or not it fits: what was used is used."""
    return max(tat, now) + cost


def give_back(tat: int, now: int, cost: int) -> int:
    """The TAT after a refund. A bucket that is full stays full: refunds are not saved up."""
    return max(tat - cost, min(tat, now))


def free(tat: int, now: int, tolerance_us: int, amount: int, period_s: int) -> int:
    """What could be taken at once; negative when more was used than the bucket held."""
    free_us = tolerance_us - (tat - now) if tat > now else tolerance_us
    return free_us * amount // (period_s * _US)
