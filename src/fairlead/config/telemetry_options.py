"""The options of the section `telemetry`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.config.kinds import Seconds
from fairlead.config.otel_options import Otel
from fairlead.config.scrape_options import Endpoint, GpuPool


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is measured besides the requests themselves."""

    metrics: Annotated[
        bool,
        Meta(description="Count every request for `/metrics`; without, only what others keep is there."),
    ] = True
    exemplars: Annotated[
        bool,
        Meta(description="Name traces in histograms, for clients that ask for OpenMetrics."),
    ] = True
    stall_s: Annotated[
        Seconds, Meta(description="A gap of that length between two tokens of a stream is a stall.")
    ] = 1.0
    scrape: Annotated[
        list[Endpoint], Meta(max_length=256, description="Pages of engine and GPU metrics to read.")
    ] = []
    nvml: Annotated[
        bool, Meta(description="Read this host's own GPUs too; needs the extra `gpu` and NVIDIA's driver.")
    ] = False
    gpus: Annotated[
        dict[str, GpuPool], Meta(description="GPUs and their price, by a name of their own.")
    ] = {}
    otel: Annotated[
        Otel | None, Meta(description="Spans and metrics for an OpenTelemetry collector; off when left out.")
    ] = None
    gpu_settle_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Time after its end at which a minute of GPU cost is closed; of requests that last "
            "longer the last part alone counts as time used.",
        ),
    ] = 300.0
