"""Fair queues of several gateways keep in step through a real server, and go on without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

import pytest
from tests.e2e.gateway import start_engine, start_gateway
from tests.e2e.limits.crowd import Door
from tests.e2e.redis_server import start_redis

from fairlead.errors import StorageError
from fairlead.limits.flows import Flow
from fairlead.limits.gossip import Gossip, Served, served
from fairlead.storage.redis import RedisServer

FLOW = Flow(names=("a", "key"), weights=(1.0, 2.0))
CONFIG = """
providers:
  engine: {{type: openai-compatible, base_url: {engine}}}
models:
  m: {{targets: [{{provider: engine, max_concurrency: 8}}]}}
tenants:
  here: {{}}
  everywhere: {{}}
limits:
  store: redis
  redis: {{url: env:LIMITS_URL}}
"""


def once(*what: Served) -> Callable[[], list[Served]]:
    left = list(what)

    def own() -> list[Served]:
        told = left[:]
        left.clear()
        return told

    return own


def test_messages_are_heard_once_also_after_the_server_was_away() -> None:
    async def main() -> None:
        with start_redis() as redis:
            servers = [RedisServer(redis.url), RedisServer(redis.url)]
            one, two = (Gossip(server, replica=f"r{number}") for number, server in enumerate(servers))
            assert await one.exchange(once()) == await two.exchange(once()) == []
            await one.exchange(once(served("engine", FLOW, 5.5)))
            assert await two.exchange(once()) == [served("engine", FLOW, 5.5)]
            assert b":2" in redis.command("EXISTS", "fairlead:{queues}", "fairlead:{queues}")
            assert b":-" not in redis.command("PTTL", "fairlead:{queues}"), "it would stay for ever"

            redis.kill()
            untold = once(served("engine", FLOW, 7.0))
            with pytest.raises(StorageError):
                await one.exchange(untold)
            redis.start()  # it has forgotten everything
            for server in servers:
                await server.wait_until_up()
            with contextlib.suppress(StorageError):  # its connections may have to notice
                await two.exchange(once())
            await one.exchange(untold)
            assert await two.exchange(once()) == [served("engine", FLOW, 7.0)]
            for server in servers:
                await server.close()

    asyncio.run(main())


@pytest.mark.timeout(60)
def test_a_tenant_behind_one_gateway_gets_as_much_as_one_behind_both() -> None:
    """Two gateways with as many places each. Without the other's counters it would be a third as much."""
    with (
        start_redis() as redis,
        start_engine("openai", "--step-ms", "15", "--sequence-ms", "0") as engine,
    ):
        config = CONFIG.format(engine=engine.base_url)
        environ = {"LIMITS_URL": redis.url}
        with (
            start_gateway(config, environ=environ) as first,
            start_gateway(config, environ=environ) as second,
        ):
            doors = {
                "here": [Door(first.port, first.key("--tenant", "here"))],
                "everywhere": [Door(one.port, one.key("--tenant", "everywhere")) for one in (first, second)],
            }
            tokens = asyncio.run(_flood(doors, seconds=6.0))
    print(f"\ntokens served: {tokens}")
    assert 0.7 < tokens["here"] / tokens["everywhere"] < 1.3


async def _flood(doors: dict[str, list[Door]], *, seconds: float) -> dict[str, int]:
    """Each tenant has thirty requests open at each of its gateways. Returns output tokens by tenant."""
    tokens = dict.fromkeys(doors, 0)
    begin = time.monotonic() + 1.5  # until the queues are in step
    body = json.dumps(
        {
            "model": "m", "max_tokens": 16, "ignore_eos": True,
            "messages": [{"role": "user", "content": "Where does the river end?"}],
        }
    ).encode()  # fmt: skip

    async def client(tenant: str, door: Door) -> None:
        while time.monotonic() < begin + seconds:
            status, _, answer = await door.ask(body)
            assert status == 200
            if time.monotonic() >= begin:
                tokens[tenant] += json.loads(answer)["usage"]["completion_tokens"]

    async with asyncio.TaskGroup() as group:
        for tenant, its_doors in doors.items():
            for door in its_doors:
                for _ in range(30):
                    group.create_task(client(tenant, door))
    for its_doors in doors.values():
        for door in its_doors:
            door.close()
    await asyncio.sleep(0.1)
    return tokens
