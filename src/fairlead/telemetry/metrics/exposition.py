"""Metrics as text, in Prometheus' format 0.0.4 and in OpenMetrics 1.0.

The two differ in little: OpenMetrics names a counter's family without
`_total`, escapes quotes in help texts, has exemplars and ends with `# EOF`. Written by hand
because the whole of it is this page, and a client library would bring its own
locks and registry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from fairlead.telemetry.metrics.samples import Exemplar, Family, Series

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_QUALITY: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


def negotiate(accept: str) -> str:
    """The content type to answer a scrape's `Accept` with: `TEXT` unless OpenMetrics is preferred."""
    openmetrics = plain = 0.0
    for offer in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in offer.split(";"))
        quality = 1.0
        for parameter in parameters:
            if found := _QUALITY.fullmatch(parameter):
                quality = float(found[1])
        if media_type == "application/openmetrics-text":
            openmetrics = max(openmetrics, quality)
        elif media_type in ("text/plain", "text/*", "*/*"):
            plain = max(plain, quality)
    return OPENMETRICS if openmetrics > 0 and openmetrics >= plain else TEXT


def render(families: Iterable[Family], content_type: str = TEXT) -> bytes:
    """The exposition in the format `content_type` names; the first family of each name counts."""
    openmetrics = content_type == OPENMETRICS
    lines: list[str] = []
    seen: set[str] = set()
    for family in families:
        if family.name in seen:
            continue
        seen.add(family.name)
        lines.extend(_lines(family, openmetrics=openmetrics))
    if openmetrics:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def _lines(family: Family, *, openmetrics: bool) -> Iterator[str]:
    name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} " + (text.replace('"', r"\"") if openmetrics else text)
    yield f"# TYPE {name} {family.kind}"
    for series in family.series:
        pairs = ",".join(
            f'{label}="{_escaped(value)}"' for label, value in zip(family.labels, series.labels, strict=True)
        )
        if family.kind == "histogram":
            yield from _histogram(family, series, pairs, exemplars=openmetrics)
        else:
            yield (
                f"{family.name}{{{pairs}}} {_number(series.value)}"
                if pairs
                else (f"{family.name} {_number(series.value)}")
            )


def _histogram(family: Family, series: Series, pairs: str, *, exemplars: bool) -> Iterator[str]:
    shown = {one.bucket: _exemplar(one) for one in series.exemplars} if exemplars else {}
    start = f"{family.name}_bucket{{{pairs}," if pairs else f"{family.name}_bucket{{"
    total = 0
    for bucket, (bound, total) in enumerate(
        zip((*family.bounds, math.inf), accumulate(series.counts), strict=True)
    ):
        yield f'{start}le="{_number(float(bound))}"}} {total}{shown.get(bucket, "")}'
    labels = f"{{{pairs}}}" if pairs else ""
    yield f"{family.name}_sum{labels} {_number(series.value)}"
    yield f"{family.name}_count{labels} {total}"


def _exemplar(one: Exemplar) -> str:
    """What follows a bucket's value; the trace id is hexadecimal, so there is nothing to escape."""
    return f' # {{trace_id="{one.trace_id}"}} {_number(float(one.value))} {one.at:.3f}'


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def _number(value: float) -> str:
    """As Go and Python both read it back; bounds always have a point, as OpenMetrics wants them."""
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
