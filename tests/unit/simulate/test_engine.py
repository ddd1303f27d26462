"""The continuous-batching model, with time as a value."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import ContextWindowExceeded
from fairlead.simulate.engine import Engine, Latency, Limits, Produced, Request, Step

SLOW = Latency(base_s=1.0, per_sequence_s=0.1, per_prefill_token_s=0.01)


def request(number: int, prompt: int, output: int, hashes: tuple[int, ...] = ()) -> Request:
    return Request(id=number, prompt_tokens=prompt, output_tokens=output, block_hashes=hashes)


def run(engine: Engine, steps: int = 10_000) -> list[Step]:
    """Every step until the engine is idle."""
    done = []
    while (due := engine.due_at) is not None:
        step = engine.advance(due)
        assert step is not None
        done.append(step)
        assert len(done) < steps, "the engine does not come to rest"
    return done


def test_a_step_takes_base_and_batch_and_prefill_time() -> None:
    engine = Engine(SLOW, Limits())
    engine.submit(request(1, 100, 2), now=50.0)
    assert engine.due_at == pytest.approx(50.0 + 1.0 + 0.1 + 1.0)
    first = engine.advance(52.1 + 1e-9)
    assert first is not None
    assert first.produced == (Produced(1, 0, False),)
    assert engine.due_at == pytest.approx(52.1 + 1.1)


def test_nothing_happens_before_a_step_is_due() -> None:
    engine = Engine(SLOW, Limits())
    engine.submit(request(1, 100, 2), now=0.0)
    assert engine.advance(2.0) is None


def test_speed_divides_every_time_and_instant_makes_it_nothing() -> None:
    latency = Latency(base_s=1.0, per_sequence_s=0.1, per_prefill_token_s=0.01)
    assert latency.step_s(2, 10) == pytest.approx(1.3)
    assert Latency(base_s=1.0, per_sequence_s=0.1, speed=10).step_s(2, 0) == pytest.approx(0.12)
    engine = Engine(Latency(instant=True), Limits())
    engine.submit(request(1, 10, 3), now=7.0)
    assert [step.ended_at for step in run(engine)] == [7.0, 7.0, 7.0]


def test_sequences_decode_together_in_one_step() -> None:
    engine = Engine(SLOW, Limits())
    engine.submit(request(1, 10, 5), now=0.0)
    engine.submit(request(2, 10, 5), now=0.0)
    steps = run(engine)
    # The second one joins at the second step, which prefills it beside the first one's decode.
    assert [len(step.produced) for step in steps] == [1, 2, 2, 2, 2, 1]


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding() -> None:
    engine = Engine(SLOW, Limits(step_tokens=50))
    engine.submit(request(1, 10, 20), now=0.0)
    engine.submit(request(2, 120, 1), now=0.0)
    steps = run(engine)
    assert [step.prefill_tokens for step in steps[:4]] == [10, 49, 49, 22]
    assert [step.produced[0].id for step in steps[:4]] == [1, 1, 1, 1]
    assert Produced(2, 0, True) in steps[3].produced


def test_the_batch_is_bounded_and_the_rest_waits() -> None:
    engine = Engine(SLOW, Limits(max_batch=2))
    for number in range(5):
        engine.submit(request(number, 10, 3), now=0.0)
    step = engine.advance(100.0)
    assert step is not None
    assert (engine.running, engine.waiting) == (2, 3)


def test_a_full_cache_makes_requests_wait_first_come_first_served() -> None:
    engine = Engine(SLOW, Limits(kv_tokens=160, block_tokens=16))
    big = engine.submit(request(1, 100, 5), now=0.0)
    blocked = engine.submit(request(2, 100, 5), now=0.0)
    small = engine.submit(request(3, 16, 1), now=0.0)
    run(engine)
    assert big.ended_at is not None
    assert blocked.scheduled_at == big.ended_at
    assert small.scheduled_at is not None
    assert blocked.scheduled_at <= small.scheduled_at  # the small one did not jump the queue


def test_when_decoding_outgrows_the_cache_the_youngest_is_preempted_and_finishes_later() -> None:
    engine = Engine(SLOW, Limits(kv_tokens=64, block_tokens=16, prefix_cache=False))
    old = engine.submit(request(1, 30, 30), now=0.0)
    young = engine.submit(request(2, 30, 30), now=0.0)
    run(engine)
    assert (old.preemptions, young.preemptions) == (0, 1)
    assert engine.counters.preemptions == 1
    assert (old.produced, young.produced) == (30, 30)
    assert old.ended_at is not None
    assert young.ended_at is not None
    assert old.ended_at < young.ended_at


def test_a_repeated_prompt_is_prefilled_from_the_cache() -> None:
    engine = Engine(SLOW, Limits(block_tokens=16))
    hashes = tuple(range(4))
    engine.submit(request(1, 70, 1, hashes), now=0.0)
    first = run(engine)
    again = engine.submit(request(2, 70, 1, hashes), now=100.0)
    second = run(engine)
    assert (first[0].prefill_tokens, second[0].prefill_tokens) == (70, 6)
    assert again.cached_tokens == 64
    assert (engine.counters.prefix_queries, engine.counters.prefix_hits) == (140, 64)


def test_the_last_prompt_token_is_computed_even_when_all_of_it_is_cached() -> None:
    engine = Engine(SLOW, Limits(block_tokens=16))
    hashes = (1, 2)
    engine.submit(request(1, 32, 1, hashes), now=0.0)
    run(engine)
    again = engine.submit(request(2, 32, 1, hashes), now=10.0)
    assert run(engine)[0].prefill_tokens == 16
    assert again.cached_tokens == 16


def test_cancelling_frees_the_cache_at_once_and_yields_no_more_tokens() -> None:
    engine = Engine(SLOW, Limits())
    engine.submit(request(1, 100, 50), now=0.0)
    assert engine.kv.used == 7
    assert engine.cancel(1, now=0.5)
    assert (engine.kv.used, engine.running) == (0, 0)
    assert all(step.produced == () for step in run(engine))
    assert not engine.cancel(1, now=9.0)


def test_cancelling_a_waiting_request_lets_the_next_one_in() -> None:
    engine = Engine(SLOW, Limits(max_batch=1))
    engine.submit(request(1, 10, 1), now=0.0)
    engine.submit(request(2, 10, 1), now=0.0)
    last = engine.submit(request(3, 10, 1), now=0.0)
    assert engine.cancel(2, now=0.1)
    run(engine)
    assert last.produced == 1


def test_what_could_never_fit_is_refused() -> None:
    engine = Engine(SLOW, Limits(kv_tokens=64))
    with pytest.raises(ContextWindowExceeded):
        engine.submit(request(1, 60, 5), now=0.0)
    assert engine.due_at is None


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 90),  # prompt
        st.integers(1, 40),  # output
        st.integers(0, 3),  # which prompt text, for the prefix cache
        st.floats(0, 30),  # arrival
        st.one_of(st.none(), st.floats(0, 60)),  # cancelled at
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    REQUESTS,
    st.integers(130, 300),
    st.integers(1, 6),
    st.integers(1, 64),
    st.sampled_from([4, 16]),
    st.booleans(),
)
def test_whatever_comes_the_cache_holds_and_everyone_finishes(
    plan: list[tuple[int, int, int, float, float | None]],
    kv_tokens: int,
    max_batch: int,
    step_tokens: int,
    block: int,
    prefix: bool,
) -> None:
    limits = Limits(
        kv_tokens=kv_tokens + block,
        block_tokens=block,
        max_batch=max_batch,
        step_tokens=step_tokens,
        prefix_cache=prefix,
    )
    engine = Engine(Latency(), limits)
    events: list[tuple[float, int, str]] = []
    for number, (_, _, _, arrival, cancelled) in enumerate(plan):
        events.append((arrival, number, "submit"))
        if cancelled is not None:
            events.append((arrival + cancelled, number, "cancel"))
    received: dict[int, list[int]] = {number: [] for number in range(len(plan))}
    finished: set[int] = set()
    cancelled_ids: set[int] = set()

    def advance(now: float) -> None:
        while (step := engine.advance(now)) is not None:
            assert engine.kv.occupied <= engine.kv.capacity
            assert engine.running <= max_batch
            for produced in step.produced:
                assert produced.id not in cancelled_ids
                received[produced.id].append(produced.index)
                if produced.finished:
                    finished.add(produced.id)

    for at, number, what in sorted(events):
        advance(at)
        prompt, output, text, _, _ = plan[number]
        if what == "submit":
            hashes = tuple(hash((text, index)) for index in range(prompt // block))
            engine.submit(request(number, prompt, output, hashes), at)
        elif engine.cancel(number, at):
            cancelled_ids.add(number)
        assert engine.kv.occupied <= engine.kv.capacity
    advance(float("inf"))

    assert engine.due_at is None
    assert (engine.running, engine.waiting, engine.kv.used) == (0, 0, 0)
    assert finished | cancelled_ids == set(range(len(plan)))
    for number, indexes in received.items():
        assert indexes == list(range(len(indexes)))
        if number in finished:
            assert len(indexes) == plan[number][1]
    assert engine.counters.generation_tokens == sum(len(indexes) for indexes in received.values())


@settings(max_examples=30, deadline=None)
@given(REQUESTS)
def test_the_same_calls_give_the_same_steps(plan: list[tuple[int, int, int, float, float | None]]) -> None:
    def steps() -> list[Step]:
        engine = Engine(Latency(), Limits(kv_tokens=256))
        for number, (prompt, output, *_) in enumerate(plan):
            engine.submit(request(number, prompt, output), now=0.0)
        return run(engine)

    assert steps() == steps()
