"""The metrics of this process, under the names every Prometheus client uses.

Read from `/proc`; where there is none (macOS), only what the standard library
knows is reported.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

from fairlead.telemetry.metrics.samples import Family, single

_PROC: Final = Path("/proc/self")


def started_at() -> float:
    """When this process started, in Unix seconds; now, where the system does not say."""
    try:
        # Field 22 counts clock ticks since boot; the name before it may hold spaces and parentheses.
        ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - uptime_s + ticks / os.sysconf("SC_CLK_TCK")


def families(started: float) -> tuple[Family, ...]:
    """CPU time, memory and open files of this process, which started at `started`."""
    found = [
        single("process_cpu_seconds_total", "counter", "CPU time used, in seconds.", time.process_time()),
        single("process_resident_memory_bytes", "gauge", "Memory held, in bytes.", _resident_bytes()),
        single(
            "process_start_time_seconds",
            "gauge",
            "Start of the process that started last, in Unix seconds.",
            started,
            merge="max",
        ),
        single("process_max_fds", "gauge", "Files that may be open.", _max_fds()),
    ]
    open_fds = _open_fds()
    if open_fds is not None:
        found.append(single("process_open_fds", "gauge", "Files that are open.", open_fds))
    return tuple(found)


def _resident_bytes() -> int:
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        # The most ever held: KiB on Linux and the BSDs, bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_fds() -> int | None:
    try:
        return sum(1 for _ in (_PROC / "fd").iterdir()) - 1  # one of them lists the directory
    except OSError:
        return None


def _max_fds() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
