"""The options of what is read from engines and GPUs, and of what the GPUs cost."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config.kinds import Amount, Count, Seconds, Secret, UpstreamTls

Weight = Annotated[float, Meta(ge=0, le=1000)]
EndpointKind = Literal["auto", "vllm", "sglang", "tgi", "llamacpp", "triton", "trtllm", "dcgm"]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every section forbids unknown fields."""


class Endpoint(_Section, frozen=True, kw_only=True):
    """A page of Prometheus metrics to read. Engines that are targets are read without being listed."""

    url: Annotated[
        str, Meta(description="The page's URL, such as `http://dcgm-exporter:9400/metrics`.", min_length=1)
    ]
    kind: Annotated[
        EndpointKind, Meta(description="Whose names it uses; `auto` tells by the names on the page.")
    ] = "auto"
    target: Annotated[
        str | None, Meta(description="`provider/model` of the target that this engine serves.")
    ] = None
    bearer: Annotated[
        Secret | None,
        Meta(description="Token to send as `Authorization: Bearer`, as `env:NAME` or `file:PATH`."),
    ] = None
    tls: Annotated[UpstreamTls | None, Meta(description="TLS towards it.")] = None
    interval_s: Annotated[float, Meta(ge=1, description="Time between two readings.")] = 15.0
    timeout_s: Annotated[Seconds, Meta(description="Time for a whole reading; then it has failed.")] = 5.0
    max_bytes: Annotated[
        int, Meta(ge=1024, le=67_108_864, description="Largest page, unpacked; a larger one has failed.")
    ] = 8_388_608


class GpuMatch(_Section, frozen=True, kw_only=True):
    """Which of the GPUs that are read belong to a pool. What is left out matches any; `*` stands for any
    text."""

    node: Annotated[str | None, Meta(description="Host name.")] = None
    namespace: Annotated[str | None, Meta(description="Kubernetes namespace of the pod that uses it.")] = None
    pod: Annotated[str | None, Meta(description="Name of the pod that uses it.")] = None
    model: Annotated[str | None, Meta(description="Model, as `NVIDIA H100*`.")] = None
    uuid: Annotated[str | None, Meta(description="UUID of the GPU; of a MIG slice, that of its GPU.")] = None


class ApiPrice(_Section, frozen=True, kw_only=True):
    """What the same tokens would cost at a provider's API, for the break-even."""

    input_usd_per_mtok: Annotated[Amount, Meta(description="Price per million input tokens.")]
    output_usd_per_mtok: Annotated[Amount, Meta(description="Price per million output tokens.")]


class GpuPool(_Section, frozen=True, kw_only=True):
    """GPUs of one price, and the targets that share them."""

    targets: Annotated[
        list[str], Meta(min_length=1, description="`provider/model` of every target that they serve.")
    ]
    usd_per_hour: Annotated[
        float, Meta(ge=0, le=100_000, description="Price of one GPU (or MIG slice) for an hour, used or not.")
    ]
    count: Annotated[Count | None, Meta(description="How many; as many as `match` finds when left out.")] = (
        None
    )
    match: Annotated[
        GpuMatch | None, Meta(description="Which of the GPUs read from DCGM or NVML they are.")
    ] = None
    replicas: Annotated[
        Count,
        Meta(description="Engines that share them: one request keeps one engine's part of the GPUs busy."),
    ] = 1
    prompt_weight: Annotated[
        Weight | None,
        Meta(description="GPU work of a prompt token; learned from the engine when left out."),
    ] = None
    output_weight: Annotated[
        Weight | None,
        Meta(description="GPU work of an output token; learned from the engine when left out."),
    ] = None
    api: Annotated[ApiPrice | None, Meta(description="An API to compare the cost with.")] = None
