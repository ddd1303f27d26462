"""Closes the windows of GPU pools, one after the other, and knows what work costs.

One worker of a gateway closes; of several gateways on one database whoever is
first. A window is closed when it is over for `settle_s`, so that the records
of requests that ended a little later are there. Where a gateway stood still
its windows are made up for, because GPUs cost while nobody counts; a gap of
more than a day is left out. A clock that was set back goes on where it is:
windows that are there already are left as they are.

How many GPUs a pool has is configured, or counted from what DCGM and NVML
show while the window lasts; where they fall silent the last number holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from fairlead.config.scrape_options import GpuPool
from fairlead.errors import StorageError
from fairlead.telemetry.gpu.cost import (
    HOUR_US,
    SECOND_US,
    WINDOW_US,
    Weights,
    close,
    price_microusd,
    weights_of,
)
from fairlead.telemetry.gpu.db import GpuLedger
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.scrapers.board import Board, billable
from fairlead.telemetry.scrapers.gpu import matches
from fairlead.types import Usage

_log: Final = logging.getLogger(__name__)

_TICK_S: Final = 5.0
_RATES_EVERY: Final = 12
"""Ticks between two looks at what work has cost lately."""
_EXPIRE_EVERY: Final = 720
_MADE_UP_US: Final = 24 * HOUR_US
_RATE_US: Final = HOUR_US
_MOST_PIECES: Final = 200_000
"""Pieces charged in one window; more wait for the next one."""
_WINDOWS_KEPT_US: Final = 400 * 24 * HOUR_US
_PER_TICK: Final = 60
"""Windows of a pool closed before others have their turn."""


def pools_by_target(pools: Mapping[str, GpuPool]) -> dict[str, str]:
    """The pool of each target."""
    return {target: name for name, pool in pools.items() for target in pool.targets}


class GpuAccounts:
    """The pools of one gateway."""

    def __init__(
        self,
        ledger: GpuLedger,
        pools: Mapping[str, GpuPool],
        board: Board,
        *,
        settle_s: float,
        retention_days: int,
        closes: bool = True,
    ) -> None:
        """Keep the accounts of `pools`.

        Args:
            ledger: where work is and windows go.
            pools: by name.
            board: counts GPUs and says what engines have worked.
            settle_s: time after its end at which a window is closed.
            retention_days: how long shares are kept.
            closes: this process closes windows; else it only knows what work costs.
        """
        self._ledger = ledger
        self._pools = pools
        self._board = board
        self._settle_us = round(settle_s * SECOND_US)
        self._retention_us = retention_days * 24 * HOUR_US
        self._closes = closes
        self._owner = pools_by_target(pools)
        self._next: dict[str, int] = {}
        """Start of the window to close next, by pool."""
        self._counted: dict[str, dict[int, int]] = {name: {} for name in pools}
        """GPUs seen, by pool and window."""
        self._last_count: dict[str, int] = {}
        self._rates: dict[str, tuple[Weights, float]] = {}
        """By pool: the weights, and GPU seconds per thousandth of their unit."""
        self._spent: dict[tuple[str, str], int] = {}
        """Micro-dollars by pool and kind since this process began."""

    # --- what others ask --------------------------------------------------------------------

    def gpu_seconds(self, target: str, usage: Usage) -> float:
        """About how much GPU time an answer takes at a target, from the last hour's; 0.0 when unknown."""
        known = self._rates.get(self._owner.get(target, ""))
        if known is None:
            return 0.0
        weights, rate = known
        prompt = max(usage.input_tokens - usage.cache_read_tokens, 0)
        return (prompt * weights.prompt + max(usage.output_tokens, 0) * weights.output) / 1e6 * rate

    def weights(self, pool: str) -> Weights:
        """The weights of a pool's tokens as they are now."""
        options = self._pools[pool]
        return weights_of(options, (self._board.work(target) for target in options.targets))

    def gpus(self, pool: str) -> int | None:
        """How many GPUs a pool has; None while nobody knows."""
        options = self._pools[pool]
        return options.count if options.count is not None else self._last_count.get(pool)

    def readings(self) -> Iterator[Reading]:
        """As metrics; only of the process that closes."""
        for key, microusd in self._spent.items():
            yield Reading(name="fairlead_gpu_cost_usd_total", value=microusd / 1e6, labels=key)

    # --- the loop ---------------------------------------------------------------------------

    async def run(self, clock: Callable[[], float] = time.time) -> None:
        """Go on until cancelled. A store that fails is asked again; nothing is lost by that."""
        tick = 0
        while True:
            try:
                await self.tick(clock(), time.monotonic())
                if tick % _RATES_EVERY == 0:
                    await self.refresh(clock())
                if self._closes and tick % _EXPIRE_EVERY == 0:
                    now_us = round(clock() * SECOND_US)
                    await self._ledger.expire(now_us - self._retention_us, now_us - _WINDOWS_KEPT_US)
            except StorageError as error:
                _log.warning("GPU cost waits for the state store", extra={"error": str(error)})
            tick += 1
            await asyncio.sleep(_TICK_S)

    async def tick(self, now: float, monotonic: float) -> None:
        """Count GPUs and close what is due at `now` (Unix seconds; the board's clock is `monotonic`).

        Raises:
            StorageError: some windows are not closed yet.
        """
        self._count(round(now * SECOND_US), monotonic)
        if self._closes:
            for pool in self._pools:
                await self._close_due(pool, round(now * SECOND_US))

    async def refresh(self, now: float) -> None:
        """Learn what work has cost in the last hour.

        Raises:
            StorageError: what was known stays.
        """
        now_us = round(now * SECOND_US)
        for total in await self._ledger.totals(now_us - self._settle_us - _RATE_US, now_us):
            if total.pool in self._pools and total.work > 0:
                rate = total.gpu_us / SECOND_US / total.work
                self._rates[total.pool] = (self.weights(total.pool), rate)

    def _count(self, now_us: int, monotonic: float) -> None:
        window = now_us - now_us % WINDOW_US
        devices = billable(self._board.devices(monotonic))
        for name, pool in self._pools.items():
            if pool.count is None and pool.match is not None:
                wanted = pool.match
                seen = sum(1 for device in devices if matches(device, wanted))
                if seen:
                    self._last_count[name] = seen
                    if self._closes:
                        self._counted[name][window] = seen

    async def _close_due(self, pool: str, now_us: int) -> None:
        start_us = await self._first_window(pool, now_us)
        for _ in range(_PER_TICK):
            self._next[pool] = start_us
            end_us = start_us + WINDOW_US
            if end_us + self._settle_us > now_us:
                return
            gpus = self._gpus_at(pool, start_us)
            if gpus is not None:
                await self._close(pool, start_us, end_us, gpus)
            start_us = end_us

    async def _first_window(self, pool: str, now_us: int) -> int:
        """The window to go on with: the current one where nothing is known, or the clock was moved."""
        current = now_us - now_us % WINDOW_US
        start_us = self._next.get(pool)
        if start_us is None:
            last = await self._ledger.closed_until(pool)
            if last is None:
                return current
            start_us = last[0]
            self._last_count.setdefault(pool, last[1])
        return start_us if 0 <= current - start_us <= _MADE_UP_US else current

    def _gpus_at(self, pool: str, start_us: int) -> int | None:
        options = self._pools[pool]
        if options.count is not None:
            return options.count
        counted = self._counted[pool]
        found = counted.get(start_us, self._last_count.get(pool))
        for gone in [window for window in counted if window <= start_us]:
            del counted[gone]
        return found

    async def _close(self, pool: str, start_us: int, end_us: int, gpus: int) -> None:
        options = self._pools[pool]
        pieces = await self._ledger.pending(pool, end_us, _MOST_PIECES)
        window, shares = await asyncio.to_thread(
            close,
            pieces,
            start_us=start_us,
            end_us=end_us,
            microusd_per_hour=price_microusd(options.usd_per_hour),
            gpus=gpus,
            replicas=min(options.replicas, gpus),
            weights=self.weights(pool),
        )
        if await self._ledger.close(pool, window, shares):
            for kind, microusd in (("used", window.used_microusd), ("idle", window.idle_microusd)):
                self._spent[pool, kind] = self._spent.get((pool, kind), 0) + microusd
