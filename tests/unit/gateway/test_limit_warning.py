"""A limit that reaches its `warn_at` is logged and shown to alerts."""

from __future__ import annotations

import logging

import pytest

from fairlead.gateway.limit_warning import warner
from fairlead.limits.quota import Limit, State, What, Window
from fairlead.limits.warn import Crossing
from fairlead.telemetry.alerts.watch import LimitWatch

NOW = 1_700_000_000.0


def shown(watch: LimitWatch, now: float) -> list[tuple[str, ...]]:
    return [reading.labels for reading in watch.readings(now)]


@pytest.mark.parametrize(
    ("limit", "resets_at", "until"),
    [
        (
            Limit(id="acme/usd:day", node="acme", what=What.USD, amount=10, window=Window.DAY),
            NOW + 500,
            NOW + 500,
        ),
        (Limit(id="acme/requests", node="acme", what=What.REQUESTS, amount=10), None, NOW + 60),
    ],
)
def test_it_is_shown_until_the_window_ends(
    limit: Limit, resets_at: float | None, until: float, caplog: pytest.LogCaptureFixture
) -> None:
    watch = LimitWatch()
    state = State(limit=limit, used=8, reserved=0, remaining=2, resets_at=resets_at)
    with caplog.at_level(logging.WARNING):
        warner(watch, clock=lambda: NOW)(Crossing(state=state, fraction=0.8))

    assert shown(watch, until - 1) == [(limit.id,)]
    assert shown(watch, until) == []
    assert "a limit is nearly used up" in caplog.text
