"""The limiter over a store that several processes share, and what it does without it.

The store is asked in one round trip. When it cannot be asked, each limit says
itself what then: `closed` limits refuse, and when none on the way is closed,
this process admits alone, up to `bounded_share` of each limit. What it
admitted alone is charged to the store once that is back. Every such decision
is counted, as `unavailable` or `bounded`.

`settle` and `release` do not wait and may be called in a `finally`: the store
is told in tasks of the limiter's own, which `close` waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Protocol

from msgspec.structs import replace

from fairlead.errors import LimitsUnavailable, StorageError
from fairlead.limits.limiter import Limiter, Permit, Wanted, asks, costs
from fairlead.limits.quota import Ask, Limit, Refused, RemoteStore, State, What
from fairlead.limits.tree import Path
from fairlead.types import Usage

_RETRY_AFTER_S = 1.0


class SharedStore(RemoteStore, Protocol):
    """A remote store that makes up for what it missed."""

    def charge(self, request_id: str, asks: Sequence[Ask]) -> None:
        """Charge what was used without asking, once by id, when the store can be reached."""
        ...

    def keep_doubtful(self, request_id: str) -> None:
        """Do not take back an admission that failed: it is charged instead."""
        ...


class SharedLimiter:
    """`Limiter`, with waits."""

    def __init__(self, limiter: Limiter, remote: SharedStore, *, bounded_share: float) -> None:
        """Join the parts.

        Args:
            limiter: decides and counts; its own store holds what is admitted alone.
            remote: the shared store.
            bounded_share: part of each limit that this process admits alone.
        """
        self.limiter = limiter
        self._remote = remote
        self._share = bounded_share
        self._shrunk: dict[str, tuple[Limit, Limit]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def admit(self, wanted: Wanted, path: Path) -> Permit:
        """As `Limiter.admit`, in one round trip.

        Raises:
            RateLimited: as `Limiter.admit`.
            LimitsUnavailable: the store cannot be asked.
        """
        if not path.limits:
            return Permit(wanted, path, None)
        wants = asks(wanted, path)
        try:
            answer = await self._remote.admit(wanted.request_id, wants, wanted.ttl_s)
        except StorageError as error:
            return self._alone(wanted, path, wants, error)
        return self.limiter.permit(wanted, path, answer, local=False)

    def settle(self, permit: Permit, usage: Usage, cost_microusd: int | None, *, whole: bool) -> None:
        """As `Limiter.settle`."""
        if permit.admitted is None:
            return
        if permit.local:
            self.limiter.settle(permit, usage, cost_microusd, whole=whole)
            self._remote.charge(permit.wanted.request_id, _used(permit, usage, cost_microusd))
            return
        self.limiter.learn(permit, usage, whole=whole)
        self._tell(self._settle(permit, usage, cost_microusd))

    def release(self, permit: Permit) -> None:
        """As `Limiter.release`."""
        if permit.admitted is None:
            return
        if permit.local:
            self.limiter.release(permit)
        else:
            self._tell(self._remote.release(permit.wanted.request_id))

    async def show(self, tenant: str) -> tuple[State, ...]:
        """As `Limiter.show`. Raises StorageError."""
        return await self._remote.look(self.limiter.tree.limits(tenant))

    async def show_key(self, tenant: str, key_id: str, key_name: str) -> tuple[State, ...]:
        """As `Limiter.show_key`. Raises StorageError."""
        return await self._remote.look(self.limiter.tree.key_limits(tenant, key_id, key_name))

    async def close(self) -> None:
        """Wait until the store has been told of everything, or could not be."""
        await asyncio.gather(*self._telling, return_exceptions=True)

    def _alone(self, wanted: Wanted, path: Path, wants: list[Ask], error: StorageError) -> Permit:
        """What this process decides without the store."""
        for ask in wants:
            if ask.limit.on_store_failure == "closed" and not ask.limit.shadow:
                self.limiter.counts[wanted.tenant, ask.limit.what, "unavailable"] += 1
                raise LimitsUnavailable(retry_after_s=_RETRY_AFTER_S) from error
        own = [Ask(self._bounded(ask.limit), ask.cost) for ask in wants]
        answer = self.limiter.store.admit(wanted.request_id, own, wanted.ttl_s)
        if isinstance(answer, Refused) and answer.retry_after_s is None:
            # Too large for what one process may admit; the whole limit may hold it when the store is back.
            self.limiter.counts[wanted.tenant, answer.state.limit.what, "unavailable"] += 1
            raise LimitsUnavailable(retry_after_s=_RETRY_AFTER_S) from error
        permit = self.limiter.permit(wanted, path, answer)
        self._remote.keep_doubtful(wanted.request_id)
        for ask in wants:
            self.limiter.counts[wanted.tenant, ask.limit.what, "bounded"] += 1
        return permit

    def _bounded(self, limit: Limit) -> Limit:
        """The part of a limit that this process has for itself; at least one of what it counts."""
        known = self._shrunk.get(limit.id)
        if known is None or known[0] is not limit:
            amount, burst = (max(1, int(number * self._share)) for number in (limit.amount, limit.burst))
            known = self._shrunk[limit.id] = (limit, replace(limit, amount=amount, burst=burst, warn_at=()))
        return known[1]

    async def _settle(self, permit: Permit, usage: Usage, cost_microusd: int | None) -> None:
        used = costs(permit.path, usage, cost_microusd)
        self.limiter.crossed(await self._remote.settle(permit.wanted.request_id, used))

    def _tell(self, telling: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(telling, name="limits settlement")
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            # A store that is gone repeats by itself what it could not do; its reservation expires at worst.
            task.exception()


def _used(permit: Permit, usage: Usage, cost_microusd: int | None) -> list[Ask]:
    """What the shared store missed of a request that was admitted without it."""
    if cost_microusd is None:
        cost_microusd = permit.wanted.cost_microusd
    used = costs(permit.path, usage, cost_microusd)
    charges = [Ask(limit, 1) for limit in permit.path.limits if limit.what is What.REQUESTS]
    return charges + [Ask(limit, used[limit.id]) for limit in permit.path.limits if limit.id in used]
