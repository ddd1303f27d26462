"""The gateway's metrics under the names that OpenTelemetry gives them.

Those of the conventions for generative AI get exactly the conventions' names,
units and attributes back. Of the product's own, Prometheus' name says the unit
and whether it is a counter, for which OTLP has fields:
`fairlead_queue_wait_seconds` becomes `fairlead.queue_wait` with the unit `s`, and
a collector that exposes it to Prometheus makes the old name of it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from fairlead.telemetry.metrics.samples import Family

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.1"
"""The last release of the conventions that holds those for generative AI."""

CONVENTIONS: Final = {
    "gen_ai_client_token_usage": ("gen_ai.client.token.usage", "{token}"),
    "gen_ai_client_operation_duration_seconds": ("gen_ai.client.operation.duration", "s"),
    "gen_ai_client_operation_time_to_first_chunk_seconds": (
        "gen_ai.client.operation.time_to_first_chunk", "s",
    ),
    "gen_ai_client_operation_time_per_output_chunk_seconds": (
        "gen_ai.client.operation.time_per_output_chunk", "s",
    ),
    "gen_ai_server_request_duration_seconds": ("gen_ai.server.request.duration", "s"),
    "gen_ai_server_time_to_first_token_seconds": ("gen_ai.server.time_to_first_token", "s"),
    "gen_ai_server_time_per_output_token_seconds": ("gen_ai.server.time_per_output_token", "s"),
}  # fmt: skip
"""Name and unit by Prometheus' name."""

_ATTRIBUTES: Final = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
    "server_address": "server.address",
    "server_port": "server.port",
    "error_type": "error.type",
}
_UNITS: Final = (("_seconds", "s"), ("_bytes", "By"))


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A metric for OTLP: `family` has its name there, and attributes for labels."""

    family: Family
    unit: str


def measured(families: Iterable[Family]) -> Iterator[Measured]:
    """Each family that has series, under its name in OTLP; the first of each name counts."""
    seen: set[str] = set()
    for family in families:
        name, unit = CONVENTIONS.get(family.name) or _own(family)
        if name in seen or not family.series:
            continue
        seen.add(name)
        labels = tuple(_ATTRIBUTES.get(label, label) for label in family.labels)
        yield Measured(family=msgspec.structs.replace(family, name=name, labels=labels), unit=unit)


def _own(family: Family) -> tuple[str, str]:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    for ending, unit in _UNITS:
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", ".", 1), unit
    return name.replace("_", ".", 1), ""
