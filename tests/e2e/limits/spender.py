"""A process that spends from a saved budget and says so, until it is killed.

`python spender.py DIRECTORY` prints, after each settlement, a line `settled
MICROUSD TIME` with everything settled so far, and leaves every fifth request
open: `open COUNT TIME`. TIME is monotonic. SIGTERM stops it in good order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from fairlead.limits.clock import ForwardClock
from fairlead.limits.quota import Ask, Limit, What, Window
from fairlead.limits.saved import open_saved
from fairlead.storage.connect import open_database

BUDGET = Limit(
    id="acme/usd:month", node="acme", what=What.USD, amount=10**12, window=Window.MONTH, timezone="UTC"
)
PLACES = Limit(id="acme/concurrent", node="acme", what=What.CONCURRENT, amount=10**6)
RESERVED = 1000
TTL_S = 3600.0


async def main(directory: str) -> None:
    database = await open_database(directory)
    saver = await open_saved(database, ForwardClock())
    saver.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settled = opened = number = 0
    while not stopping.is_set():
        for _ in range(5):
            number += 1
            saver.store.admit(f"r{number}", [Ask(BUDGET, RESERVED), Ask(PLACES, 1)], TTL_S)
            if number % 5:
                settled += number % 900
                saver.store.settle(f"r{number}", {BUDGET.id: number % 900})
                os.write(1, b"settled %d %.6f\n" % (settled, time.monotonic()))
            else:
                opened += 1
                os.write(1, b"open %d %.6f\n" % (opened, time.monotonic()))
        await asyncio.sleep(0.005)
    await saver.stop()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
