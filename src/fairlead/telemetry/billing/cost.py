"""What a call costs, in integer micro-dollars.

A price in dollars per million tokens is one in micro-dollars per token. Prices
are kept as integers with nine decimals of that, so that sums are exact; a cost
is rounded once, at the end, half up. No price is invented: without prices
there is no cost (None), which is not the same as a cost of nothing.

Every token is billed once, at the price of the kind it is:

* `Usage.input_tokens` includes what was read from and written to a cache, audio
  and images. Each of these has its price instead of the input price.
* `Usage.output_tokens` includes reasoning, audio and images; likewise.
* A kind without a price of its own costs what the kind it is part of does.
* A request longer than the threshold of a dearer stage is billed at that
  stage's prices as a whole, its output included.
* The tier that the provider says it has served (`Usage.service_tier`) decides
  the prices where there are some for it; else the ordinary ones count.

Where the counts contradict each other the parts give way, never the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from fairlead.config import Target
from fairlead.types import RequestRecord, Usage

UNIT: Final = 10**9
"""Of a price, in a micro-dollar per token; also in a micro-dollar per request or second."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of one target, in billionths of a micro-dollar per token. None is as the kind above it."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int | None = None
    """Of what is kept for an hour; as `cache_write` when None."""
    cache_read_audio: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    request: int = 0
    """Of each request, whatever it holds."""
    audio_second: int = 0
    above: tuple[tuple[int, Prices], ...] = ()
    """Stages: (input tokens, prices of requests with more than that many), ascending."""
    tiers: dict[str, Prices] = {}
    """Prices by service tier."""
    source: str = ""
    """Where they are from: the version of a price table, or `config`."""


def prices_of(target: Target) -> Prices | None:
    """The prices that are configured with a target; None when there are none.

    Only one of input and output given: the other costs nothing, as with
    embeddings. Cached input without a price of its own costs what other input does.
    """
    if target.input_usd_per_mtok is None and target.output_usd_per_mtok is None:
        return None
    whole = target.input_usd_per_mtok or 0.0
    read, write = target.cache_read_usd_per_mtok, target.cache_write_usd_per_mtok
    return Prices(
        input=price(whole),
        output=price(target.output_usd_per_mtok or 0.0),
        cache_read=price(whole if read is None else read),
        cache_write=price(whole if write is None else write),
    )


def price(usd_per_mtok: float) -> int:
    """Dollars per million tokens as a price."""
    return round(usd_per_mtok * UNIT)


def price_each(usd: float) -> int:
    """Dollars for one request or second as a price."""
    return round(usd * 10**6 * UNIT)


def applied(usage: Usage, prices: Prices) -> Prices:
    """The prices that hold for this usage: of its tier, and of its length."""
    tier = usage.service_tier
    while tier and prices.tiers:
        if tier in prices.tiers:
            prices = prices.tiers[tier]
            break
        tier = tier.partition("+")[2]
    found = prices
    for threshold, dearer in prices.above:
        if usage.input_tokens > threshold:
            found = dearer
    return found


def cost_microusd(usage: Usage, prices: Prices) -> int:
    """What `usage` costs. Counts that contradict each other never bill a token twice, nor below nothing."""
    if prices.above or prices.tiers:
        prices = applied(usage, prices)
    total = _input(usage, prices) + _output(usage, prices) + prices.request
    if prices.audio_second and usage.audio_s > 0:
        total += round(usage.audio_s * 1000) * prices.audio_second // 1000
    return (total + UNIT // 2) // UNIT


def _input(usage: Usage, prices: Prices) -> int:
    whole = max(0, usage.input_tokens)
    read = min(max(0, usage.cache_read_tokens), whole)
    write = min(max(0, usage.cache_write_tokens), whole - read)
    rest = whole - read - write
    total = rest * prices.input + read * prices.cache_read + write * prices.cache_write
    if usage.cache_write_1h_tokens > 0 and prices.cache_write_1h is not None:
        total += min(usage.cache_write_1h_tokens, write) * (prices.cache_write_1h - prices.cache_write)
    if usage.audio_input_tokens > 0:
        audio = min(usage.audio_input_tokens, whole)
        # Audio that cannot be among the uncached tokens was read from the cache, said or not.
        cached = min(read, audio, max(usage.cache_read_audio_tokens, audio - rest))
        fresh = min(audio - cached, rest)
        rest -= fresh
        if prices.audio_input is not None:
            total += fresh * (prices.audio_input - prices.input)
        if prices.cache_read_audio is not None:
            total += cached * (prices.cache_read_audio - prices.cache_read)
    if usage.image_input_tokens > 0 and prices.image_input is not None:
        total += min(usage.image_input_tokens, rest) * (prices.image_input - prices.input)
    return total


def _output(usage: Usage, prices: Prices) -> int:
    rest = max(0, usage.output_tokens)
    total = rest * prices.output
    if not (usage.reasoning_tokens or usage.audio_output_tokens or usage.image_output_tokens):
        return total
    for count, its_price in (
        (usage.audio_output_tokens, prices.audio_output),
        (usage.image_output_tokens, prices.image_output),
        (usage.reasoning_tokens, prices.reasoning),
    ):
        if count > 0:
            part = min(count, rest)
            rest -= part
            if its_price is not None:
                total += part * (its_price - prices.output)
    return total


def priced_by(record: RequestRecord) -> str:
    """What priced a request when it was made: the versions of price tables, `config`, or nothing."""
    return " ".join(sorted({attempt.priced_by for attempt in record.attempts if attempt.priced_by}))


def estimate_microusd(prices: Prices, input_tokens: int, output_tokens: int) -> int:
    """The most that a request of this size costs: what to reserve. Rounded up, nothing taken as cached.

    At ordinary prices: a tier, audio and an hour in the cache are known when the answer says so.
    """
    for threshold, dearer in prices.above:
        if input_tokens > threshold:
            prices = dearer
    dearest = max(prices.input, prices.cache_write)
    output = prices.output if prices.reasoning is None else max(prices.output, prices.reasoning)
    return -(-(input_tokens * dearest + output_tokens * output + prices.request) // UNIT)


def dearest_microusd(targets: Iterable[Prices | None], input_tokens: int, output_tokens: int) -> int | None:
    """The most that a request costs at any of the targets; None when none has prices."""
    costs = [estimate_microusd(one, input_tokens, output_tokens) for one in targets if one is not None]
    return max(costs, default=None)
