"""The text formats, read back by parsers that are not ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.unit.telemetry.records import full_record, record, records

from fairlead.telemetry.metrics import process
from fairlead.telemetry.metrics.exposition import OPENMETRICS, TEXT, negotiate, render
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES, Reading
from fairlead.telemetry.metrics.samples import Exemplar, Family, Series
from fairlead.types import RequestRecord

Parse = Callable[[str], Iterable[Any]]
FORMATS: list[tuple[str, Parse]] = [(TEXT, parse_text), (OPENMETRICS, parse_openmetrics)]


def everything(*served: RequestRecord) -> tuple[Family, ...]:
    metrics = Metrics(version="1.2.3")
    metrics.take(served)
    kept = [
        Reading(name=name, value=0.5, labels=("lab/a",) * len(labels))
        for name, (_, labels, *_) in (*GAUGES.items(), *COUNTERS.items())
    ]
    return (*metrics.families(kept), *process.families(1.5e9))


def samples(
    families: Iterable[Family], content_type: str, parse: Parse
) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parse(render(families, content_type).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(("content_type", "parse"), FORMATS, ids=["text", "openmetrics"])
def test_every_sample_is_read_back(content_type: str, parse: Parse) -> None:
    found = samples(everything(full_record(), record()), content_type, parse)

    assert found["fairlead_requests_total", ("small", "chat", "ok", "2xx")] == 1
    assert found["fairlead_request_duration_seconds_bucket", ("small", "chat", "ok", "0.64")] == 1
    assert found["fairlead_request_duration_seconds_bucket", ("small", "chat", "ok", "0.32")] == 0
    assert found["fairlead_request_duration_seconds_bucket", ("small", "chat", "ok", "+Inf")] == 1
    assert found["fairlead_request_duration_seconds_sum", ("small", "chat", "ok")] == 0.5
    assert found["fairlead_itl_seconds_count", ("large", "lab/large-2")] == 30
    assert found["fairlead_breaker_state", ("lab/a",)] == 0.5
    assert found["process_start_time_seconds", ()] == 1.5e9


@pytest.mark.parametrize(("content_type", "parse"), FORMATS, ids=["text", "openmetrics"])
@settings(max_examples=40)
@given(st.lists(records, max_size=6))
def test_any_names_are_escaped_so_that_they_read_back(
    content_type: str, parse: Parse, served: list[RequestRecord]
) -> None:
    found = samples(everything(*served), content_type, parse)

    counted = {labels: value for (name, labels), value in found.items() if name == "fairlead_requests_total"}
    assert sum(counted.values()) == len(served)


@pytest.mark.parametrize(("content_type", "parse"), FORMATS, ids=["text", "openmetrics"])
def test_quotes_backslashes_and_line_ends_survive(content_type: str, parse: Parse) -> None:
    nasty = 'a"b\\c\nd\\n{}=,#é'
    family = Family(
        name="x_total",
        kind="counter",
        help='say "\\n"\nhere',
        labels=("l",),
        series=(Series(labels=(nasty,), value=1),),
    )

    (parsed,) = parse(render([family], content_type).decode())

    assert parsed.documentation == 'say "\\n"\nhere'
    assert [sample.labels for sample in parsed.samples] == [{"l": nasty}]


def test_exemplars_lead_to_traces_in_openmetrics_only() -> None:
    exemplar = Exemplar(bucket=1, trace_id="0af7651916cd43dd8448eb211c80319c", value=0.067, at=1.5e9 + 0.25)
    series = Series(value=2.5, counts=(1, 1, 1), exemplars=(exemplar,))
    family = Family(name="h_seconds", kind="histogram", help="", bounds=(0.05, 1.0), series=(series,))

    (read,) = parse_openmetrics(render([family], OPENMETRICS).decode())

    found = {sample.labels["le"]: sample.exemplar for sample in read.samples if "le" in sample.labels}
    assert found["0.05"] is None
    assert found["+Inf"] is None
    assert found["1.0"].labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert (found["1.0"].value, float(found["1.0"].timestamp)) == (0.067, 1.5e9 + 0.25)
    assert b"trace_id" not in render([family], TEXT)


def test_special_numbers_read_back() -> None:
    family = Family(
        name="x",
        kind="gauge",
        help="",
        labels=("l",),
        series=tuple(Series(labels=(str(n),), value=n) for n in (float("inf"), float("-inf"), 1e-7, 2**60)),
    )

    assert [sample.value for sample in next(iter(parse_text(render([family]).decode()))).samples] == [
        float("inf"), float("-inf"), 1e-7, 2**60,
    ]  # fmt: skip
    assert b"NaN" in render([Family(name="x", kind="gauge", help="", series=(Series(value=float("nan")),))])


def test_a_second_family_of_a_name_is_left_out() -> None:
    one = Family(name="x_total", kind="counter", help="", series=(Series(value=1),))
    other = Family(
        name="x_total", kind="counter", help="", labels=("l",), series=(Series(labels=("a",), value=2),)
    )

    assert render([one, other]) == render([one])


def test_openmetrics_ends_with_its_mark() -> None:
    assert render([], OPENMETRICS) == b"# EOF\n"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8;q=0", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.9", TEXT),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            OPENMETRICS,
        ),
        ("Application/OpenMetrics-Text;Q=0.7, */*;q=0.1", OPENMETRICS),
        ("application/vnd.google.protobuf;q=0.9,text/plain;q=0.1", TEXT),
        (";;,,;q=", TEXT),
    ],
)
def test_the_preferred_format_is_chosen(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


def test_prometheus_own_linter_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")

    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=render(everything(full_record(), record())),
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert checked.stderr + checked.stdout == b""
    assert checked.returncode == 0
