"""What a limit's decision means for who asked: the error of a refusal, the room that is left. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from fairlead.errors import AboveLimit, BudgetExceeded, Exceeded, RateLimited
from fairlead.limits.quota import Limit, Refused, State, What


class Headroom(msgspec.Struct, frozen=True, gc=False):
    """The tightest of several rates: what `x-ratelimit-*` headers tell."""

    limit: int
    """Per minute."""
    remaining: int
    resets_at: float
    """Unix seconds, when it is full again."""


def headroom(states: Iterable[State], what: What) -> Headroom | None:
    """The rate of this kind with the least left, of equals the one that is full last; None without any.

    Shadow limits refuse nothing, so they are not told.
    """
    tightest: State | None = None
    for state in states:
        if state.limit.what is what and not state.limit.shadow and _is_tighter(state, tightest):
            tightest = state
    if tightest is None:
        return None
    return Headroom(tightest.limit.amount, tightest.remaining, tightest.resets_at or 0.0)


def refusal(refused: Refused) -> RateLimited:
    """The error to raise for a refusal. Its message names the limit, its window and what was used."""
    state, limit = refused.state, refused.state.limit
    name, used, asked = limit_name(limit), amount_text(limit, state.used), amount_text(limit, refused.cost)
    error: RateLimited
    if refused.retry_after_s is None:
        most = amount_text(limit, limit.ceiling)
        error = AboveLimit(f"this request asks for {asked} at once, and {name} never admits more than {most}")
    elif limit.what is What.USD:
        reserved = amount_text(limit, state.reserved)
        error = BudgetExceeded(
            f"{name} is spent: {used} used, {reserved} reserved by requests under way, {asked} asked"
            f"{_anew(state)}",
            retry_after_s=refused.retry_after_s,
        )
    else:
        error = RateLimited(
            f"{name} is reached: {used} used, {asked} asked", retry_after_s=refused.retry_after_s
        )
    error.exceeded = Exceeded(
        limit=limit.id,
        node=limit.node,
        model=limit.model,
        what=limit.what.value,
        window=window_name(limit),
        amount=limit.amount,
        used=state.used,
        reserved=state.reserved,
        remaining=state.remaining,
        asked=refused.cost,
        resets_at=state.resets_at,
    )
    return error


def _anew(state: State) -> str:
    """When a budget's next window begins, in the budget's own time zone."""
    if state.resets_at is None:
        return ""
    at = datetime.fromtimestamp(state.resets_at, ZoneInfo(state.limit.timezone))
    return f"; it begins anew at {at.isoformat(timespec='seconds')}"


def window_name(limit: Limit) -> str:
    """`minute`, `hour`, `day`, `week` or `month`; "" for concurrency."""
    if limit.what is What.CONCURRENT:
        return ""
    if limit.window is not None:
        return limit.window.value
    return "minute" if limit.period_s == 60 else f"{limit.period_s} s"


def _is_tighter(state: State, other: State | None) -> bool:
    if other is None or state.remaining != other.remaining:
        return other is None or state.remaining < other.remaining
    return (state.resets_at or 0.0) > (other.resets_at or 0.0)


def limit_name(limit: Limit) -> str:
    """The limit in words, such as ``the limit of 60 requests per minute of `acme` for `gpt-5` ``."""
    whose = "this API key" if limit.node.startswith("key:") else f"`{limit.node}`"
    model = "" if limit.model is None else f" for `{limit.model}`"
    if limit.what is What.USD:
        return f"the budget of {amount_text(limit, limit.amount)} per {window_name(limit)} of {whose}{model}"
    if limit.what is What.CONCURRENT:
        return f"the limit of {amount_text(limit, limit.amount)} at the same time of {whose}{model}"
    return f"the limit of {amount_text(limit, limit.amount)} per {window_name(limit)} of {whose}{model}"


def amount_text(limit: Limit, amount: int) -> str:
    """An amount of what the limit counts, with its unit."""
    if limit.what is What.USD:
        return f"{amount / 1e6:.2f} USD" if amount % 10_000 == 0 else f"{amount / 1e6:.6f} USD"
    noun = "token" if limit.what is What.TOKENS else "request"
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"
