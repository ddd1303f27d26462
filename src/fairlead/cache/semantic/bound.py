"""Upper bounds of an error rate, from a sample.

`anytime_upper` may be looked at after every observation, and acted upon: with
probability 1 - alpha it is never, at any time, below the true rate. It is a
betting confidence sequence (Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", JRSS-B 86(1), 2024, arXiv 2010.09686):
against each rate p that might be the true one it bets that the rate is lower,
with a mixture of fixed bets (Robbins' method of mixtures), and rejects p when
the capital reaches 1/alpha (Ville's inequality).

Each fixed bet is the likelihood ratio of a rate r*p against p. Its logarithm
is concave in the conditional error probability of a step, so by Jensen's
inequality the bound also covers the mean of conditional rates that change
from step to step, as they do for a policy that learns.

`exact_upper` is Clopper and Pearson's bound for a sample that is looked at
once; simulations use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_BETS: Final = ((0.0, 0.5), (0.1, 0.125), (0.25, 0.125), (0.5, 0.125), (0.75, 0.125))
"""(r, share of the capital). Half of it bets on a sample without errors, which is what a good route has."""

_STEPS: Final = 40
"""Of bisection: to 2^-40."""


def anytime_upper(count: int, errors: int, alpha: float) -> float:
    """The upper bound of an error rate after `errors` in `count`; 1.0 of nothing."""
    _check(count, errors, alpha)
    if count == 0 or errors == count:
        return 1.0
    threshold = -math.log(alpha)

    def kept(rate: float) -> bool:
        return _log_capital(count, errors, rate) < threshold

    return _last(kept, errors / count)


def _log_capital(count: int, errors: int, rate: float) -> float:
    """The logarithm of what bets against a rate have become; it grows with the rate."""
    rest = math.log1p(-rate)
    logs = [
        math.log(share)
        + (errors * math.log(ratio) if errors else 0.0)
        + (count - errors) * (math.log1p(-ratio * rate) - rest)
        for ratio, share in _BETS
        if ratio or not errors
    ]
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs))


def exact_upper(count: int, errors: int, alpha: float) -> float:
    """Clopper and Pearson's one-sided upper bound; 1.0 of nothing."""
    _check(count, errors, alpha)
    if count == 0 or errors == count:
        return 1.0
    return _last(lambda rate: _at_most(count, errors, rate) > alpha, errors / count)


def _at_most(count: int, errors: int, rate: float) -> float:
    """The probability of at most so many errors."""
    if rate <= 0.0:
        return 1.0
    odds = math.log(rate) - math.log1p(-rate)
    log = count * math.log1p(-rate)
    total = math.exp(log)
    for number in range(1, errors + 1):
        log += math.log((count - number + 1) / number) + odds
        total += math.exp(log)
    return min(total, 1.0)


def _last(holds: Callable[[float], bool], lowest: float) -> float:
    """The highest rate for which something holds that holds for all lower ones."""
    low, high = lowest, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle < 1.0 and holds(middle):
            low = middle
        else:
            high = middle
    return high


def _check(count: int, errors: int, alpha: float) -> None:
    if not (0 <= errors <= count and 0.0 < alpha < 1.0):
        raise ValueError(f"no sample: {errors} errors in {count}, alpha {alpha}")
