"""What a refusal says, and what room is left."""

from __future__ import annotations

import pytest
from tests.unit.limits.made import budget, places, requests, tokens

from fairlead.errors import AboveLimit, BudgetExceeded, RateLimited
from fairlead.limits.answer import Headroom, headroom, refusal
from fairlead.limits.quota import Limit, Refused, State, What


def refused(limit: Limit, used: int, cost: int, wait_s: float | None, reserved: int = 0) -> RateLimited:
    return refusal(Refused(State(limit, used, reserved, 0, 1800.0), cost, wait_s))


@pytest.mark.parametrize(
    ("limit", "used", "cost", "message"),
    [
        (requests(60), 60, 1,
         "the limit of 60 requests per minute of `acme` is reached: 60 requests used, 1 request asked"),
        (tokens(1000, model="gpt-5"), 800, 300,
         "the limit of 1000 tokens per minute of `acme` for `gpt-5` is reached: 800 tokens used, "
         "300 tokens asked"),
        (places(2, node="key:abc"), 2, 1,
         "the limit of 2 requests at the same time of this API key is reached: 2 requests used, "
         "1 request asked"),
    ],
)  # fmt: skip
def test_a_rate_says_which_limit_and_what_was_used(limit: Limit, used: int, cost: int, message: str) -> None:
    error = refused(limit, used, cost, 1.5)

    assert type(error) is RateLimited
    assert (error.message, error.retry_after_s, error.retryable) == (message, 1.5, True)
    assert error.exceeded is not None
    assert (error.exceeded.limit, error.exceeded.used, error.exceeded.asked) == (limit.id, used, cost)


def test_a_budget_is_not_worth_an_automatic_retry() -> None:
    error = refused(budget(100_000_000), 99_500_000, 400_000, 1800.0, reserved=300_001)

    assert isinstance(error, BudgetExceeded)
    assert not error.retryable
    assert error.message == (
        "the budget of 100.00 USD per hour of `acme` is spent: 99.50 USD used, 0.300001 USD reserved by "
        "requests under way, 0.40 USD asked; it begins anew at 1970-01-01T00:30:00+00:00"
    )
    assert error.exceeded is not None
    assert (error.exceeded.window, error.exceeded.resets_at) == ("hour", 1800.0)


def test_what_no_waiting_helps_says_so() -> None:
    error = refused(tokens(1000, burst=500), 0, 501, None)

    assert isinstance(error, AboveLimit)
    assert (error.retryable, error.retry_after_s) == (False, None)
    assert "asks for 501 tokens at once" in error.message
    assert "never admits more than 500 tokens" in error.message


def test_the_tightest_rate_of_the_way_is_told() -> None:
    states = [
        State(requests(60), 10, 0, 50, 10.0),
        State(requests(6, node="key:a"), 1, 0, 5, 20.0),
        State(requests(9, node="key:b"), 4, 0, 5, 30.0),
        State(requests(1, node="key:c", shadow=True), 1, 0, 0, 40.0),
        State(tokens(100), 100, 0, 0, 50.0),
    ]

    assert headroom(states, What.REQUESTS) == Headroom(9, 5, 30.0)
    assert headroom(states, What.TOKENS) == Headroom(100, 0, 50.0)
    assert headroom(states[:4], What.TOKENS) is None
