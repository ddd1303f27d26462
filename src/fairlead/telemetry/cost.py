"""What a call costs at a target's configured prices, in integer micro-dollars.

A price in dollars per million tokens is one in micro-dollars per token. Prices
are kept as integers with nine decimals of that, so that sums are exact; a cost
is rounded once, at the end, half up. No price is invented: without prices
there is no cost (None), which is not the same as a cost of nothing.

`Usage.input_tokens` includes the tokens read from and written to a cache. They
are billed at their own prices instead of the input price, never in addition.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from fairlead.config import Target
from fairlead.types import Usage

_UNIT: Final = 10**9


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of one target, in billionths of a micro-dollar per token."""

    input: int
    output: int
    cache_read: int
    cache_write: int


def prices_of(target: Target) -> Prices | None:
    """The prices of a target; None when it has none.

    Only one of input and output given: the other costs nothing, as with
    embeddings. Cached input without a price of its own costs what other input does.
    """
    if target.input_usd_per_mtok is None and target.output_usd_per_mtok is None:
        return None
    whole = target.input_usd_per_mtok or 0.0
    read, write = target.cache_read_usd_per_mtok, target.cache_write_usd_per_mtok
    return Prices(
        input=_price(whole),
        output=_price(target.output_usd_per_mtok or 0.0),
        cache_read=_price(whole if read is None else read),
        cache_write=_price(whole if write is None else write),
    )


def cost_microusd(usage: Usage, prices: Prices) -> int:
    """What `usage` costs. Counts that contradict each other never bill a token twice, nor below nothing."""
    input_tokens = max(0, usage.input_tokens)
    read = min(max(0, usage.cache_read_tokens), input_tokens)
    write = min(max(0, usage.cache_write_tokens), input_tokens - read)
    total = (
        (input_tokens - read - write) * prices.input
        + read * prices.cache_read
        + write * prices.cache_write
        + max(0, usage.output_tokens) * prices.output
    )
    return (total + _UNIT // 2) // _UNIT


def estimate_microusd(prices: Prices, input_tokens: int, output_tokens: int) -> int:
    """The most that a request of this size costs: what to reserve. Rounded up, nothing taken as cached."""
    dearest = max(prices.input, prices.cache_write)
    return -(-(input_tokens * dearest + output_tokens * prices.output) // _UNIT)


def dearest_microusd(targets: Iterable[Prices | None], input_tokens: int, output_tokens: int) -> int | None:
    """The most that a request costs at any of the targets; None when none has prices."""
    costs = [estimate_microusd(one, input_tokens, output_tokens) for one in targets if one is not None]
    return max(costs, default=None)


def _price(usd_per_mtok: float) -> int:
    return round(usd_per_mtok * _UNIT)
