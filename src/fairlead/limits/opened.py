"""The limits of one gateway process, opened as the configuration says.

In one process the state is in memory and saved in the database. Processes
that share their limits ask a Redis or Valkey server, with slices of their own
when leases are enabled. A server that cannot be reached does not keep a
gateway from starting: what its limits do without it is configured for each.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fairlead import config as cfg
from fairlead.errors import ConfigError, StorageError
from fairlead.limits.clock import ForwardClock
from fairlead.limits.limiter import Limiter
from fairlead.limits.memory import MemoryStore
from fairlead.limits.saved import open_saved
from fairlead.limits.shared import SharedLimiter, SharedStore
from fairlead.limits.tree import Tree
from fairlead.limits.warn import Crossing
from fairlead.storage.connect import redis_server
from fairlead.storage.ports import Database

if TYPE_CHECKING:
    from fairlead.limits.gossip import Gossip

_log: Final = logging.getLogger(__name__)


class OpenLimits:
    """What `open_limits` has opened; `close` it before the database."""

    def __init__(
        self,
        limiter: Limiter,
        closing: list[Callable[[], Awaitable[None]]],
        shared: SharedLimiter | None = None,
        gossip: Gossip | None = None,
    ) -> None:
        self.limiter = limiter
        self.shared = shared
        """Decides where several processes share the state; None where `limiter` does."""
        self.gossip = gossip
        """Keeps their fair queues in step; None where a process is alone."""
        self._closing = closing

    def configure(self, config: cfg.Config) -> None:
        """Go on under another configuration of tenants. Where the state is kept stays as it is."""
        self.limiter.configure(Tree(config.tenants), config.limits.assumed_output_tokens)

    async def close(self) -> None:
        """Write or send what is left, and disconnect."""
        for close in self._closing:
            await close()


async def open_limits(
    config: cfg.Config,
    database: Database,
    resolve: Callable[[cfg.Secret], str],
    warn: Callable[[Crossing], None],
) -> OpenLimits:
    """Open what `limits:` of the configuration asks for.

    Args:
        config: the whole configuration.
        database: keeps the state of a process that is alone.
        resolve: gives the value of a secret.
        warn: told of each crossing of a `warn_at`.

    Raises:
        ConfigError: the store's URL is missing or wrong, or its client library is not installed.
        StorageError: the saved state cannot be read.
    """
    if config.limits.store == "redis":
        return await _open_shared(config, resolve, warn)
    saver = await open_saved(database, ForwardClock())
    saver.start()
    return OpenLimits(_limiter(config, saver.store, warn), [saver.stop])


async def _open_shared(
    config: cfg.Config, resolve: Callable[[cfg.Secret], str], warn: Callable[[Crossing], None]
) -> OpenLimits:
    # Only here, as its client library is not a part of every installation.
    from fairlead.limits.gossip import Gossip
    from fairlead.limits.lease import LeasedStore
    from fairlead.limits.redis import RedisStore

    options = config.limits.redis
    if options is None:
        raise ConfigError("`limits.store: redis` needs `limits.redis.url`", param="limits.redis")
    server = redis_server(resolve(options.url), timeout_s=options.timeout_s, cluster=options.cluster)
    try:
        await server.check()
    except StorageError as error:
        _log.warning("limits start without their store", extra={"error": str(error)})
    store = RedisStore(server, prefix=options.prefix)
    closing: list[Callable[[], Awaitable[None]]] = [store.close, server.close]
    remote: SharedStore = store
    process = secrets.token_hex(8)  # of this life of the process: a slice is nobody else's
    leases = config.limits.leases
    if leases.enabled:
        leased = LeasedStore(store, process=process, share=leases.share, lifetime_s=leases.lifetime_s)
        closing.insert(0, leased.close)
        remote = leased
    limiter = _limiter(config, MemoryStore(ForwardClock()), warn)
    shared = SharedLimiter(limiter, remote, bounded_share=config.limits.bounded_share)
    closing.insert(0, shared.close)
    gossip = Gossip(server, replica=process, prefix=options.prefix)
    return OpenLimits(limiter, closing, shared, gossip)


def _limiter(config: cfg.Config, store: MemoryStore, warn: Callable[[Crossing], None]) -> Limiter:
    return Limiter(
        store,
        Tree(config.tenants),
        now=time.time,
        warn=warn,
        assumed_output_tokens=config.limits.assumed_output_tokens,
    )
