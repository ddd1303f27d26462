"""The last readings of engines and GPUs, for whoever wants to know.

Kept in memory by each worker. What is too old is not shown: a figure of an
hour ago must not look like one of now. Everything is bounded: targets by the
configuration, GPUs by number, names by length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.scrapers.engine import EngineMeans, EngineReading, Interval, Work
from fairlead.telemetry.scrapers.gpu import GpuReading

FRESH_S: Final = 60.0
"""How long a reading counts, at least."""
MAX_GPUS: Final = 4096
"""Devices shown, of all endpoints together."""

_FILLED: Final = tuple(
    field for field in GpuReading.__struct_fields__ if field not in ("uuid", "mig_id", "source")
)
_ENGINE_GAUGES: Final = {
    "running": "fairlead_engine_running",
    "waiting": "fairlead_engine_waiting",
    "kv_usage": "fairlead_engine_kv_usage_ratio",
    "prompt_tokens": "fairlead_engine_prompt_tokens",
    "generation_tokens": "fairlead_engine_generation_tokens",
    "preemptions": "fairlead_engine_preemptions",
}
_GPU_GAUGES: Final = {
    "utilisation": "fairlead_gpu_utilization_ratio",
    "engine_active": "fairlead_gpu_engine_active_ratio",
    "sm_active": "fairlead_gpu_sm_active_ratio",
    "tensor_active": "fairlead_gpu_tensor_active_ratio",
    "memory_active": "fairlead_gpu_memory_active_ratio",
    "memory_used_bytes": "fairlead_gpu_memory_used_bytes",
    "memory_free_bytes": "fairlead_gpu_memory_free_bytes",
    "power_w": "fairlead_gpu_power_watts",
    "energy_mj": "fairlead_gpu_energy_joules",
    "temperature_c": "fairlead_gpu_temperature_celsius",
    "xid": "fairlead_gpu_xid",
}
"""Fields and the metrics that show them."""


class _Devices(msgspec.Struct, frozen=True):
    """What one endpoint said last."""

    readings: tuple[GpuReading, ...]
    until: float


class Board:
    """Readings by target and by device. Times are monotonic seconds, handed in."""

    def __init__(self, claimed: Collection[str] = ()) -> None:
        """Know nothing yet. Targets in `claimed` have an endpoint of their own: only that one counts."""
        self._claimed = frozenset(claimed)
        self._engines: dict[str, Interval] = {}
        self._devices: dict[str, _Devices] = {}
        self._outcomes: dict[tuple[str, str], int] = {}
        self._bad_lines: dict[str, int] = {}

    # --- taking -----------------------------------------------------------------------------

    def engine(
        self, targets: Sequence[str], reading: EngineReading, now: float, *, configured: bool = False
    ) -> None:
        """Take what an engine said of itself, for the targets it serves.

        Args:
            targets: their names.
            reading: its figures.
            now: when it said so.
            configured: it comes from an endpoint that names the target.
        """
        for target in targets:
            if configured or target not in self._claimed:
                interval = self._engines.get(target)
                if interval is None:
                    interval = self._engines[target] = Interval()
                interval.saw(reading, now)

    def gpus(
        self, endpoint: str, readings: tuple[GpuReading, ...], now: float, *, fresh_s: float = FRESH_S
    ) -> None:
        """Take all that an endpoint says of its devices; those it does not name are gone."""
        self._devices[endpoint] = _Devices(readings, now + max(fresh_s, FRESH_S))

    def count(self, endpoint: str, outcome: str, bad_lines: int = 0) -> None:
        """Count a look at an endpoint (`ok`, `status`, `failed`, `unknown`) and its malformed lines."""
        key = (endpoint, outcome)
        self._outcomes[key] = self._outcomes.get(key, 0) + 1
        if bad_lines:
            self._bad_lines[endpoint] = self._bad_lines.get(endpoint, 0) + bad_lines

    # --- giving -----------------------------------------------------------------------------

    def reading(self, target: str, now: float) -> EngineReading | None:
        """What a target's engine said last; None when that is too long ago."""
        interval = self._engines.get(target)
        return interval.latest if interval is not None and now - interval.latest_at <= FRESH_S else None

    def means(self, target: str, now: float) -> EngineMeans | None:
        """The means of what ended lately at a target's engine."""
        interval = self._engines.get(target)
        return interval.means(now) if interval is not None else None

    def work(self, target: str) -> Work:
        """Everything a target's engine was seen to do, added up."""
        interval = self._engines.get(target)
        return interval.work if interval is not None else Work()

    def devices(self, now: float) -> tuple[GpuReading, ...]:
        """Every device, once: what several endpoints say of one is put together, DCGM's word first."""
        found: dict[tuple[str, str], GpuReading] = {}
        said = [one for kept in self._devices.values() if now <= kept.until for one in kept.readings]
        for reading in sorted(said, key=lambda one: (one.source, one.uuid, one.mig_id)):
            known = found.get(reading.key)
            if known is not None:
                found[reading.key] = _filled(known, reading)
            elif len(found) < MAX_GPUS:
                found[reading.key] = reading
        return tuple(found.values())

    def readings(self, now: float) -> Iterator[Reading]:
        """All of it as metrics."""
        for target in self._engines:
            yield from self._engine_readings(target, now)
        for device in self.devices(now):
            labels = (
                device.uuid,
                device.mig_id,
                device.mig_profile,
                device.model,
                device.node,
                device.namespace,
                device.pod,
            )
            for field, name in _GPU_GAUGES.items():
                if (value := getattr(device, field)) is not None:
                    yield Reading(
                        name=name, value=value / 1000 if field == "energy_mj" else value, labels=labels
                    )
        for key, count in self._outcomes.items():
            yield Reading(name="fairlead_scrapes_total", value=count, labels=key)
        for endpoint, count in self._bad_lines.items():
            yield Reading(name="fairlead_scrape_bad_lines_total", value=count, labels=(endpoint,))

    def _engine_readings(self, target: str, now: float) -> Iterator[Reading]:
        said = self.reading(target, now)
        if said is not None:
            for field, name in _ENGINE_GAUGES.items():
                if (value := getattr(said, field)) is not None:
                    yield Reading(name=name, value=value, labels=(target,))
        means = self.means(target, now)
        if means is not None:
            for field in EngineMeans.__struct_fields__:
                if (value := getattr(means, field)) is not None:
                    phase = field.removesuffix("_s")
                    yield Reading(name="fairlead_engine_mean_seconds", value=value, labels=(target, phase))


def billable(devices: Sequence[GpuReading]) -> tuple[GpuReading, ...]:
    """Devices without the GPUs that are divided into slices also listed: a slice is what is used and paid."""
    sliced = {device.uuid for device in devices if device.mig_id}
    return tuple(device for device in devices if device.mig_id or device.uuid not in sliced)


def _filled(known: GpuReading, other: GpuReading) -> GpuReading:
    missing = {
        field: value
        for field in _FILLED
        if getattr(known, field) in (None, "") and (value := getattr(other, field)) not in (None, "")
    }
    return msgspec.structs.replace(known, **missing) if missing else known
