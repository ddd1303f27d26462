"""Metrics and clocks for the tests of alerts."""

from __future__ import annotations

from fairlead.telemetry.metrics.samples import Family, Series


def counter(name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float]) -> Family:
    series = tuple(Series(labels=key, value=value) for key, value in values.items())
    return Family(name=name, kind="counter", help="", labels=labels, series=series)


def gauge(
    name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float], *, added: bool = False
) -> Family:
    series = tuple(Series(labels=key, value=value) for key, value in values.items())
    return Family(
        name=name, kind="gauge", help="", labels=labels, series=series, merge="sum" if added else "max"
    )


def histogram(
    name: str,
    labels: tuple[str, ...],
    bounds: tuple[float, ...],
    values: dict[tuple[str, ...], tuple[float, tuple[int, ...]]],
) -> Family:
    series = tuple(Series(labels=key, value=total, counts=counts) for key, (total, counts) in values.items())
    return Family(name=name, kind="histogram", help="", labels=labels, bounds=bounds, series=series)


def requests(ok: float, failed: float, *, model: str = "small") -> Family:
    """`fairlead_requests_total` with a client's own mistakes beside."""
    labels = ("model", "endpoint", "outcome", "status_class")
    return counter(
        "fairlead_requests_total",
        labels,
        {
            (model, "chat", "ok", "2xx"): ok,
            (model, "chat", "failed", "5xx"): failed,
            (model, "chat", "refused", "4xx"): 1000.0,
        },
    )


class Time:
    """Both clocks, moved by hand."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.wall = wall
        self.steady = 500.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
