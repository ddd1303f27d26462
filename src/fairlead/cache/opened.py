"""The cache of one gateway process, opened as the configuration says.

A store that cannot be opened or reached does not keep a gateway from starting:
answers are then kept in memory alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fairlead import config as cfg
from fairlead.cache.lookup import Cache, Tier
from fairlead.cache.memory import MemoryTier
from fairlead.cache.saved import SavedTier
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.errors import ConfigError, StorageError
from fairlead.storage.connect import open_cache_file, redis_server

_log: Final = logging.getLogger(__name__)
_MOST_PENDING: Final = 16 * 1024 * 1024


class OpenCache:
    """What `open_cache` has opened."""

    def __init__(self, cache: Cache, closing: list[Callable[[], Awaitable[None]]]) -> None:
        self.cache = cache
        self._closing = closing

    async def close(self) -> None:
        """Write or send what is left, and disconnect."""
        for close in self._closing:
            await close()


async def open_cache(config: cfg.Config, resolve: Callable[[cfg.Secret], str]) -> OpenCache | None:
    """Open what `cache:` of the configuration asks for; None when no model keeps answers.

    Args:
        config: the whole configuration.
        resolve: gives the value of a secret.

    Raises:
        ConfigError: the store's URL is missing or wrong, or its client library is not installed.
    """
    if not any(model.cache is not None for model in config.models.values()):
        return None
    options = config.cache
    trouble = Trouble()
    # What waits to be written is memory too.
    pending = min(_MOST_PENDING, options.max_bytes // 8) if options.store != "none" else 0
    memory = MemoryTier(options.max_bytes - pending)
    closing: list[Callable[[], Awaitable[None]]] = []
    behind: Tier | None = None
    if options.store == "disk":
        behind = await _open_file(config, memory, pending, trouble, closing)
    elif options.store == "redis":
        behind = await _open_shared(config, resolve, memory, pending, trouble, closing)
    cache = Cache(
        memory,
        behind,
        stats=Stats(),
        trouble=trouble,
        max_entry_bytes=options.max_entry_bytes,
        timeout_s=options.lookup_timeout_s,
    )
    return OpenCache(cache, closing)


async def _open_file(
    config: cfg.Config,
    memory: MemoryTier,
    pending: int,
    trouble: Trouble,
    closing: list[Callable[[], Awaitable[None]]],
) -> Tier | None:
    try:
        database = await open_cache_file(config.state.dir, now=time.time())
    except StorageError as error:
        _log.warning("answers are kept in memory only", extra={"error": error.message})
        trouble.counts[SavedTier.name, "open"] += 1
        return None
    if database is None:
        return None
    tier = SavedTier(
        database,
        max_bytes=config.cache.disk_bytes,
        pending_bytes=pending,
        trouble=trouble,
        purged=memory.purge,
    )
    tier.start()
    closing += [tier.stop, database.close]
    return tier


async def _open_shared(
    config: cfg.Config,
    resolve: Callable[[cfg.Secret], str],
    memory: MemoryTier,
    pending: int,
    trouble: Trouble,
    closing: list[Callable[[], Awaitable[None]]],
) -> Tier:
    options = config.cache.redis
    if options is None:
        raise ConfigError("`cache.store: redis` needs `cache.redis.url`", param="cache.redis")
    server = redis_server(
        resolve(options.url), timeout_s=options.timeout_s, cluster=options.cluster, option="cache.redis.url"
    )
    # Only here, as its client library is not a part of every installation.
    from fairlead.cache.shared import SharedTier

    try:
        await server.check()
    except StorageError as error:
        _log.warning("the cache starts without its store", extra={"error": error.message})
    tier = SharedTier(
        server, prefix=options.prefix, pending_bytes=pending, trouble=trouble, purged=memory.purge
    )
    tier.start()
    closing += [tier.stop, server.close]
    return tier
