"""What a GPU, or a MIG slice of one, says at one moment. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from fairlead.config.scrape_options import GpuMatch

MIB: int = 1024 * 1024


class GpuReading(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One device. None is what is not known; texts are empty then."""

    uuid: str
    """Of the GPU; a slice has its GPU's."""
    index: str = ""
    """Its number on the node."""
    model: str = ""
    mig_profile: str = ""
    """Of a MIG slice, such as `3g.40gb`; empty for a whole GPU."""
    mig_id: str = ""
    """Tells slices of one GPU apart."""
    node: str = ""
    namespace: str = ""
    pod: str = ""
    """Who uses it; of several that share it, by comma."""
    source: str = ""
    """`dcgm`, `triton` or `nvml`."""
    utilisation: float | None = None
    """Part of the time in which any kernel ran, 0 to 1."""
    engine_active: float | None = None
    """The same from the graphics engine's counter; the one that slices have."""
    sm_active: float | None = None
    tensor_active: float | None = None
    memory_active: float | None = None
    """Part of the cycles in which the memory was busy."""
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    power_w: float | None = None
    energy_mj: float | None = None
    """Counter, millijoules since the driver was loaded."""
    temperature_c: float | None = None
    xid: int | None = None
    """The last error the driver reported; 0 for none."""

    @property
    def key(self) -> tuple[str, str]:
        """Tells devices apart."""
        return self.uuid, self.mig_id

    @property
    def active(self) -> float | None:
        """How busy it is, 0 to 1, from the better of what is known."""
        return self.engine_active if self.engine_active is not None else self.utilisation


def matches(reading: GpuReading, wanted: GpuMatch) -> bool:
    """Whether a device is one of those wanted. A shared one is when any of its pods is."""
    pods = reading.pod.split(",") if reading.pod else [""]
    namespaces = reading.namespace.split(",") if reading.namespace else [""]
    if len(namespaces) != len(pods):
        namespaces = namespaces[:1] * len(pods)
    whole = (
        (wanted.node, reading.node),
        (wanted.model, reading.model),
        (wanted.uuid, reading.uuid),
    )
    return all(_fits(pattern, text) for pattern, text in whole) and any(
        _fits(wanted.pod, pod) and _fits(wanted.namespace, namespace)
        for pod, namespace in zip(pods, namespaces, strict=True)
    )


def _fits(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    # Only `*` is special: a name may hold brackets.
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
