"""What a killed process loses of its ledger."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fairlead.storage.connect import open_database

ROOT = Path(__file__).parents[3]
LOSS_S = 1.0
"""Seconds of records that SIGKILL may cost."""


def emitted_until(directory: Path, end: signal.Signals) -> tuple[list[tuple[int, float]], float]:
    """Let a process emit for a while, end it, and return what it emitted and when it was ended."""
    log = directory / "emitted"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, ROOT / "tests/e2e/telemetry/emitter.py", directory / "state"],
            stdout=output,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
    try:
        while not log.stat().st_size:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.02)
        time.sleep(2.2)
        ended_at = time.monotonic()
        process.send_signal(end)
        process.wait(timeout=30)
    finally:
        process.kill()
    lines = [line.split() for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [(int(number), float(at)) for number, at in lines], ended_at


def written(directory: Path) -> set[int]:
    async def main() -> set[int]:
        database = await open_database(str(directory / "state"))
        rows = await database.fetch("SELECT id FROM requests")
        await database.close()
        return {int(str(row[0]), 16) for row in rows}

    return asyncio.run(main())


def test_a_killed_process_loses_at_most_one_second(tmp_path: Path) -> None:
    emitted, killed_at = emitted_until(tmp_path, signal.SIGKILL)

    found = written(tmp_path)

    safe = {number for number, at in emitted if at < killed_at - LOSS_S}
    assert len(safe) > 100
    assert safe <= found


def test_a_process_that_is_asked_to_stop_loses_nothing(tmp_path: Path) -> None:
    emitted, _ = emitted_until(tmp_path, signal.SIGTERM)

    assert written(tmp_path) == {number for number, _ in emitted}
