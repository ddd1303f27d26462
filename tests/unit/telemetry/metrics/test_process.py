"""The metrics of this process."""

from __future__ import annotations

import resource
import time

from fairlead.telemetry.metrics import process


def test_this_process_uses_time_memory_and_files() -> None:
    found = {family.name: family.series[0].value for family in process.families(12.5)}

    assert found["process_start_time_seconds"] == 12.5
    assert 0 < found["process_cpu_seconds_total"] <= time.process_time()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # updated now and then
    assert peak_bytes / 10 < found["process_resident_memory_bytes"] < peak_bytes * 1.1
    assert found["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with open("/dev/null"), open("/dev/null"):
        more = {family.name: family.series[0].value for family in process.families(12.5)}
    assert more["process_open_fds"] == found["process_open_fds"] + 2


def test_the_process_started_before_now_and_after_boot() -> None:
    started = process.started_at()

    assert time.time() - 86_400 < started <= time.time()
