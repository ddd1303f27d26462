"""Which targets have a queue, and what metrics tell of it."""

from __future__ import annotations

from typing import cast

import pytest

from fairlead import config as cfg
from fairlead.gateway.capacity import FixedWindow, queue_of, queue_readings
from fairlead.gateway.queue import Ask, TargetQueue
from fairlead.gateway.upstream import Upstream
from fairlead.limits.flows import Band, Flow


def queue(
    kind: str, *, max_concurrency: int | None = None, kept: TargetQueue | None = None
) -> TargetQueue | None:
    provider = cfg.Provider(type=kind, base_url="http://a.test/v1", api_key=cfg.Secret("env:KEY"))  # type: ignore[arg-type]  # any of them
    upstream = Upstream("a", provider, resolve=lambda _: "key", proxy_for=lambda *_: None)
    return queue_of("a/m", cfg.Target(provider="a", max_concurrency=max_concurrency), upstream, kept)


def readings(queue: TargetQueue | None) -> dict[str, float]:
    return {
        reading.name.removeprefix("fairlead_"): reading.value
        for reading in queue_readings(cast(TargetQueue, queue))
    }


@pytest.mark.parametrize(
    ("kind", "max_concurrency", "bounds"),
    [
        ("vllm", None, {"window_requests": 8.0, "window_tokens": 16_384.0}),
        ("vllm", 3, {"window_requests": 3.0, "window_tokens": 16_384.0}),
        ("openai", None, {}),
        ("openai", 5, {"window_requests": 5.0}),
        ("openai-compatible", 2, {"window_requests": 2.0}),
    ],
)
def test_a_bound_that_there_is_not_has_no_metric(
    kind: str, max_concurrency: int | None, bounds: dict[str, float]
) -> None:
    found = readings(queue(kind, max_concurrency=max_concurrency))

    assert found == {"queue_waiting": 0, "queue_in_flight": 0, "queue_in_flight_tokens": 0, **bounds}


def test_what_has_a_place_is_counted_until_it_leaves() -> None:
    made = queue("openai-compatible", max_concurrency=1)
    assert made is not None
    ask = Ask(
        flow=Flow(names=("acme",), weights=(1.0,), band=Band.INTERACTIVE), input_tokens=10, expected_tokens=20
    )
    place = made.enter(ask, 0.0)
    assert place is not None

    assert (readings(made)["queue_in_flight"], readings(made)["queue_in_flight_tokens"]) == (1, 30)
    made.leave(place, 1.0)
    assert (readings(made)["queue_in_flight"], readings(made)["queue_in_flight_tokens"]) == (0, 0)


def test_a_reload_keeps_a_queue_and_takes_its_new_cap() -> None:
    before = queue("openai-compatible", max_concurrency=1)

    after = queue("openai-compatible", max_concurrency=4, kept=before)

    assert after is before
    assert readings(after)["window_requests"] == 4
    assert queue("openai-compatible", kept=before) is None, "open again"
    tuned = queue("vllm", kept=before)
    assert tuned is not None
    assert not isinstance(tuned.window, FixedWindow)
