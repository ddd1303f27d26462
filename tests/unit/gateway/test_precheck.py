"""What a request may cost, whatever numbers it names."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fairlead.config import Target
from fairlead.gateway import router
from fairlead.gateway.precheck import most_microusd
from fairlead.gateway.prepare import Asked
from fairlead.providers.rewrite import read_head
from fairlead.telemetry.billing.cost import Prices, prices_of


class _Target:
    def __init__(self, target: Target) -> None:
        self.prices = prices_of(target)

    def prices_for(self, model: str) -> Prices | None:
        return self.prices


_PRICED = _Target(Target(provider="p", input_usd_per_mtok=1.0, output_usd_per_mtok=10.0))


def _estimated(body: bytes, target: object = _PRICED) -> int | None:
    class Ex:
        api = None

    ex: Any = Ex()
    ex.body = body
    return most_microusd(cast(router.Target, target), Asked(ex, read_head(body), "m", b""))


@pytest.mark.parametrize(
    "limit", ["9" * 4000, "1" + "0" * 308, "18446744073709551616", "-1", "-" + "9" * 400, "0"]
)
def test_any_limit_that_json_can_write_has_a_price(limit: str) -> None:
    cost = _estimated(b'{"model":"m","max_tokens":%s}' % limit.encode())
    assert cost is not None
    assert cost >= 0
    assert cost >= (10_000_000_000 if len(limit) > 15 and limit[0] != "-" else 0)


def test_several_answers_cost_several_times_as_much() -> None:
    one = _estimated(b'{"model":"m","max_tokens":1000}')
    ten = _estimated(b'{"model":"m","max_tokens":1000,"n":10}')
    assert one is not None
    assert ten is not None
    assert ten > 9 * one
    for absurd in (b"-5", b"0", b"9" * 400):
        cost = _estimated(b'{"model":"m","max_tokens":1000,"n":%b}' % absurd)
        assert cost is not None
        assert one * 0.9 < cost <= one * 1000


def test_without_prices_nothing_is_estimated() -> None:
    assert _estimated(b'{"model":"m"}', _Target(Target(provider="p"))) is None
