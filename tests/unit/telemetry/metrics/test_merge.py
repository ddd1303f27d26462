"""Metrics of several workers as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import record, records

from fairlead.telemetry.metrics.merge import cumulative, merge
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Exemplar, Family, Series
from fairlead.types import RequestRecord

_label = st.sampled_from(["a", "b", "c"])


_exemplars = st.dictionaries(
    st.integers(0, 2),
    st.tuples(st.sampled_from(["a" * 32, "b" * 32]), st.floats(0, 1), st.integers(0, 3)),
).map(
    lambda found: tuple(
        Exemplar(bucket=bucket, trace_id=trace, value=value, at=float(at))
        for bucket, (trace, value, at) in sorted(found.items())
    )
)


def _family(name: str, kind: str, **more: object) -> st.SearchStrategy[Family]:
    size = 3 if kind == "histogram" else 0
    series = st.builds(
        Series,
        labels=st.tuples(_label),
        value=st.integers(0, 1000),  # floats would add up differently in another order
        counts=st.tuples(*[st.integers(0, 9)] * size),
        exemplars=_exemplars if size else st.just(()),
    )
    return st.lists(series, max_size=4, unique_by=lambda one: one.labels).map(
        lambda found: Family(
            name=name,
            kind=kind,  # type: ignore[arg-type]  # one of the three
            help=name,
            labels=("x",),
            series=tuple(found),
            bounds=(1.0, 2.0) if size else (),
            **more,  # type: ignore[arg-type]  # only `merge`
        )
    )


snapshots = st.tuples(
    _family("c_total", "counter"),
    _family("h", "histogram"),
    _family("g", "gauge"),
    _family("m", "gauge", merge="max"),
)


@given(snapshots, snapshots, snapshots)
def test_merging_is_associative_and_commutative(
    a: tuple[Family, ...], b: tuple[Family, ...], c: tuple[Family, ...]
) -> None:
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([c, b, a])


@given(st.lists(records, max_size=20), st.integers(0, 20))
def test_two_workers_show_what_one_would(served: list[RequestRecord], cut: int) -> None:
    one, left, right = Metrics(), Metrics(), Metrics()
    one.take(served)
    left.take(served[:cut])
    right.take(served[cut:])

    together = {family.name: family for family in merge([left.families(), right.families()])}
    alone = {family.name: family for family in merge([one.families()])}

    assert together.keys() == alone.keys()
    for name, family in alone.items():
        if name == "fairlead_build_info":
            continue
        ours = {series.labels: series.counts for series in together[name].series}
        assert ours == {series.labels: series.counts for series in family.series}
        total = sum(series.value for series in together[name].series)
        assert abs(total - sum(series.value for series in family.series)) < 1e-6 * max(1, total)


def test_of_two_workers_traces_the_later_stands_for_a_bucket() -> None:
    def worker(trace: str, at: float, bucket: int) -> tuple[Family, ...]:
        exemplar = Exemplar(bucket=bucket, trace_id=trace, value=0.5, at=at)
        series = Series(counts=(1, 1, 1), exemplars=(exemplar,))
        return (Family(name="h", kind="histogram", help="", bounds=(1.0, 2.0), series=(series,)),)

    (family,) = merge([worker("new", 9.0, 1), worker("old", 3.0, 1), worker("other", 1.0, 0)])

    assert [(one.bucket, one.trace_id) for one in family.series[0].exemplars] == [(0, "other"), (1, "new")]


def test_gauges_combine_as_they_declare() -> None:
    def worker(in_flight: int, state: int) -> tuple[Family, ...]:
        return Metrics().families(
            [
                Reading(name="fairlead_in_flight", value=in_flight),
                Reading(name="fairlead_breaker_state", labels=("lab/a",), value=state),
            ]
        )

    values = {family.name: family.series for family in merge([worker(3, 2), worker(4, 0)])}

    assert values["fairlead_in_flight"] == (Series(value=7),)
    assert values["fairlead_breaker_state"] == (Series(labels=("lab/a",), value=2),)
    assert values["fairlead_build_info"][0].value == 1


def test_what_outlives_a_worker_are_its_counters_and_histograms() -> None:
    metrics = Metrics()
    metrics.take([record()])

    kept = cumulative(metrics.families([Reading(name="fairlead_in_flight", value=1)]))

    assert {family.kind for family in kept} == {"counter", "histogram"}
    assert "fairlead_requests_total" in {family.name for family in kept}


def test_families_of_another_shape_are_kept_apart() -> None:
    old = Family(
        name="c_total", kind="counter", help="", labels=("a",), series=(Series(labels=("x",), value=1),)
    )
    new = Family(
        name="c_total",
        kind="counter",
        help="",
        labels=("a", "b"),
        series=(Series(labels=("x", "y"), value=2),),
    )

    assert set(merge([[old], [new]])) == {old, new}
