"""GPUs as DCGM exporter shows them, in every dialect of its labels, and as Triton does.

One device is told by the GPU's UUID and, for a MIG slice, its `GPU_I_ID`:
slices carry their GPU's UUID and never their own. When pods share a device
(time slicing), each has a row that repeats the value of the whole device: the
largest counts, nothing is added up, and the device has all their names. A
Prometheus in between moves an exporter's own labels: `pod` is then the
exporter's, and `exported_pod` the one that uses the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.telemetry.labels import clean
from fairlead.telemetry.scrapers.gpu import MIB, GpuReading
from fairlead.telemetry.scrapers.page import Page

MAX_GPUS: Final = 1024
"""Devices read from one page."""
_MAX_PODS: Final = 16

_UUID: Final = ("UUID", "uuid", "gpu_uuid")
_INDEX: Final = ("gpu", "GPU")
_MODEL: Final = ("modelName", "model_name")
_NODE: Final = ("exported_hostname", "Hostname", "hostname", "node", "kubernetes_node")
_EXPORTED: Final = ("exported_pod", "exported_namespace")
_POD: Final = ("pod_name", "pod")
_NAMESPACE: Final = ("pod_namespace", "namespace")
_PROFILE: Final = ("GPU_I_PROFILE", "dra_mig_profile")
_SLICE: Final = ("GPU_I_ID", "dra_mig_device_uuid")


def _part(value: float) -> float | None:
    return value if 0.0 <= value <= 1.0 else None


def _percent(value: float) -> float | None:
    return value / 100.0 if 0.0 <= value <= 100.0 else None


def _mib(value: float) -> int | None:
    return round(value * MIB) if 0.0 <= value < 1e9 else None


def _bytes(value: float) -> int | None:
    return round(value) if 0.0 <= value < 1e15 else None


def _quantity(value: float) -> float | None:
    return value if 0.0 <= value < 1e15 else None


def _temperature(value: float) -> float | None:
    return value if -100.0 < value < 1000.0 else None


def _joules(value: float) -> float | None:
    return _quantity(value * 1000.0)


def _code(value: float) -> int | None:
    return int(value) if 0.0 <= value < 1e6 else None


_Convert = Callable[[float], float | int | None]

_DCGM: Final[dict[str, tuple[str, _Convert]]] = {
    "DCGM_FI_DEV_GPU_UTIL": ("utilisation", _percent),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("engine_active", _part),
    "DCGM_FI_PROF_SM_ACTIVE": ("sm_active", _part),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("tensor_active", _part),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("memory_active", _part),
    "DCGM_FI_DEV_FB_USED": ("memory_used_bytes", _mib),
    "DCGM_FI_DEV_FB_FREE": ("memory_free_bytes", _mib),
    "DCGM_FI_DEV_POWER_USAGE": ("power_w", _quantity),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_mj", _quantity),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature_c", _temperature),
    "DCGM_FI_DEV_XID_ERRORS": ("xid", _code),
}
_TRITON: Final[dict[str, tuple[str, _Convert]]] = {
    "nv_gpu_utilization": ("utilisation", _part),
    "nv_gpu_memory_used_bytes": ("memory_used_bytes", _bytes),
    "nv_gpu_power_usage": ("power_w", _quantity),
    "nv_energy_consumption": ("energy_mj", _joules),
}
_TRITON_MEMORY: Final = "nv_gpu_memory_total_bytes"

NAMES: Final = frozenset({*_DCGM, *_TRITON, _TRITON_MEMORY})
"""Every name that is looked at."""


class _Found:
    """What is known of a device so far."""

    __slots__ = ("labels", "owners", "values")

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.owners: dict[tuple[str, str], None] = {}
        self.values: dict[str, float | int] = {}


def readings(page: Page) -> tuple[GpuReading, ...]:
    """The devices of a page, in the page's order; none when it is of something else."""
    return (*_devices(page, _DCGM, "dcgm"), *_triton(page))


def _devices(page: Page, table: dict[str, tuple[str, _Convert]], source: str) -> list[GpuReading]:
    rows = [(field, convert, sample) for name, (field, convert) in table.items() for sample in page.get(name)]
    # Of one page either all rows have been through a Prometheus, those of unused GPUs too, or none.
    moved = any(label in sample.labels for _, _, sample in rows for label in _EXPORTED)
    devices: dict[tuple[str, str], _Found] = {}
    for field, convert, sample in rows:
        key = _key(sample.labels)
        if key is None or (key not in devices and len(devices) >= MAX_GPUS):
            continue
        found = devices.setdefault(key, _Found())
        _note(found, sample.labels, moved=moved)
        value = None if math.isnan(sample.value) else convert(sample.value)
        if value is not None:
            found.values[field] = max(found.values.get(field, value), value)
    return [_reading(key, found, source) for key, found in devices.items()]


def _key(labels: dict[str, str]) -> tuple[str, str] | None:
    """What tells a device; None when a row says neither UUID nor number."""
    uuid, index = _first(labels, _UUID), _first(labels, _INDEX)
    if not uuid:
        if not index:
            return None
        uuid = f"gpu-{index}@{_first(labels, _NODE)}"
    return clean(uuid), clean(_first(labels, _SLICE))


def _note(found: _Found, labels: dict[str, str], *, moved: bool) -> None:
    for field, names in (("index", _INDEX), ("model", _MODEL), ("node", _NODE), ("mig_profile", _PROFILE)):
        if text := _first(labels, names):
            found.labels.setdefault(field, clean(text))
    # `pod` is then the exporter's own; the older names never are.
    namespace_at, pod_at = (
        (("exported_namespace", "pod_namespace"), ("exported_pod", "pod_name"))
        if moved
        else (_NAMESPACE, _POD)
    )
    namespace, pod = clean(_first(labels, namespace_at)), clean(_first(labels, pod_at))
    if pod and len(found.owners) < _MAX_PODS:
        found.owners.setdefault((namespace, pod))


def _reading(key: tuple[str, str], found: _Found, source: str) -> GpuReading:
    return msgspec.convert(
        {
            "uuid": key[0],
            "mig_id": key[1],
            "namespace": ",".join(namespace for namespace, _ in found.owners),
            "pod": ",".join(pod for _, pod in found.owners),
            "source": source,
            **found.labels,
            **found.values,
        },
        GpuReading,
    )


def _triton(page: Page) -> list[GpuReading]:
    """Triton's GPUs: it says how much memory there is, and not what is free."""
    total = {_first(sample.labels, _UUID): sample.value for sample in page.get(_TRITON_MEMORY)}
    found = []
    for reading in _devices(page, _TRITON, "triton"):
        free = _bytes(total.get(reading.uuid, math.nan) - (reading.memory_used_bytes or 0))
        known = free if reading.memory_used_bytes is not None else None
        found.append(msgspec.structs.replace(reading, memory_free_bytes=known))
    return found


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := labels.get(name))), "")
