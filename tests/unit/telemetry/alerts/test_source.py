"""The history: increases, gauges, gateways that come and go, restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts.facts import Cell, Folded
from fairlead.telemetry.alerts.source import History, Point, thinned

G = ("m",)


def counts(*values: float) -> dict[str, Folded]:
    return {"r": Folded(groups={G: Cell(counts=values)})}


def gauges(value: float, *, added: bool = False) -> dict[str, Folded]:
    return {"r": Folded(groups={G: Cell(gauges=(value,))}, added=added)}


def history(keep_s: float = 1000.0) -> History:
    return History({"r": keep_s})


def test_an_increase_is_that_of_the_window() -> None:
    kept = history()
    for at in range(10):
        kept.ingest(at * 10.0, {"a": counts(float(at * at))})

    assert kept.increase("r", G, 30.0) == (81.0 - 36.0,)
    assert kept.increase("r", G, 10.0, ago_s=10.0) == (64.0 - 49.0,)


def test_what_was_counted_before_anybody_looked_does_not_count() -> None:
    kept = history()
    kept.ingest(0.0, {"a": counts(1e6)})
    kept.ingest(10.0, {"a": counts(1e6 + 5)})

    assert kept.increase("r", G, 100.0) == (5.0,)


def test_a_group_that_is_new_in_a_known_gateway_counts_from_nothing() -> None:
    kept = history()
    kept.ingest(0.0, {"a": {"r": Folded(groups={})}})
    kept.ingest(10.0, {"a": counts(7.0)})

    assert kept.increase("r", G, 100.0) == (7.0,)


def test_gateways_are_added() -> None:
    kept = history()
    kept.ingest(0.0, {"a": counts(1.0), "b": counts(100.0)})
    kept.ingest(10.0, {"a": counts(2.0), "b": counts(110.0)})

    assert kept.increase("r", G, 100.0) == (11.0,)


def test_a_gateway_that_starts_anew_takes_nothing_away() -> None:
    kept = history()
    kept.ingest(0.0, {"a1": counts(50.0)})
    kept.ingest(10.0, {"a1": counts(60.0)})
    kept.ingest(20.0, {"a2": counts(1.0)})
    kept.ingest(30.0, {"a2": counts(4.0)})

    assert kept.increase("r", G, 100.0) == (13.0,)


def test_a_total_that_falls_for_a_moment_is_not_counted_twice() -> None:
    """A worker that does not answer a scrape is missing from the sum for once."""
    kept = history()
    for at, total in enumerate((100.0, 110.0, 40.0, 112.0)):
        kept.ingest(at * 10.0, {"a": counts(total)})

    assert kept.increase("r", G, 100.0) == (12.0,)


def test_gauges_are_as_they_were() -> None:
    kept = history()
    kept.ingest(0.0, {"a": gauges(1.0), "b": gauges(3.0)})
    kept.ingest(10.0, {"a": gauges(2.0), "b": gauges(1.0)})

    assert kept.gauges("r", G) == (2.0,)
    assert kept.gauges("r", G, ago_s=10.0) == (3.0,)


def test_gauges_are_added_where_the_metric_says_so() -> None:
    kept = history()
    kept.ingest(0.0, {"a": gauges(1.0, added=True), "b": gauges(3.0, added=True)})

    assert kept.gauges("r", G) == (4.0,)


def test_a_gauge_that_nobody_shows_any_more_is_gone() -> None:
    kept = history()
    kept.ingest(0.0, {"a": gauges(1.0)})
    kept.ingest(10.0, {"a": {"r": Folded(groups={})}})

    assert kept.groups("r") == []
    assert kept.gauges("r", G) == ()


def test_time_that_does_not_pass_keeps_one_point() -> None:
    kept = history()
    kept.ingest(10.0, {"a": counts(1.0)})
    kept.ingest(10.0, {"a": counts(2.0)})
    kept.ingest(5.0, {"a": counts(3.0)})

    assert kept.increase("r", G, 100.0) == (0.0,)
    kept.ingest(11.0, {"a": counts(4.0)})
    assert kept.increase("r", G, 100.0) == (1.0,)


def test_unknown_rules_and_groups_have_nothing() -> None:
    kept = history()
    kept.ingest(0.0, {"a": {"other": Folded(groups={G: Cell(counts=(1.0,))})}})

    assert kept.groups("other") == []
    assert kept.increase("r", ("x",), 10.0) == ()
    assert kept.bounds("r") == ()


def test_old_points_are_thinned_and_windows_stay_right() -> None:
    kept = history(keep_s=259_200.0)
    for at in range(20_000):
        kept.ingest(at * 15.0, {"a": counts(float(at))})

    assert len(kept.saved("r")[G]) < 1000
    for window_s in (300.0, 3600.0, 259_200.0):
        assert kept.increase("r", G, window_s)[0] == pytest.approx(window_s / 15, rel=0.03)


def test_what_was_kept_goes_on_where_it_was() -> None:
    before = history()
    for at in range(10):
        before.ingest(at * 10.0, {"a1": counts(float(at * 10))})

    after = history()
    after.ingest(5000.0, {"a2": counts(3.0)})
    after.restore("r", before.saved("r"), age_s=20.0)
    after.ingest(5010.0, {"a2": counts(5.0)})

    # 90 were counted in the 90 seconds before; 20 and 10 seconds have passed since.
    assert after.increase("r", G, 30.0) == (2.0,)
    assert after.increase("r", G, 61.0) == (2.0 + 40.0,)


def test_a_window_of_another_shape_begins_anew() -> None:
    kept = history()
    kept.ingest(0.0, {"a": counts(1.0, 2.0)})
    kept.ingest(10.0, {"a": counts(10.0)})
    kept.ingest(20.0, {"a": counts(11.0)})

    assert kept.increase("r", G, 100.0) == (1.0,)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 50)), min_size=1, max_size=150))
def test_all_that_was_counted_is_in_a_window_of_everything(steps: list[tuple[float, int]]) -> None:
    kept = history(keep_s=1e9)
    now, total = 0.0, 0.0
    kept.ingest(now, {"a": counts(0.0)})
    for seconds, more in steps:
        now, total = now + seconds, total + more
        kept.ingest(now, {"a": counts(total)})

    assert kept.increase("r", G, 1e8)[0] == pytest.approx(total)


@given(st.lists(st.floats(0, 1e5), min_size=2, max_size=200, unique=True), st.floats(1, 1e5))
def test_thinning_keeps_the_newest_and_one_at_the_windows_edge(times: list[float], keep_s: float) -> None:
    points = [Point(at) for at in sorted(times)]
    now = points[-1].at

    kept = thinned(points, now, keep_s)

    assert kept[-1] == points[-1]
    assert set(kept) <= set(points)
    older = [point for point in points if point.at < now - keep_s]
    assert len([point for point in kept if point.at < now - keep_s]) <= 1
    if older:
        assert older[-1] in kept
