"""What is known before any target is asked: what a request costs at most, and whom it does not fit."""

from __future__ import annotations

from typing import Final

from fairlead.gateway.attempt import AttemptFailed
from fairlead.gateway.prepare import Asked
from fairlead.gateway.router import Route, Target
from fairlead.telemetry.billing.cost import estimate_microusd
from fairlead.types import Failure, FailureKind

MOST_OUTPUT_TOKENS: Final = 1_000_000_000
"""JSON knows no largest integer."""
_ASSUMED_OUTPUT_TOKENS: Final = 1024
"""Output of one answer when a request names no maximum."""


def most_microusd(target: Target, asked: Asked) -> int | None:
    """What a request costs at most at a target, in micro-dollars; None where it has no prices.

    The prompt's length is estimated, and a request without a maximum is taken to get a page.
    """
    prices = target.prices_for(asked.model)
    if prices is None:
        return None
    output = asked.head.output_limit
    if output is None:
        output = _ASSUMED_OUTPUT_TOKENS
    output = min(max(output, 0), MOST_OUTPUT_TOKENS) * asked.answers
    return estimate_microusd(prices, asked.prompt_tokens(), output)


def refuse_costly(route: Route, asked: Asked) -> None:
    """Refuse what costs more than the route allows at every target whose prices are known.

    Raises:
        AttemptFailed: with the code `cost_cap`, which fallbacks may name.
    """
    cap = route.config.max_cost_usd
    if cap is None:
        return
    costs = [cost for target in route.targets if (cost := most_microusd(target, asked)) is not None]
    if costs and min(costs) > cap * 1e6:
        message = (
            f"the estimated cost of {min(costs) / 1e6:.4f} USD is above `max_cost_usd` of `{route.name}`"
        )
        raise AttemptFailed(
            Failure(kind=FailureKind.INVALID_REQUEST, code="cost_cap", status=400, message=message)
        )


def pass_over(route: Route, asked: Asked, tried: dict[Target, int]) -> AttemptFailed | None:
    """Count targets whose context window the prompt certainly exceeds as tried; the failure of the last."""
    failure: AttemptFailed | None = None
    for target in route.targets:
        window = target.config.context_window
        if window is not None and asked.prompt_tokens() > window:
            tried[target] = 1
            message = f"the prompt is longer than the {window} tokens of {target.name}"
            kind = FailureKind.CONTEXT_WINDOW
            failure = AttemptFailed(Failure(kind=kind, message=message, status=400))
    return failure
