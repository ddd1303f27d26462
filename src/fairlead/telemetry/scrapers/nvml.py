"""The GPUs of this host, from NVIDIA's driver through NVML.

An edge. The library is the extra `fairlead[gpu]`; it only loads what the
driver has installed. Without library, driver or devices there is nothing to
read, which is said once and is no failure. A device that does not support a
question leaves it unanswered; one that has fallen off the bus is left out.

Calls into a driver may hang for ever, so they run on a thread of their own
that nothing waits for at the end; while one hangs no other is started.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, Final

from fairlead.telemetry.labels import clean
from fairlead.telemetry.scrapers.gpu import GpuReading

_log: Final = logging.getLogger(__name__)

_MIG: Final = re.compile(r"MIG ([0-9]+c?\.?[0-9a-z.+]*)\Z")
_MAX_GPUS: Final = 256


class Nvml:
    """This host's devices. `read` from one thread at a time."""

    def __init__(
        self, node: str, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
    ) -> None:
        """Know nothing yet.

        Args:
            node: this host's name, for the readings.
            load: gives the library, or raises ImportError; another one in tests.
        """
        self._node = node
        self._load = load
        self._library: Any = None
        self._told = False

    def read(self) -> tuple[GpuReading, ...]:
        """Every device as it is now; none where there is no library, driver or device."""
        library = self._library if self._library is not None else self._open()
        if library is None:
            return ()
        try:
            found: list[GpuReading] = []
            for index in range(min(library.nvmlDeviceGetCount(), _MAX_GPUS)):
                found += self._device(library, index)
        except library.NVMLError as error:
            # The driver was unloaded or updated under us: begin again the next time.
            self._library = None
            self._tell(f"the GPU driver does not answer: {error}")
            return ()
        return tuple(found)

    def _open(self) -> Any:
        try:
            library = self._load()
        except ImportError:
            self._tell(
                "`telemetry.nvml` is on, but NVIDIA's library is not installed: pip install 'fairlead[gpu]'"
            )
            return None
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            self._tell(f"`telemetry.nvml` is on, but there is no GPU driver to ask: {error}")
            return None
        self._library = library
        self._told = False
        return library

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s", text)

    def _device(self, library: Any, index: int) -> list[GpuReading]:
        ask = _Asking(library)
        handle = ask(library.nvmlDeviceGetHandleByIndex, index)
        uuid = ask(library.nvmlDeviceGetUUID, handle) if handle is not None else None
        if uuid is None:
            return []
        memory = ask(library.nvmlDeviceGetMemoryInfo, handle)
        rates = ask(library.nvmlDeviceGetUtilizationRates, handle)
        power_mw = ask(library.nvmlDeviceGetPowerUsage, handle)
        temperature = ask(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU)
        whole = GpuReading(
            uuid=_text(uuid),
            index=str(index),
            model=_text(ask(library.nvmlDeviceGetName, handle)),
            node=self._node,
            source="nvml",
            utilisation=rates.gpu / 100.0 if rates is not None else None,
            memory_used_bytes=memory.used if memory is not None else None,
            memory_free_bytes=memory.free if memory is not None else None,
            power_w=power_mw / 1000.0 if power_mw is not None else None,
            energy_mj=_number(ask(library.nvmlDeviceGetTotalEnergyConsumption, handle)),
            temperature_c=_number(temperature),
        )
        mode = ask(library.nvmlDeviceGetMigMode, handle)
        if mode is None or mode[0] != library.NVML_DEVICE_MIG_ENABLE:
            return [whole]
        return [whole, *self._slices(library, ask, handle, whole)]

    def _slices(self, library: Any, ask: _Asking, handle: Any, whole: GpuReading) -> list[GpuReading]:
        found = []
        for number in range(ask(library.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            mig = ask(library.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            instance = ask(library.nvmlDeviceGetGpuInstanceId, mig) if mig is not None else None
            if instance is None:
                continue
            memory = ask(library.nvmlDeviceGetMemoryInfo, mig)
            profile = _MIG.search(_text(ask(library.nvmlDeviceGetName, mig)))
            found.append(
                GpuReading(
                    uuid=whole.uuid,
                    index=whole.index,
                    model=whole.model,
                    mig_profile=profile[1] if profile is not None else "",
                    mig_id=str(instance),
                    node=self._node,
                    source="nvml",
                    memory_used_bytes=memory.used if memory is not None else None,
                    memory_free_bytes=memory.free if memory is not None else None,
                )
            )
        return found


class _Asking:
    """Asks one device; what it does not answer is None."""

    __slots__ = ("_error",)

    def __init__(self, library: Any) -> None:
        self._error = library.NVMLError

    def __call__(self, question: Callable[..., Any], *args: Any) -> Any:
        try:
            return question(*args)
        except self._error:
            return None


class Reader:
    """Reads a host's devices without ever holding the event loop up."""

    def __init__(self, read: Callable[[], tuple[GpuReading, ...]], timeout_s: float = 10.0) -> None:
        self._read = read
        self._timeout_s = timeout_s
        self._busy = threading.Event()

    async def read(self) -> tuple[GpuReading, ...] | None:
        """The devices; None when the driver hangs, or still does."""
        if self._busy.is_set():
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[GpuReading, ...]] = loop.create_future()

        def work() -> None:
            try:
                found = self._read()
            except (
                Exception
            ):  # a binding that does not fit the driver must not end the process' thread silently
                _log.exception("reading this host's GPUs failed")
                found = ()
            finally:
                self._busy.clear()
            try:
                loop.call_soon_threadsafe(_answer, answer, found)
            except RuntimeError:
                pass  # the loop has ended meanwhile; nobody waits

        self._busy.set()
        threading.Thread(target=work, name="nvml", daemon=True).start()
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError:
            return None


def _answer(waiting: asyncio.Future[tuple[GpuReading, ...]], found: tuple[GpuReading, ...]) -> None:
    if not waiting.done():
        waiting.set_result(found)


def _text(value: Any) -> str:
    """Older bindings give bytes."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return clean(value) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None
