"""What the request path asks for, end to end over the store in process."""

from __future__ import annotations

import pytest
from tests.unit.limits.made import Clock

from fairlead.config.parse import parse
from fairlead.errors import AboveLimit, BudgetExceeded, Forbidden, RateLimited
from fairlead.limits.limiter import Limiter, Permit, Wanted
from fairlead.limits.memory import MemoryStore
from fairlead.limits.tree import Tree
from fairlead.limits.warn import Crossing
from fairlead.types import Usage

TENANTS = """
tenants:
  acme:
    limits:
      tokens_per_minute: {limit: 10000, output_weight: 2.5}
      budgets: [{usd: 0.01, per: day, warn_at: [0.5]}]
  search:
    parent: acme
    limits: {requests_per_minute: {limit: 3, shadow: true}, concurrent_requests: 2}
  free: {}
"""


def tree(text: str = TENANTS) -> Tree:
    return Tree(parse(text, "test").tenants)


class Gateway:
    """A limiter with a clock, and the facts of a request."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.crossings: list[Crossing] = []
        self.store = MemoryStore(self.clock)
        self.limiter = Limiter(
            self.store, tree(), now=self.clock.seconds, warn=self.crossings.append, assumed_output_tokens=400
        )
        self.number = 0

    def admit(
        self,
        tenant: str = "search",
        *,
        max_tokens: int | None = 100,
        cost: int | None = 1000,
    ) -> Permit:
        self.number += 1
        path = self.limiter.path(tenant, "k1", "key", "gpt-5")
        output = self.limiter.expected_output("k1", "gpt-5", max_tokens)
        wanted = Wanted(
            request_id=f"r{self.number}",
            tenant=tenant,
            key_id="k1",
            key_name="key",
            model="gpt-5",
            input_tokens=101,
            output_tokens=output,
            cost_microusd=cost,
            ttl_s=60.0,
        )
        return self.limiter.admit(wanted, path)

    def settle(self, permit: Permit, output: int = 10, cost: int | None = 500, *, whole: bool = True) -> None:
        usage = Usage(input_tokens=90, output_tokens=output)
        self.limiter.settle(permit, usage, cost, whole=whole)

    def used(self, tenant: str = "search") -> dict[str, tuple[int, int]]:
        return {state.limit.id: (state.used, state.reserved) for state in self.limiter.show(tenant)}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_a_request_is_reserved_and_settled_on_its_whole_way(gateway: Gateway) -> None:
    permit = gateway.admit()

    assert gateway.used() == {
        "acme/tokens": (101 + 250, 0),
        "acme/usd:day": (0, 1000),
        "search/requests": (1, 0),
        "search/concurrent": (1, 0),
    }
    gateway.settle(permit, output=11)
    assert gateway.used() == {
        "acme/tokens": (90 + 28, 0),  # 27.5, rounded up
        "acme/usd:day": (500, 0),
        "search/requests": (1, 0),
        "search/concurrent": (0, 0),
    }


def test_without_limits_nothing_is_kept_or_learned(gateway: Gateway) -> None:
    permit = gateway.admit("free")
    gateway.settle(permit)

    assert permit.admitted is None
    assert len(gateway.store) == 0
    assert len(gateway.limiter.learned) == 0


def test_a_refused_request_takes_nothing(gateway: Gateway) -> None:
    gateway.admit()
    gateway.admit()
    before = gateway.used()

    with pytest.raises(RateLimited) as caught:
        gateway.admit()

    assert caught.value.exceeded is not None
    assert caught.value.exceeded.limit == "search/concurrent"
    assert gateway.used() == before
    assert gateway.limiter.counts == {("search", "concurrent", "refused"): 1}


def test_a_spent_budget_refuses_until_its_window_ends(gateway: Gateway) -> None:
    gateway.settle(gateway.admit(), cost=9_500)

    with pytest.raises(BudgetExceeded) as caught:
        gateway.admit(cost=501)

    gateway.clock.forward(caught.value.retry_after_s or 0.0)
    gateway.admit(cost=501)


def test_a_request_larger_than_a_limit_is_told_that_it_never_fits(gateway: Gateway) -> None:
    with pytest.raises(AboveLimit):
        gateway.admit(max_tokens=10**30)


def test_shadow_limits_are_counted(gateway: Gateway) -> None:
    for _ in range(4):
        gateway.settle(gateway.admit())

    assert gateway.limiter.counts == {("search", "requests", "shadowed"): 1}


def test_what_has_no_price_is_not_held_against_a_budget_and_counted(gateway: Gateway) -> None:
    permit = gateway.admit(cost=None)
    gateway.settle(permit, cost=300)

    assert gateway.used()["acme/usd:day"] == (0, 0)
    assert gateway.limiter.counts == {("search", "usd", "unpriced"): 1}


def test_a_settlement_without_a_known_cost_charges_what_was_reserved(gateway: Gateway) -> None:
    gateway.settle(gateway.admit(cost=700), cost=None)

    assert gateway.used()["acme/usd:day"] == (700, 0)


def test_settling_twice_charges_once(gateway: Gateway) -> None:
    permit = gateway.admit()
    gateway.settle(permit)
    gateway.settle(permit)

    assert gateway.used()["acme/usd:day"] == (500, 0)


def test_a_released_request_was_never_made(gateway: Gateway) -> None:
    gateway.limiter.release(gateway.admit())

    assert set(gateway.used().values()) == {(0, 0)}


def test_output_is_learned_from_whole_answers_only(gateway: Gateway) -> None:
    expected = gateway.limiter.expected_output
    assert expected("k1", "gpt-5", None) == 400
    for _ in range(8):
        gateway.settle(gateway.admit(cost=0), output=5, cost=0, whole=False)
        gateway.clock.forward(60)
    assert expected("k1", "gpt-5", None) == 400
    for _ in range(8):
        gateway.settle(gateway.admit(cost=0), output=40, cost=0)
        gateway.clock.forward(60)

    assert expected("k1", "gpt-5", None) == 40
    assert expected("k1", "gpt-5", 7) == 7


def test_a_crossing_is_told_when_it_is_settled(gateway: Gateway) -> None:
    permit = gateway.admit(cost=6_000)
    assert gateway.crossings == []

    gateway.settle(permit, cost=5_000)
    gateway.settle(gateway.admit(), cost=100)

    assert [(one.state.limit.id, one.fraction) for one in gateway.crossings] == [("acme/usd:day", 0.5)]


def test_a_reload_keeps_what_was_used_and_settles_what_was_admitted(gateway: Gateway) -> None:
    permit = gateway.admit()
    gateway.limiter.configure(tree("tenants: {search: {limits: {concurrent_requests: 1}}}"), 50)

    with pytest.raises(RateLimited):
        gateway.admit()
    gateway.settle(permit)

    gateway.admit()
    assert gateway.limiter.expected_output("k1", "gpt-5", None) == 50


def test_a_tenant_that_is_gone_is_refused(gateway: Gateway) -> None:
    with pytest.raises(Forbidden, match="tenant `gone`"):
        gateway.admit("gone")
