"""An anatomy as text: one line a part, each with its place in the whole."""

from __future__ import annotations

from typing import Final

from fairlead.telemetry.anatomy import Anatomy

_WIDTH: Final = 40
_NAMES: Final = {
    "gateway_queue": "gateway queue",
    "retries": "other attempts",
    "connect": "connect",
    "engine_queue": "engine queue",
    "prefill": "prefill",
    "decode": "decode",
    "network": "network and rest",
    "upstream": "upstream",
    "gateway": "gateway",
}
_SOURCES: Final = {
    "response": "by the engine's answer",
    "histogram": "by the engine's means of late",
    "": "the engine says nothing",
}


def waterfall(found: Anatomy) -> str:
    """Parts that took any time, from the first to the last; empty for a request that took none."""
    whole = found.duration_s
    if whole <= 0:
        return ""
    parts = [(_NAMES[name], part_s) for name, part_s in found.parts() if part_s > 0]
    width = max(len(name) for name, _ in parts)
    lines = [f"{'PART'.ljust(width)}  {'TIME':>12}  {'SHARE':>6}  ({_SOURCES.get(found.engine_source, '')})"]
    begun = 0.0
    for name, part_s in parts:
        start = min(round(begun / whole * _WIDTH), _WIDTH - 1)
        length = max(round((begun + part_s) / whole * _WIDTH) - start, 1)
        begun += part_s
        bar = " " * start + "#" * length
        lines.append(
            f"{name.ljust(width)}  {part_s * 1000:>9.3f} ms  {part_s / whole:>6.1%}  |{bar.ljust(_WIDTH)}|"
        )
    return "\n".join(lines) + "\n"
