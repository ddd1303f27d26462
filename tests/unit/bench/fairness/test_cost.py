"""The micro-benchmark measures something."""

from __future__ import annotations

from bench.fairness import cost


def test_each_operation_can_be_repeated() -> None:
    for operation in (cost._straight(), cost._token(), cost._queued(levels=1), cost._queued(levels=3)):
        for _ in range(50):
            operation()
