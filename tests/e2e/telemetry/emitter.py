"""A process that emits records into a ledger and says so, until it is killed.

`python emitter.py DIRECTORY` prints a line `NUMBER TIME` (monotonic) after each
record. SIGTERM stops it in good order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from tests.unit.telemetry.records import record

from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.recorder import Recorder


async def main(directory: str) -> None:
    database = await open_database(directory)
    recorder = Recorder([Ledger(database), Metrics()], max_pending=200_000)
    recorder.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    number = 0
    while not stopping.is_set():
        for _ in range(5):
            recorder.emit(record(number))
            os.write(1, b"%d %.6f\n" % (number, time.monotonic()))
            number += 1
        await asyncio.sleep(0.005)
    await recorder.stop()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
