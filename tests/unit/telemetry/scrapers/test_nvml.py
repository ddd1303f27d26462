"""This host's GPUs, through a stand-in for NVIDIA's binding: its functions, constants and errors.

The stand-in answers as the binding documents it; it is no GPU and measures nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from typing import Any, NamedTuple

import pynvml
import pytest

from fairlead.telemetry.scrapers.gpu import GpuReading
from fairlead.telemetry.scrapers.nvml import Nvml, Reader

UUID = "GPU-5b4e07f6-3a86-4340-039d-25f2a83cdc40"


class NVMLError(Exception):
    """As the binding's: a subclass for each code; here its code is its argument."""


NOT_SUPPORTED, NOT_FOUND, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 6, 9, 15


class Utilization(NamedTuple):
    gpu: int
    memory: int


class Memory(NamedTuple):
    total: int
    free: int
    used: int


class FakeNvml:
    """Functions and constants of `pynvml` that are used, over a table of devices."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *devices: dict[str, Any]) -> None:
        self.devices = list(devices)
        self.initialised = 0
        self.driver = True

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError(DRIVER_NOT_LOADED)
        self.initialised += 1

    def nvmlDeviceGetCount(self) -> int:
        if not self.driver:
            raise NVMLError(DRIVER_NOT_LOADED)
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        if self.devices[index].get("lost"):
            raise NVMLError(GPU_IS_LOST)
        return self.devices[index]

    def nvmlDeviceGetTemperature(self, handle: dict[str, Any], sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._value(handle, "temperature")

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], index: int) -> dict[str, Any]:
        slices = handle["slices"]
        if index >= len(slices):
            raise NVMLError(NOT_FOUND)
        return slices[index]

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> str:
        return self._value(handle, "uuid")

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> str | bytes:
        return self._value(handle, "name")

    def nvmlDeviceGetUtilizationRates(self, handle: dict[str, Any]) -> Utilization:
        return self._value(handle, "rates")

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any]) -> Memory:
        return self._value(handle, "memory")

    def nvmlDeviceGetPowerUsage(self, handle: dict[str, Any]) -> int:
        return self._value(handle, "power_mw")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: dict[str, Any]) -> int:
        return self._value(handle, "energy_mj")

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> list[int]:
        return self._value(handle, "mig")

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetGpuInstanceId(self, handle: dict[str, Any]) -> int:
        return self._value(handle, "instance")

    @staticmethod
    def _value(handle: dict[str, Any], name: str) -> Any:
        if name not in handle:
            raise NVMLError(NOT_SUPPORTED)
        return handle[name]


H100 = {
    "uuid": UUID,
    "name": "NVIDIA H100 80GB HBM3",
    "rates": Utilization(97, 68),
    "memory": Memory(85_520_809_984, 4_216_324_096, 80_761_323_520),
    "power_mw": 512_400,
    "energy_mj": 9_988_123_456,
    "temperature": 61,
    "mig": [0, 0],
}


def test_a_device_is_read() -> None:
    assert Nvml("node-b", lambda: FakeNvml(H100)).read() == (
        GpuReading(
            uuid=UUID,
            index="0",
            model="NVIDIA H100 80GB HBM3",
            node="node-b",
            source="nvml",
            utilisation=0.97,
            memory_used_bytes=80_761_323_520,
            memory_free_bytes=4_216_324_096,
            power_w=512.4,
            energy_mj=9_988_123_456.0,
            temperature_c=61.0,
        ),
    )


def test_what_a_device_does_not_support_is_left_open_and_a_lost_one_left_out() -> None:
    old = {"uuid": b"GPU-old", "name": b"Tesla K80"}

    found = Nvml("n", lambda: FakeNvml({**H100, "lost": True}, old)).read()

    assert found == (GpuReading(uuid="GPU-old", index="1", model="Tesla K80", node="n", source="nvml"),)


def test_slices_are_told_apart_by_their_instance() -> None:
    slices = [
        {"name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "instance": 1, "memory": Memory(4, 1, 3)},
        {"name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "instance": 9, "memory": Memory(2, 2, 0)},
    ]
    device = {**H100, "mig": [1, 1], "slices": slices}
    del device["rates"]  # not supported with MIG

    whole, *found = Nvml("n", lambda: FakeNvml(device)).read()

    assert (whole.mig_id, whole.utilisation, whole.power_w) == ("", None, 512.4)
    assert [(one.uuid, one.mig_id, one.mig_profile, one.memory_used_bytes) for one in found] == [
        (UUID, "1", "3g.40gb", 3),
        (UUID, "9", "1g.10gb", 0),
    ]


def test_no_library_is_said_once_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    def absent() -> Any:
        raise ImportError("pynvml")

    nvml = Nvml("n", absent)
    with caplog.at_level(logging.WARNING):
        assert [nvml.read() for _ in range(3)] == [(), (), ()]

    (said,) = caplog.messages
    assert "fairlead[gpu]" in said


def test_no_driver_is_said_once_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    library = FakeNvml(H100)
    library.driver = False
    nvml = Nvml("n", lambda: library)
    with caplog.at_level(logging.WARNING):
        assert [nvml.read(), nvml.read()] == [(), ()]
        assert len(caplog.messages) == 1
        library.driver = True
        assert len(nvml.read()) == 1
        library.driver = False  # an update unloads it under us
        assert nvml.read() == ()
        library.driver = True
        assert len(nvml.read()) == 1

    assert len(caplog.messages) == 2
    assert library.initialised == 2


def test_a_driver_that_hangs_holds_nobody_up() -> None:
    release = threading.Event()
    calls: list[int] = []

    def hanging() -> tuple[GpuReading, ...]:
        calls.append(1)
        release.wait(10)
        return ()

    async def main() -> None:
        reader = Reader(hanging, timeout_s=0.01)
        assert await reader.read() is None
        assert await reader.read() is None
        assert len(calls) == 1
        release.set()

    asyncio.run(main())


def test_a_binding_that_breaks_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> tuple[GpuReading, ...]:
        raise AttributeError("nvmlNewThing")

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(Reader(broken).read()) == ()

    assert "nvmlNewThing" in caplog.text


def test_the_stand_in_has_the_bindings_functions_constants_and_parameters() -> None:
    """Against NVIDIA's own binding, which is installed for tests; it needs no driver for that."""
    for name in (name for name in vars(FakeNvml) if name.startswith("nvml")):
        theirs = inspect.signature(getattr(pynvml, name)).parameters
        ours = list(inspect.signature(getattr(FakeNvml, name)).parameters)[1:]
        needed = [one for one in theirs.values() if one.default is inspect.Parameter.empty]
        assert len(ours) == len(needed), name
    assert pynvml.NVML_TEMPERATURE_GPU == FakeNvml.NVML_TEMPERATURE_GPU
    assert pynvml.NVML_DEVICE_MIG_ENABLE == FakeNvml.NVML_DEVICE_MIG_ENABLE
    assert (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NOT_FOUND) == (NOT_SUPPORTED, NOT_FOUND)
    assert (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_GPU_IS_LOST) == (
        DRIVER_NOT_LOADED,
        GPU_IS_LOST,
    )
    assert {name for name, _ in pynvml.c_nvmlMemory_t._fields_} == set(Memory._fields)
    assert {name for name, _ in pynvml.c_nvmlUtilization_t._fields_} == set(Utilization._fields)


def test_the_real_binding_without_a_driver_is_no_failure() -> None:
    """On a machine with GPUs it reads them instead; either way nothing is raised."""
    found = Nvml("here").read()

    assert all(one.source == "nvml" and one.uuid for one in found)
