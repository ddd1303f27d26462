"""What the control API says of engines, GPUs and their cost."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config import Config
from fairlead.errors import NotFound
from fairlead.gateway.admin_data import Time
from fairlead.telemetry.gpu.cost import SECOND_US, BreakEven, Weights, break_even
from fairlead.telemetry.gpu.db import Total, Used
from fairlead.telemetry.gpu.opened import Gpus
from fairlead.telemetry.scrapers.gpu import GpuReading, matches

_DAY_S = 86_400.0


class GpuView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, or a MIG slice of one. What is not known is null or empty."""

    uuid: str
    index: str
    model: str
    mig_profile: str
    mig_id: str
    node: str
    namespace: str
    pod: str
    source: str
    utilisation: float | None
    """Part of the time in which any kernel ran, 0 to 1."""
    engine_active: float | None
    sm_active: float | None
    tensor_active: float | None
    memory_active: float | None
    memory_used_bytes: int | None
    memory_free_bytes: int | None
    power_w: float | None
    energy_mj: float | None
    temperature_c: float | None
    xid: int | None
    pools: tuple[str, ...]
    """Pools of `telemetry.gpus` that it belongs to."""


class GpuList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[GpuView, ...]


class EngineView(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine of a target says of itself. What it does not say is null."""

    target: str
    engine: str
    running: float | None
    waiting: float | None
    kv_usage: float | None
    capacity_tokens: int | None
    preemptions: float | None
    """Since the engine started."""
    queue_s: float | None
    """Means of the requests that ended lately, as are those that follow."""
    prefill_s: float | None
    decode_s: float | None
    first_token_s: float | None
    inter_token_s: float | None


class EngineList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[EngineView, ...]


class CostQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which time to add up; the last day when nothing is said."""

    since: Time | None = None
    until: Time | None = None
    by: Annotated[
        Literal["pool", "target", "tenant", "model", "key"], Meta(description="How what was used is grouped.")
    ] = "target"


class PoolCost(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of GPUs: what was reserved, used and idle. Money is micro-dollars."""

    pool: str
    gpu_hours: float
    """GPUs times hours."""
    used_gpu_hours: float
    reserved_microusd: int
    used_microusd: int
    idle_microusd: int
    requests: int
    input_tokens: int
    output_tokens: int
    closed_until: float
    """Unix seconds; what comes later is not added up yet."""
    weights: Weights | None
    """The work of a token now; null for a pool that is no longer configured."""
    break_even: BreakEven | None
    """Beside the API price of the pool; null where none is configured."""


class GpuCost(msgspec.Struct, frozen=True, kw_only=True):
    """What GPUs cost in a stretch of time, and who used them."""

    since: float
    until: float
    pools: tuple[PoolCost, ...]
    used: tuple[Used, ...]
    """By group, the largest first; the groups add up to what is used."""


def gpu_list(gpus: Gpus, config: Config, now: float) -> GpuList:
    """Every GPU known at `now` (monotonic seconds)."""
    return GpuList(data=tuple(_gpu_view(one, config) for one in gpus.board.devices(now)))


def _gpu_view(reading: GpuReading, config: Config) -> GpuView:
    pools = tuple(
        name
        for name, pool in config.telemetry.gpus.items()
        if pool.match is not None and matches(reading, pool.match)
    )
    return GpuView(**msgspec.structs.asdict(reading), pools=pools)


def engine_list(gpus: Gpus, targets: tuple[str, ...], now: float) -> EngineList:
    """The engines behind `targets` that have said something lately."""
    found = []
    for target in targets:
        reading = gpus.board.reading(target, now)
        if reading is not None:
            means = gpus.board.means(target, now)
            found.append(
                EngineView(
                    target=target,
                    engine=reading.engine,
                    running=reading.running,
                    waiting=reading.waiting,
                    kv_usage=reading.kv_usage,
                    capacity_tokens=reading.capacity_tokens,
                    preemptions=reading.preemptions,
                    queue_s=means.queue_s if means is not None else None,
                    prefill_s=means.prefill_s if means is not None else None,
                    decode_s=means.decode_s if means is not None else None,
                    first_token_s=means.first_token_s if means is not None else None,
                    inter_token_s=means.inter_token_s if means is not None else None,
                )
            )
    return EngineList(data=tuple(found))


async def gpu_cost(gpus: Gpus, config: Config, query: CostQuery, now: float) -> GpuCost:
    """What was reserved, used and idle, and by whom, up to the last closed window.

    Raises:
        NotFound: no GPU has a price.
    """
    if gpus.accounts is None:
        raise NotFound("no GPU has a price", hint="set `telemetry.gpus`")
    until = now if query.until is None else query.until
    since = until - _DAY_S if query.since is None else query.since
    since_us, until_us = round(since * SECOND_US), round(until * SECOND_US)
    totals = await gpus.ledger.totals(since_us, until_us)
    by = "key_id" if query.by == "key" else query.by
    used = await gpus.ledger.used(by, since_us, until_us)
    return GpuCost(
        since=since,
        until=until,
        pools=tuple(_pool_cost(total, gpus, config) for total in totals),
        used=tuple(used),
    )


def _pool_cost(total: Total, gpus: Gpus, config: Config) -> PoolCost:
    pool = config.telemetry.gpus.get(total.pool)
    api = pool.api if pool is not None else None
    known = gpus.accounts is not None and pool is not None
    return PoolCost(
        pool=total.pool,
        gpu_hours=total.gpu_window_us / 3.6e9,
        used_gpu_hours=total.gpu_us / 3.6e9,
        reserved_microusd=total.reserved_microusd,
        used_microusd=total.used_microusd,
        idle_microusd=total.reserved_microusd - total.used_microusd,
        requests=total.requests,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        closed_until=total.until_us / SECOND_US,
        weights=gpus.accounts.weights(total.pool) if known and gpus.accounts is not None else None,
        break_even=break_even(total.reserved_microusd, total.input_tokens, total.output_tokens, api)
        if api is not None
        else None,
    )
