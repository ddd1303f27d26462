"""Budgets under chaos, live: eight gateways, one Redis, ten thousand clients, and nothing that stays up.

What was really spent is counted by the engine that served it, in tokens. What the gateways believe is the
budget's state on the server. Between the two lie only requests that killed gateways had in flight and could
not report: at most what they had reserved, which is what docs/design/0006-shared-limits.md says. When
reservations have expired nothing is held, nothing is counted that was not spent, and what is left can be
spent to the last request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess, start_engine, start_gateway
from tests.e2e.limits.crowd import INPUT_MICROUSD, OUTPUT_MICROUSD, Crowd, Door, life_of, request
from tests.e2e.redis_server import RedisProcess, free_port, start_redis

from fairlead.limits.quota import Limit, State, What, Window
from fairlead.limits.redis import RedisStore
from fairlead.providers.estimate import estimate_from_body
from fairlead.storage.redis import RedisServer

GATEWAYS = 8
CLIENTS = 10_000
AMOUNT = 3_000_000
MOST_S = 30.0
"""For either wave of clients, on a machine that is busy with other things."""
TOTAL_S = 6.0
SLACK_S = 5.0
"""Longer than the server is ever gone, so that no settlement comes too late."""
RESERVED = estimate_from_body(request(24)) * INPUT_MICROUSD + 24 * OUTPUT_MICROUSD
"""The most that one request holds."""

CONFIG = """
providers:
  engine: {{type: openai-compatible, base_url: {engine}}}
models:
  m:
    timeouts: {{total_s: {total_s}}}
    targets: [{{provider: engine, input_usd_per_mtok: {input_price}, output_usd_per_mtok: {output_price}}}]
tenants:
  default:
    limits:
      budgets: [{{usd: {usd}, per: month}}]
limits:
  store: redis
  redis: {{url: env:LIMITS_URL}}
  reservation_slack_s: {slack_s}
ledger: {{enabled: false}}
"""


class Fleet:
    """The gateways, each with an address and a state directory that outlive its process."""

    def __init__(self, config: str, environ: dict[str, str], directory: Path) -> None:
        self._config = config
        self._environ = environ
        self._directory = directory
        self._ports = [free_port() for _ in range(GATEWAYS)]
        self._stack = contextlib.ExitStack()
        self.gateways: list[GatewayProcess] = []
        self.killed: list[int] = []

    def __enter__(self) -> Fleet:
        with ThreadPoolExecutor() as pool:
            self.gateways = list(pool.map(self._start, range(GATEWAYS)))
        self.keys = [gateway.admin_key for gateway in self.gateways]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self, number: int) -> None:
        """End one without warning."""
        process = self.gateways[number].process
        process.kill()
        process.wait()
        self.killed.append(number)

    def restart(self, number: int) -> None:
        """Start a killed one again, at the same address."""
        self.gateways[number] = self._start(number)

    def _start(self, number: int) -> GatewayProcess:
        options = ["--state", str(self._directory / f"state{number}"), "--port", str(self._ports[number])]
        return self._stack.enter_context(start_gateway(self._config, options=options, environ=self._environ))


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    timing = ("--step-ms", "20", "--sequence-ms", "0", "--prefill-token-ms", "0", "--max-batch", "1024")
    with start_engine("openai", *timing, "--kv-tokens", "1000000") as engine:
        yield engine


@pytest.mark.timeout(150)
def test_a_budget_holds_while_gateways_and_redis_come_and_go(engine: EngineProcess, tmp_path: Path) -> None:
    config = CONFIG.format(
        engine=engine.base_url, total_s=TOTAL_S, slack_s=SLACK_S, usd=AMOUNT / 1e6,
        input_price=INPUT_MICROUSD, output_price=OUTPUT_MICROUSD,
    )  # fmt: skip
    with (
        start_redis("--appendonly", "yes", "--appendfsync", "everysec") as redis,
        Fleet(config, {"LIMITS_URL": redis.url}, tmp_path) as fleet,
    ):
        crowd, state, lapsed = asyncio.run(_play(fleet, redis))
    real = int(
        engine.metric("vllm:prompt_tokens_total") * INPUT_MICROUSD
        + engine.metric("vllm:generation_tokens_total") * OUTPUT_MICROUSD
    )
    paid = sum(crowd.paid.values())
    unreported = sum(crowd.paid.get(name, 0) for name in lapsed)
    print(
        f"\n{sum(crowd.told.values()):,} requests of {CLIENTS:,} clients: {dict(crowd.told)}\n"
        f"{len(fleet.killed)} gateways killed with {len(lapsed)} requests in flight\n"
        f"budget {AMOUNT:,}, counted {state.used:,}, really spent {real:,} (micro-dollars)\n"
        f"overshoot {real - AMOUNT:,}, bound {len(lapsed) * RESERVED:,}; held afterwards {state.reserved}"
    )
    # All of it happened: answers, refusals, an unreachable store, broken connections, and nothing else.
    assert set(crowd.told) <= {"200", "429", "503", "cut", "closed"}
    assert min(crowd.told[what] for what in ("200", "429", "503", "cut")) > 50
    assert len(fleet.killed) == 6
    # Phantom spending is 0: what is counted is what was answered, less what killed gateways could not report.
    assert state.used == paid - unreported
    assert state.reserved == 0
    # What is counted never passes the budget, and all of it can be spent.
    assert AMOUNT - RESERVED < state.used <= AMOUNT
    # Real spending passes it by what killed gateways had in flight, and less than that had reserved.
    dead = {life for life, number in crowd.lives.items() if number in fleet.killed}
    assert {life_of(name) for name in lapsed} <= dead
    assert real - AMOUNT <= real - state.used <= len(lapsed) * RESERVED
    assert real >= paid


async def _play(fleet: Fleet, redis: RedisProcess) -> tuple[Crowd, State, set[str]]:
    """The crowd and the chaos, then a few clients more. Returns also the budget and what has expired."""
    crowd = Crowd([Door(gateway.port, key) for gateway, key in zip(fleet.gateways, fleet.keys, strict=True)])
    loop = asyncio.get_running_loop()
    chaos = None

    async def all_happened() -> bool:
        nonlocal chaos
        if chaos is None and crowd.told["200"] > 500:
            chaos = loop.run_in_executor(None, _chaos, fleet, redis)
        over = chaos is not None and chaos.done()
        return time.monotonic() > late or (over and crowd.told["429"] > 2000)

    late = time.monotonic() + MOST_S
    await crowd.want(CLIENTS, all_happened, seed=1)
    assert chaos is not None
    await chaos
    await _nothing_held(redis.url, TOTAL_S + SLACK_S + 5.0)

    async def all_spent() -> bool:
        return time.monotonic() > late or AMOUNT - (await _budget(redis.url)).used < RESERVED

    # What killed gateways had reserved is there again, and no more than that.
    late = time.monotonic() + MOST_S
    await crowd.want(1000, all_spent, seed=2)
    await crowd.close()
    await _nothing_held(redis.url, 5.0)
    return crowd, await _budget(redis.url), await _lapsed(redis.url)


def _chaos(fleet: Fleet, redis: RedisProcess) -> None:
    """Some ten seconds of it. Of the six gateways that are killed, four come back."""
    fleet.kill(0)
    fleet.restart(0)
    redis.pause()
    fleet.kill(1)
    time.sleep(1.2)
    redis.resume()
    fleet.restart(1)
    time.sleep(0.7)
    fleet.kill(2)
    redis.command("CLIENT", "PAUSE", "1000", "ALL")
    time.sleep(0.8)
    fleet.restart(2)
    time.sleep(0.8)
    redis.kill()
    fleet.kill(3)
    time.sleep(0.5)
    redis.start()
    fleet.restart(3)
    time.sleep(0.5)
    fleet.kill(4)
    fleet.kill(5)


async def _nothing_held(url: str, patience_s: float) -> None:
    """Return when every reservation has been settled or has expired."""
    async with asyncio.timeout(patience_s):
        while (await _budget(url)).reserved:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.2)


async def _budget(url: str) -> State:
    limit = Limit(
        id="default/usd:month",
        node="default",
        root="default",
        what=What.USD,
        amount=AMOUNT,
        window=Window.MONTH,
    )
    server = RedisServer(url)
    try:
        (state,) = await RedisStore(server).look([limit])
    finally:
        await server.close()
    return state


async def _lapsed(url: str) -> set[str]:
    """Reservations that expired without having been settled."""
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    records = await client.hgetall("fairlead:{limits/default}:open")  # type: ignore[misc]  # the library's type is a union
    await client.aclose()
    phases = {name.decode(): msgspec.msgpack.decode(record)[1] for name, record in records.items()}
    assert 0 not in phases.values(), "a reservation is still open"
    return {name for name, phase in phases.items() if phase == 1}
