"""One of the processes of `test_budget_chaos`: many requests at once against one budget.

Its log is the truth that the store is compared with: `S id cost` is written before the money is spent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from pathlib import Path

from fairlead.errors import StorageError
from fairlead.limits.quota import Admitted, Ask, Limit, What, Window
from fairlead.limits.redis import RedisStore
from fairlead.storage.redis import RedisServer

ESTIMATE = 1000
SPREAD_S = 10.0
"""Requests begin within this time, so that whoever is killed is in the middle of some."""
TTL_S = 8.0
"""Longer than a request and an outage together, so that no settlement comes too late."""


def budget(amount: int) -> Limit:
    """The one budget that all share."""
    return Limit(
        id="acme/usd:month", node="acme", root="acme", what=What.USD, amount=amount, window=Window.MONTH
    )


async def work(url: str, log: Path, name: str, requests: int, amount: int, stop: Path) -> None:
    """Make all requests at once, each until it is admitted or the file `stop` is there."""
    server = RedisServer(url, timeout_s=1.0)
    store = RedisStore(server)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asks = (Ask(budget(amount), ESTIMATE),)
    roll = random.Random(name)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def watch() -> None:
        if stop.exists():
            stopping.set()
        else:
            loop.call_later(0.05, watch)

    async def one(number: int) -> None:
        attempt = 0
        await asyncio.sleep(roll.uniform(0.0, SPREAD_S))
        while not stopping.is_set():
            attempt += 1
            request_id = f"{name}-{number}-{attempt}"
            try:
                answer = await store.admit(request_id, asks, TTL_S)
            except StorageError:
                os.write(fd, b"F\n")
                await asyncio.sleep(roll.uniform(0.1, 0.3))
                continue
            if not isinstance(answer, Admitted):
                await asyncio.sleep(roll.uniform(0.2, 0.6))
                continue
            cost = roll.randint(200, ESTIMATE)
            await asyncio.sleep(roll.uniform(0.0, 0.4))
            if number % 20 == 0:
                await store.release(request_id)
                return
            os.write(fd, f"S {request_id} {cost}\n".encode())
            await asyncio.sleep(roll.uniform(0.0, 0.4))
            await store.settle(request_id, {asks[0].limit.id: cost})
            await store.settle(request_id, {asks[0].limit.id: cost})
            return

    watch()
    await asyncio.gather(*(one(number) for number in range(requests)))
    await store.close(patience_s=10.0)
    os.write(fd, f"E {store.delivered_later} {store.dropped}\n".encode())
    await server.close()


def main() -> None:
    """Read the arguments and work."""
    parser = argparse.ArgumentParser()
    for option in ("url", "name"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--log", type=Path, required=True)
    for option in ("requests", "amount"):
        parser.add_argument(f"--{option}", type=int, required=True)
    parser.add_argument("--stop", type=Path, required=True)
    args = parser.parse_args()
    asyncio.run(work(args.url, args.log, args.name, args.requests, args.amount, args.stop))


if __name__ == "__main__":
    main()
