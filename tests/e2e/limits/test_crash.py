"""What a killed process loses of its limits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from tests.e2e.limits.spender import BUDGET, PLACES, RESERVED, TTL_S

from fairlead.limits.clock import ForwardClock
from fairlead.limits.quota import State
from fairlead.limits.saved import PROMISED_S, open_saved
from fairlead.storage.connect import open_database

ROOT = Path(__file__).parents[3]
SETTLING_S = 2.0


class Said(msgspec.Struct, frozen=True):
    """What the process said last, and what it had said when only the promised time was left to it."""

    settled: int
    opened: int
    promised_settled: int
    promised_opened: int


def spent_until(directory: Path, end: signal.Signals) -> Said:
    """Let a process spend for a while and end it."""
    log = directory / "said"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, ROOT / "tests/e2e/limits/spender.py", directory / "state"],
            stdout=output,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
    try:
        while not log.stat().st_size:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.02)
        time.sleep(SETTLING_S)
        ended_at = time.monotonic()
        process.send_signal(end)
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
    last, promised = {b"settled": 0, b"open": 0}, {b"settled": 0, b"open": 0}
    for line in log.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            kind, count, at = line.split()
            last[kind] = int(count)
            if float(at) < ended_at - PROMISED_S:
                promised[kind] = int(count)
    return Said(last[b"settled"], last[b"open"], promised[b"settled"], promised[b"open"])


def found_after(directory: Path, later_s: float = 0.0) -> tuple[State, State]:
    """The budget and the places as the next process finds them, perhaps much later."""

    async def main() -> tuple[State, State]:
        database = await open_database(str(directory / "state"))
        real = ForwardClock()
        now = real()
        saver = await open_saved(database, lambda: now)
        now += int(later_s * 1e6)
        states = saver.store.look([BUDGET, PLACES])
        await database.close()
        return states[0], states[1]

    return asyncio.run(main())


def test_a_killed_process_loses_at_most_what_the_last_moments_settled(tmp_path: Path) -> None:
    said = spent_until(tmp_path, signal.SIGKILL)

    budget, places = found_after(tmp_path)

    assert said.promised_settled > 10_000
    assert said.promised_settled <= budget.used <= said.settled + RESERVED
    assert said.promised_opened * RESERVED <= budget.reserved <= (said.opened + 1) * RESERVED
    assert places.used == 0
    assert found_after(tmp_path, TTL_S + 1)[0].reserved == 0


def test_a_process_that_is_asked_to_stop_loses_nothing(tmp_path: Path) -> None:
    said = spent_until(tmp_path, signal.SIGTERM)

    budget, _ = found_after(tmp_path)

    assert (budget.used, budget.reserved) == (said.settled, said.opened * RESERVED)
