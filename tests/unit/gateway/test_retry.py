"""What follows a failed attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Retry
from fairlead.gateway.retry import Decision, RetryBudget, Step, decide
from fairlead.types import Failure, FailureKind

CONFIG = Retry(max_attempts=4, backoff_s=0.25, max_backoff_s=8, max_retry_after_s=5)


def step(kind: FailureKind, *, retry_after_s: float | None = None, **changes: object) -> Decision:
    facts: dict[str, object] = {
        "attempts": 1,
        "same_target": 1,
        "others": True,
        "budget": True,
        "remaining_s": 100.0,
        "config": CONFIG,
        "roll": 0.5,
    }
    facts.update(changes)
    failure = Failure(kind=kind, message="", retry_after_s=retry_after_s)
    return decide(failure, **facts)  # type: ignore[arg-type]  # the table above has the types


TRANSIENT = [
    FailureKind.UNREACHABLE,
    FailureKind.TIMEOUT,
    FailureKind.DISCONNECTED,
    FailureKind.CUT,
    FailureKind.EMPTY,
    FailureKind.BAD_ANSWER,
    FailureKind.SERVER_ERROR,
    FailureKind.OVERLOADED,
    FailureKind.RATE_LIMITED,
]


@pytest.mark.parametrize("kind", TRANSIENT)
def test_trouble_goes_to_the_next_target_at_once(kind: FailureKind) -> None:
    assert step(kind) == Decision(step=Step.NEXT)


@pytest.mark.parametrize("kind", TRANSIENT)
def test_without_another_target_the_same_is_asked_again_after_a_pause(kind: FailureKind) -> None:
    decision = step(kind, others=False)
    assert decision.step is Step.AGAIN
    assert 0.02 < decision.pause_s <= 0.25


def test_the_pause_grows_to_its_bound() -> None:
    pauses = [step(FailureKind.CUT, others=False, same_target=n, roll=1.0).pause_s for n in range(1, 9)]
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 8, 8]


def test_retry_after_is_obeyed() -> None:
    decision = step(FailureKind.RATE_LIMITED, others=False, retry_after_s=2)
    assert decision.step is Step.AGAIN
    assert 2 <= decision.pause_s < 2.1


def test_a_long_retry_after_is_the_clients_to_wait() -> None:
    assert step(FailureKind.RATE_LIMITED, others=False, retry_after_s=5.1).step is Step.STOP


@pytest.mark.parametrize(
    "kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.NOT_FOUND, FailureKind.UNSUPPORTED]
)
def test_what_the_same_target_would_repeat_is_asked_elsewhere_or_not_at_all(kind: FailureKind) -> None:
    assert step(kind).step is Step.NEXT
    assert step(kind, others=False).step is Step.STOP


def test_an_invalid_request_is_nobodys_to_repeat() -> None:
    assert step(FailureKind.INVALID_REQUEST).step is Step.STOP


@pytest.mark.parametrize("kind", [FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY])
def test_another_model_may_help(kind: FailureKind) -> None:
    assert step(kind).step is Step.FALLBACK


def test_attempts_are_bounded() -> None:
    assert step(FailureKind.CUT, attempts=4).step is Step.STOP


def test_the_deadline_bounds_everything() -> None:
    assert step(FailureKind.CUT, remaining_s=0).step is Step.STOP
    assert step(FailureKind.CUT, others=False, remaining_s=0.01).step is Step.STOP


def test_without_budget_only_attempts_that_reached_nobody_are_repeated() -> None:
    assert step(FailureKind.SERVER_ERROR, budget=False).step is Step.STOP
    assert step(FailureKind.UNREACHABLE, budget=False).step is Step.NEXT


def test_a_quiet_gateway_has_its_minimum_of_retries() -> None:
    budget = RetryBudget(Retry(budget=0.2, min_budget=3))
    failure = Failure(kind=FailureKind.SERVER_ERROR, message="")
    assert [budget.spend(failure, 0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend(failure, 3.4)
    assert not budget.spend(failure, 3.4)


def test_requests_earn_their_share() -> None:
    budget = RetryBudget(Retry(budget=0.25, min_budget=1))
    failure = Failure(kind=FailureKind.SERVER_ERROR, message="")
    budget.spend(failure, 0.0)
    for _ in range(8):
        budget.earn()
    assert [budget.spend(failure, 0.0) for _ in range(3)] == [True, True, False]


def test_refused_connections_are_free() -> None:
    budget = RetryBudget(Retry(budget=0, min_budget=0))
    assert budget.spend(Failure(kind=FailureKind.UNREACHABLE, message=""), 0.0)
    assert not budget.spend(Failure(kind=FailureKind.CUT, message=""), 0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(-5, 50)), max_size=200))
def test_retries_never_exceed_what_was_earned(steps: list[tuple[bool, float]]) -> None:
    budget = RetryBudget(Retry(budget=0.5, min_budget=2))
    failure = Failure(kind=FailureKind.SERVER_ERROR, message="")
    now, latest, allowed, spent = 100.0, 100.0, 2.0, 0
    budget.spend(failure, now)
    spent += 1
    for request, pause in steps:
        now += pause
        latest = max(latest, now)
        if request:
            budget.earn()
            allowed += 0.5
        elif budget.spend(failure, now):
            spent += 1
        assert budget.remaining(now) >= 0
    elapsed = sum(max(pause, 0.0) for _, pause in steps)
    assert spent <= allowed + elapsed * 0.2 + 2 + 1e-6


def test_a_reload_changes_the_bounds_and_keeps_what_was_earned() -> None:
    budget = RetryBudget(Retry(budget=0.5, min_budget=4))
    budget.configure(Retry(budget=0, min_budget=0))
    assert budget.remaining(0.0) == 0
    budget.configure(Retry(budget=1, min_budget=0))
    budget.earn()
    assert budget.remaining(0.0) == 1
