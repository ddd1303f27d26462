"""The few figures of an engine's metrics that tune the window.

Pages are read by `telemetry.scrapers`, which knows every engine's names.
"""

from __future__ import annotations

from fairlead.limits.inflight import EngineFacts
from fairlead.telemetry.scrapers.engine import EngineReading


def facts(reading: EngineReading | None) -> EngineFacts | None:
    """What tunes the window; None when the page was no engine's, or lacks one of the two counts."""
    if reading is None or reading.running is None or reading.waiting is None:
        return None
    return EngineFacts(
        running=reading.running,
        waiting=reading.waiting,
        kv_usage=reading.kv_usage,
        capacity_tokens=reading.capacity_tokens,
    )
