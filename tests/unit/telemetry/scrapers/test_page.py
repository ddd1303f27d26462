"""Any bytes are read; what is well formed is read as the official parser reads it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from fairlead.telemetry.metrics.exposition import OPENMETRICS, TEXT, render
from fairlead.telemetry.metrics.samples import Family, Series
from fairlead.telemetry.scrapers import page as page_module
from fairlead.telemetry.scrapers.page import MAX_SERIES, read

NAME = "lab_things_total"


def values(text: bytes) -> list[float]:
    return [sample.value for sample in read(text, [NAME]).get(NAME)]


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        (b"lab_things_total 1", {}, 1.0),
        (b"lab_things_total\t2.5e3\r", {}, 2500.0),
        (b"lab_things_total{} .5", {}, 0.5),
        (b'lab_things_total{a="b"} 1', {"a": "b"}, 1.0),
        (b'lab_things_total {a="b"} 1', {"a": "b"}, 1.0),
        (b'lab_things_total{ a = "b" , c="d", } 1', {"a": "b", "c": "d"}, 1.0),
        (rb'lab_things_total{a="} 7 {\"\\\n"} 1', {"a": '} 7 {"\\\n'}, 1.0),
        (b'lab_things_total{a="b"} 3 1760000000000', {"a": "b"}, 3.0),
        (b'lab_things_total{a="b"} 3 1.76e9 # {trace_id="}"} 1 2', {"a": "b"}, 3.0),
        (b'lab_things_total 3 # {trace_id="x"} 1', {}, 3.0),
        (b'{"lab_things_total"} 4', {}, 4.0),
        (b'{"lab_things_total","an odd name"="b"} 4', {"an odd name": "b"}, 4.0),
        (b'lab_things_total{a="\xff"} 1', {"a": "\ufffd"}, 1.0),
    ],
)
def test_one_line(line: bytes, labels: dict[str, str], value: float) -> None:
    (sample,) = read(line, [NAME]).get(NAME)

    assert (sample.labels, sample.value) == (labels, value)


@pytest.mark.parametrize(
    "line",
    [
        b"lab_things_total ",
        b"lab_things_total what",
        b"lab_things_total 1_000",
        b"lab_things_total 0x10",
        b"lab_things_total 1 2 3",
        b'lab_things_total{a="b" 1',
        b'lab_things_total{a="b} 1',
        b"lab_things_total{a=b} 1",
        b'lab_things_total{"quoted"} 1',
        b'lab_things_total{a="b"}',
        b'{"lab_things_total","other"} 1',
        b"lab_things_total 1" + b" " * 20_000,
        b"lab_things_total{" + b",".join(b'a%d="b"' % number for number in range(65)) + b"} 1",
    ],
)
def test_a_bad_line_is_counted_and_costs_only_itself(line: bytes) -> None:
    found = read(b"lab_things_total 1\n" + line + b"\nlab_things_total 2\n", [NAME])

    assert [sample.value for sample in found.get(NAME)] == [1.0, 2.0]
    assert found.bad_lines == 1


def test_other_names_and_comments_are_not_looked_at() -> None:
    text = b"# TYPE lab_things_total counter\nlab_things 1\nlab_things_total_created 2\n\n#\n"
    text += b"lab_things_total 3\n# EOF"

    assert values(text) == [3.0]
    assert read(text, [NAME]).bad_lines == 0


def test_series_of_a_name_are_bounded() -> None:
    found = read(b"lab_things_total 1\n" * (MAX_SERIES + 5), [NAME])

    assert len(found.get(NAME)) == MAX_SERIES
    assert found.left_out == 5


def test_quantities_are_finite_and_not_negative() -> None:
    found = read(
        b"\n".join(b"lab_things_total " + text for text in (b"NaN", b"+Inf", b"-1", b"2", b"3")), [NAME]
    )

    assert len(found.get(NAME)) == 5
    assert found.values(NAME) == [2.0, 3.0]
    assert found.total("absent", NAME) == 5.0
    assert found.total("absent") is None


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "tail",
    [
        b'{a="' + b"\\" * 16_000,
        b"{" + b" " * 16_000,
        b" " + b"1" * 15_000 + b"e",
        b" 1" + b" " * 15_000 + b"x",
        b"{" + b'a="",' * 3000,
        b'{"' * 8000,
        b" " + b"." * 15_000,
    ],
)
def test_no_line_is_read_again_and_again(tail: bytes) -> None:
    """A pattern that goes back takes minutes for some of these; the time limit is the test's."""
    assert read(NAME.encode() + tail, [NAME]).bad_lines <= 1


@given(st.binary(max_size=400))
def test_any_bytes_are_read(text: bytes) -> None:
    read(text, [NAME, "", "{"])
    read(NAME.encode() + text, [NAME])
    read(NAME.encode() + b"{" + text + b"} 1", [NAME])


_labels = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=2, max_size=2
).map(tuple)
_numbers = st.floats(allow_nan=False) | st.integers(-(10**12), 10**12)


@given(st.dictionaries(_labels, _numbers, max_size=6), st.sampled_from([TEXT, OPENMETRICS]))
def test_what_we_expose_is_read_back_as_by_the_official_parser(
    series: dict[tuple[str, str], float], content_type: str
) -> None:
    family = Family(
        name="lab_level",
        kind="gauge",
        help='of "things" \\ in\na lab',
        labels=("one", "two"),
        series=tuple(Series(labels=labels, value=value) for labels, value in series.items()),
    )
    text = render([family], content_type)

    ours = [(sample.labels, sample.value) for sample in read(text, ["lab_level"]).get("lab_level")]

    families = openmetrics_families if content_type == OPENMETRICS else text_families
    theirs = [(one.labels, one.value) for metric in families(text.decode()) for one in metric.samples]
    assert ours == theirs
    assert all(not math.isnan(value) for _, value in ours)


def test_the_limits_are_documented_numbers() -> None:
    assert (page_module.MAX_LINE_BYTES, page_module.MAX_LABELS) == (16_384, 64)
