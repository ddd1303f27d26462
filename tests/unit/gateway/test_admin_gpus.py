"""What the control API says of GPUs and their cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from fairlead.config.options import Config
from fairlead.config.scrape_options import ApiPrice, GpuMatch, GpuPool
from fairlead.config.telemetry_options import Telemetry
from fairlead.errors import NotFound
from fairlead.gateway.admin_gpus import CostQuery, GpuCost, engine_list, gpu_cost, gpu_list
from fairlead.net.client import Client
from fairlead.storage.connect import open_database
from fairlead.telemetry.gpu.cost import WINDOW_US, Piece
from fairlead.telemetry.gpu.opened import Gpus, open_gpus
from fairlead.telemetry.scrapers.engine import EngineReading
from fairlead.telemetry.scrapers.gpu import GpuReading
from fairlead.types import Usage

START = 1_700_000_040.0
POOL = GpuPool(
    targets=["lab/big"],
    usd_per_hour=3.6,
    count=2,
    match=GpuMatch(pod="chat-*"),
    api=ApiPrice(input_usd_per_mtok=100.0, output_usd_per_mtok=1000.0),
)
CONFIG = Config(telemetry=Telemetry(gpus={"h100": POOL}, gpu_settle_s=0))


@contextlib.asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Gpus]:
    database = await open_database(":memory:")
    client = Client()
    yield open_gpus(
        config,
        client,
        database,
        secret=lambda secret: "",
        proxy_for=lambda *_: None,
        node="here",
        closes=True,
    )
    await client.close()
    await database.close()


async def an_hour(gpus: Gpus) -> None:
    """One request of half a minute, and an hour."""
    assert gpus.accounts is not None
    await gpus.accounts.tick(START, 0.0)
    started = round(START * 1e6)
    work = Piece(
        id="r1",
        attempt=0,
        target="lab/big",
        started_us=started,
        first_us=started + WINDOW_US // 4,
        ended_us=started + WINDOW_US // 2,
        input_tokens=1000,
        cached_tokens=0,
        output_tokens=1000,
    )
    await gpus.ledger.add([("h100", work)])
    await gpus.accounts.tick(START + 3600.0, 1.0)


def asked(query: CostQuery, config: Config = CONFIG) -> GpuCost:
    async def main() -> GpuCost:
        async with opened(config) as gpus:
            await an_hour(gpus)
            return await gpu_cost(gpus, config, query, START + 4000.0)

    return asyncio.run(main())


def test_reserved_used_idle_and_break_even() -> None:
    found = asked(CostQuery(by="target"))

    (pool,) = found.pools
    assert pool.gpu_hours == pytest.approx(2.0)
    assert (pool.reserved_microusd, pool.used_microusd, pool.idle_microusd) == (7_200_000, 60_000, 7_140_000)
    assert (pool.requests, pool.input_tokens, pool.output_tokens) == (1, 1000, 1000)
    assert pool.closed_until == START + 3600.0
    assert pool.break_even is not None
    assert (pool.break_even.api_microusd, pool.break_even.times) == (1_100_000, pytest.approx(7.2 / 1.1))
    assert [(one.name, one.microusd, one.gpu_s) for one in found.used] == [("lab/big", 60_000, 60.0)]


def test_another_time_has_nothing() -> None:
    found = asked(CostQuery(since=0.0, until=1000.0))

    assert (found.pools, found.used) == ((), ())


def test_a_pool_that_is_no_longer_configured_is_still_added_up() -> None:
    async def main() -> GpuCost:
        other = Config(telemetry=Telemetry(gpus={"other": POOL}))
        async with opened(CONFIG) as gpus:
            await an_hour(gpus)
            return await gpu_cost(gpus, other, CostQuery(by="pool"), START + 4000.0)

    found = asyncio.run(main())

    assert (found.pools[0].pool, found.pools[0].weights, found.pools[0].break_even) == ("h100", None, None)


def test_without_prices_there_is_no_cost() -> None:
    async def main() -> None:
        async with opened(Config()) as gpus:
            assert (gpus.sink, gpus.accounts, gpus.watch) == (None, None, None)
            assert gpus.gpu_seconds("lab/big", Usage(input_tokens=5)) == 0.0
            with pytest.raises(NotFound):
                await gpu_cost(gpus, Config(), CostQuery(), START)

    asyncio.run(main())


def test_devices_name_their_pools_and_engines_their_targets() -> None:
    async def main() -> None:
        async with opened(CONFIG) as gpus:
            devices = (GpuReading(uuid="a", pod="chat-1"), GpuReading(uuid="b", pod="x"))
            gpus.board.gpus("dcgm", devices, 0.0)
            gpus.board.engine(["lab/big"], EngineReading(engine="vllm", running=3.0), 0.0)

            assert [one.pools for one in gpu_list(gpus, CONFIG, 0.0).data] == [("h100",), ()]
            (engine,) = engine_list(gpus, ("lab/small", "lab/big"), 0.0).data
            assert (engine.target, engine.running, engine.queue_s) == ("lab/big", 3.0, None)

    asyncio.run(main())
