"""The window finds an engine's capacity, keeps its queue short, and never closes altogether."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits.inflight import EngineFacts, Window, WindowRules
from fairlead.simulate.engine import Engine, Latency, Limits, Request


def facts(running: float, waiting: float, kv: float | None = 0.5) -> EngineFacts:
    return EngineFacts(running=running, waiting=waiting, kv_usage=kv)


def fill(window: Window, size: int = 500) -> int:
    """Let in what may be in; returns how many."""
    count = 0
    while window.admits(size):
        window.enter(size)
        count += 1
    return count


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """A saturated engine behind a window, after the first quarter of the run."""

    tokens: int
    waiting: float
    """On average, at each look."""
    most_waiting: int
    preemptions: int


def drive(
    limits: Limits,
    shortest: int,
    longest: int,
    *,
    window: Window | None,
    metrics: bool = True,
    guess: float = 1.0,
    seconds: float = 240.0,
) -> Driven:
    """Feed an engine all it can take; without a window, more than that."""
    chance = random.Random(7)
    engine = Engine(Latency(), limits)
    now, look, count, tokens = 0.0, 0.5, 0, 0
    sizes: dict[int, int] = {}
    sent: dict[int, float] = {}
    seen: list[int] = []
    prompt, answer = chance.randint(shortest, longest), chance.randint(shortest, longest)
    while now < seconds:
        while engine.waiting < 400:
            size = prompt + round(answer * guess)
            if window is not None:
                if not window.admits(size):
                    break
                window.enter(size)
            count += 1
            sizes[count], sent[count] = size, now
            engine.submit(Request(id=count, prompt_tokens=prompt, output_tokens=answer), now)
            prompt, answer = chance.randint(shortest, longest), chance.randint(shortest, longest)
        assert engine.due_at is not None
        if look < engine.due_at:
            now, look = look, look + 0.5
            if now > seconds / 4:
                seen.append(engine.waiting)
            if window is not None and metrics:
                window.saw(facts(engine.running, engine.waiting, engine.kv_usage), now)
            continue
        now = engine.due_at
        step = engine.advance(now)
        assert step is not None
        for one in step.produced:
            tokens += now > seconds / 4
            if window is not None:
                if one.index == 0 and not metrics:
                    window.first_token(now - sent[one.id], now)
                if one.finished:
                    window.leave(sizes[one.id])
    return Driven(
        tokens=tokens,
        waiting=sum(seen) / len(seen),
        most_waiting=max(seen),
        preemptions=engine.counters.preemptions,
    )


ENGINES = {
    "memory is short": (Limits(kv_tokens=10_000), 16, 512),
    "more memory, longer answers": (Limits(kv_tokens=65_536), 100, 2000),
    "places are short": (Limits(max_batch=32), 50, 500),
    "one place": (Limits(max_batch=1), 50, 500),
}


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("guess", [1.0, 3.0])
def test_with_metrics_an_engine_is_full_and_its_queue_is_short(name: str, guess: float) -> None:
    """Also when answers are estimated to be three times as long as they are."""
    limits, shortest, longest = ENGINES[name]
    full = drive(limits, shortest, longest, window=None)
    ours = drive(limits, shortest, longest, window=Window(WindowRules()), guess=guess)
    assert ours.tokens >= 0.98 * full.tokens
    assert ours.waiting <= 2.0
    assert ours.most_waiting <= 8
    assert ours.preemptions <= full.preemptions


@pytest.mark.parametrize("name", ["memory is short", "places are short", "one place"])
def test_without_metrics_latency_finds_the_capacity_well_enough(name: str) -> None:
    limits, shortest, longest = ENGINES[name]
    full = drive(limits, shortest, longest, window=None)
    ours = drive(limits, shortest, longest, window=Window(WindowRules()), metrics=False)
    assert ours.tokens >= 0.9 * full.tokens
    assert ours.waiting <= 8.0
    assert full.waiting > 300


def test_one_request_is_always_let_in() -> None:
    window = Window(WindowRules(first_tokens=100))
    assert window.admits(1_000_000)
    window.enter(1_000_000)
    assert not window.admits(1)
    window.leave(1_000_000)
    assert window.admits(1_000_000)


def test_the_configured_concurrency_is_a_hard_cap() -> None:
    window = Window(WindowRules(max_concurrency=3))
    assert fill(window, 1) == 3
    for second in range(50):
        window.saw(facts(3, 0, 0.1), float(second))
        assert not window.admits(1)
    window.configure(2)
    window.leave(1)
    assert not window.admits(1)
    window.configure(None)
    window.saw(facts(2, 0, 0.1), 60.0)
    assert window.admits(1)


def test_a_window_that_holds_nobody_back_does_not_grow() -> None:
    window = Window(WindowRules())
    window.enter(10)
    before = (window.tokens, window.requests)
    for second in range(20):
        window.saw(facts(1, 0, 0.0), float(second))
    assert (window.tokens, window.requests) == before


def test_a_burst_in_the_engines_queue_is_no_reason_to_shrink() -> None:
    window = Window(WindowRules())
    fill(window)
    before = (window.tokens, window.requests)
    for second, waiting in enumerate([9, 9, 0, 30, 1, 9, 9, 2]):
        window._pressed = False  # growth is not what is looked at
        window.saw(facts(10, waiting, 0.8), float(second))
    assert (window.tokens, window.requests) == before


def test_a_standing_queue_shrinks_the_window_to_what_runs_and_no_further() -> None:
    window = Window(WindowRules(first_tokens=100_000, first_requests=100))
    assert fill(window) == 100
    for second in range(20):
        window.saw(facts(40, 60, 0.9), float(second))
    assert 40 * 500 <= window.tokens <= 41.5 * 500


def test_where_places_are_short_requests_are_limited_and_not_tokens() -> None:
    window = Window(WindowRules(first_tokens=100_000, first_requests=100))
    fill(window)
    for second in range(5):
        window.saw(facts(40, 60, 0.1), float(second))
    assert window.tokens == 100_000
    assert 40 <= window.requests <= 42


def test_a_full_cache_shrinks_the_window() -> None:
    window = Window(WindowRules(first_tokens=10_000, first_requests=100))
    fill(window)
    window.saw(facts(20, 0, 0.99), 1.0)
    assert window.tokens == pytest.approx(10_000 * 0.9 / 0.99)


def test_a_small_cache_bounds_the_first_window() -> None:
    window = Window(WindowRules())
    window.saw(EngineFacts(running=0, waiting=0, kv_usage=0.0, capacity_tokens=4000), 1.0)
    assert window.tokens == 3600


@pytest.mark.parametrize("replicas", [1, 2, 4, 8])
def test_windows_of_several_replicas_together_are_what_the_engine_can_run(replicas: int) -> None:
    """Each has requests waiting and looks at its own moments; the engine runs 32."""
    windows = [Window(WindowRules()) for _ in range(replicas)]
    totals = []
    for look in range(300 * replicas):
        for window in windows:
            if window.in_flight > window.requests:
                window.leave(100)  # requests end one by one
            while window.admits(100):
                window.enter(100)
        total = sum(window.in_flight for window in windows)
        facts = EngineFacts(running=min(32, total), waiting=max(0, total - 32), kv_usage=0.1)
        windows[look % replicas].saw(facts, 0.5 * look / replicas)
        totals.append(total)
    settled = totals[100 * replicas :]
    assert min(settled) >= 32
    assert max(settled) <= 32 + 2
    assert all(window.in_flight for window in windows)


def test_latency_decides_only_while_there_are_no_metrics() -> None:
    window = Window(WindowRules())
    window.saw(facts(0, 0), 100.0)
    before = (window.tokens, window.requests)
    window.first_token(5.0, 101.0)
    assert (window.tokens, window.requests) == before
    window.first_token(5.0, 115.0)
    assert window.tokens == float("inf")
    window.saw(facts(1, 0), 120.0)
    assert window.tokens < float("inf")


def test_quick_first_tokens_widen_only_a_window_that_holds_somebody_back() -> None:
    window = Window(WindowRules(first_requests=8))
    for _ in range(5):
        window.first_token(0.1, 0.0)
    assert window.requests == 8
    fill(window)
    window.first_token(0.1, 0.0)
    assert window.requests > 8


def test_slow_first_tokens_shrink_and_a_long_overload_does_not_become_normal() -> None:
    window = Window(WindowRules(first_requests=50))
    for _ in range(20):
        window.first_token(0.1, 0.0)
    fill(window)
    seen = []
    for _ in range(500):
        window.admits(500)  # somebody waits, all the time
        window.first_token(5.0, 0.0)
        seen.append(window.requests)
    assert min(seen) <= 3.0
    assert window.requests <= 5.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "leave", "saw", "token"]),
            st.integers(1, 100_000),
            st.floats(0, 300),
            st.floats(0, 300),
            st.none() | st.floats(0, 1),
        ),
        max_size=100,
    )
)
def test_whatever_it_is_told_it_stays_sane(
    events: list[tuple[str, int, float, float, float | None]],
) -> None:
    window = Window(WindowRules(max_concurrency=50))
    inside: list[int] = []
    for now, (what, size, running, waiting, kv) in enumerate(events):
        if what == "enter" and window.admits(size):
            window.enter(size)
            inside.append(size)
        elif what == "leave" and inside:
            window.leave(inside.pop())
        elif what == "saw":
            window.saw(facts(running, waiting, kv), float(now))
        elif what == "token":
            window.first_token(waiting, float(now))
        assert window.in_flight == len(inside) <= 50
        assert window.in_flight_tokens == sum(inside)
        assert window.tokens >= 256
        assert 1 <= window.requests <= 50
        assert inside or window.admits(size)
