"""Which target is asked next."""

import random
from collections import Counter

import pytest

from fairlead import config as cfg
from fairlead.gateway.capacity import FixedWindow
from fairlead.gateway.health import Breaker
from fairlead.gateway.queue import Ask, TargetQueue
from fairlead.gateway.router import Load, Route, RouteTable, Target
from fairlead.limits.fair import Rules
from fairlead.limits.flows import Flow
from fairlead.types import Failure, FailureKind


def target(name: str, **options: object) -> Target:
    entry = cfg.Target(provider=name, model="m", **options)  # type: ignore[arg-type]  # per test
    return Target(entry, Breaker(cfg.Breaker()), Load())


def route(*targets: Target, strategy: str = "least-loaded", name: str = "m") -> Route:
    model = cfg.Model(targets=[t.config for t in targets], strategy=strategy)  # type: ignore[arg-type]
    return Route(name, model, targets)


def rolls(count: int = 2000) -> list[float]:
    return [i / count for i in range(count)]


def open_breaker(broken: Target) -> None:
    broken.breaker.fail(Failure(kind=FailureKind.AUTH, message=""), 0.0)


def test_the_lowest_tier_is_asked_and_the_next_when_it_is_down() -> None:
    first, second = target("a"), target("b", priority=1)
    path = route(second, first)
    assert all(path.choose(tried=(), now=0, roll=roll) is first for roll in rolls(50))
    open_breaker(first)
    assert path.choose(tried=(), now=0, roll=0.3) is second


def test_the_next_tier_is_asked_after_the_first_was_tried() -> None:
    first, second = target("a"), target("b", priority=1)
    assert route(first, second).choose(tried=[first], now=0, roll=0.5) is second


def test_weights_share_the_traffic() -> None:
    heavy, light = target("heavy", weight=3), target("light", weight=1)
    path = route(heavy, light, strategy="weighted")
    chosen = Counter(path.choose(tried=(), now=0, roll=roll) for roll in rolls())
    assert chosen[heavy] == 1500
    assert chosen[light] == 500


def test_weight_zero_drains() -> None:
    drained, other = target("a", weight=0), target("b")
    path = route(drained, other)
    assert all(path.choose(tried=(), now=0, roll=roll) is other for roll in rolls(50))
    assert route(drained).choose(tried=(), now=0, roll=0) is None
    assert route(drained).wait_s(0) is None


def test_the_less_loaded_of_two_is_asked() -> None:
    busy, idle = target("a"), target("b")
    busy.load_state.in_flight = 5
    busy.load_state.latency_s = idle.load_state.latency_s = 0.1
    assert all(route(busy, idle).choose(tried=(), now=0, roll=roll) is idle for roll in rolls(50))


def test_the_faster_of_two_is_asked() -> None:
    slow, fast = target("a"), target("b")
    slow.load_state.latency_s, fast.load_state.latency_s = 2.0, 0.1
    chosen = [route(slow, fast).choose(tried=(), now=0, roll=roll) for roll in rolls(200)]
    assert chosen.count(fast) > 190


def test_a_full_target_is_passed_over() -> None:
    full, free = target("a"), target("b")
    full.queue = TargetQueue("a", Rules(), FixedWindow(2))
    share = Ask(flow=Flow(names=("acme",), weights=(1.0,)), input_tokens=1, expected_tokens=1)
    places = [full.queue.enter(share, 0.0) for _ in range(2)]
    assert all(places)
    assert full.healthy(0)
    assert route(full, free).choose(tried=(), now=0, roll=0.0) is free
    assert route(full).choose(tried=(), now=0, roll=0.0) is None
    assert route(full).wait_s(0) == 0.0


def test_a_target_that_was_slow_once_is_asked_again() -> None:
    cold, warm = target("cold"), target("warm")
    path = route(cold, warm)
    cold.load_state.observe(10.0)
    warm.load_state.observe(0.01)
    rolls = random.Random(1)
    for _ in range(4000):
        chosen = path.choose(tried=(), now=0, roll=rolls.random())
        assert chosen is not None
        chosen.load_state.observe(0.01)
    assert cold.load_state.latency_s < 0.02


def test_one_prompt_stays_on_one_replica_and_prompts_spread() -> None:
    replicas = [target(name) for name in "abcd"]
    path = route(*replicas, strategy="prefix-affinity")
    chosen = Counter()
    for number in range(400):
        prefix = b"prompt %d" % number
        first = path.choose(tried=(), now=0, roll=0.1, prefix=prefix)
        assert path.choose(tried=(), now=0, roll=0.9, prefix=prefix) is first
        chosen[first] += 1
    assert min(chosen.values()) > 60


def test_losing_a_replica_moves_only_its_prompts() -> None:
    replicas = [target(name) for name in "abcd"]
    path = route(*replicas, strategy="prefix-affinity")
    prefixes = [b"prompt %d" % number for number in range(200)]
    before = {p: path.choose(tried=(), now=0, roll=0, prefix=p) for p in prefixes}
    open_breaker(replicas[0])
    for prefix, owner in before.items():
        now_at = path.choose(tried=(), now=0, roll=0, prefix=prefix)
        assert now_at is owner if owner is not replicas[0] else now_at is not None


def test_affinity_gives_way_to_a_much_busier_replica() -> None:
    replicas = [target(name) for name in "ab"]
    path = route(*replicas, strategy="prefix-affinity")
    home = path.choose(tried=(), now=0, roll=0, prefix=b"x")
    assert home is not None
    home.load_state.in_flight = 10
    assert path.choose(tried=(), now=0, roll=0, prefix=b"x") is not home


@pytest.mark.parametrize(
    ("asked", "route_name", "upstream"),
    [
        ("gpt-5", "gpt-5", "gpt-5"),
        ("gpt-5-mini", "gpt-*", "gpt-5-mini"),
        ("openai/gpt-5", "openai/*", "gpt-5"),
        ("openai/ft:gpt/x", "openai/*", "ft:gpt/x"),
        ("gpt-5-special-eu", "gpt-5-*-eu", "gpt-5-special-eu"),
        ("anything", "*", "anything"),
    ],
)
def test_names_find_their_route(asked: str, route_name: str, upstream: str) -> None:
    names = ["gpt-5", "gpt-*", "openai/*", "gpt-5-*-eu", "*"]
    table = RouteTable([route(target("a"), name=name) for name in names])
    found = table.find(asked)
    assert found is not None
    assert (found[0].name, found[1]) == (route_name, upstream)


def test_an_unknown_name_finds_none() -> None:
    table = RouteTable([route(target("a"), name="gpt-*")])
    assert table.find("claude") is None
    assert table.find("gpt-") is None
