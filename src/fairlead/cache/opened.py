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
from fairlead.cache.purge import Purge
from fairlead.cache.saved import SavedTier
from fairlead.cache.semantic.opened import OpenSemantic, open_semantic
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.errors import ConfigError, StorageError
from fairlead.storage.connect import open_cache_file, redis_server
from fairlead.storage.ports import Database

_log: Final = logging.getLogger(__name__)
_MOST_PENDING: Final = 16 * 1024 * 1024


class OpenCache:
    """What `open_cache` has opened."""

    def __init__(self, memory: MemoryTier, trouble: Trouble) -> None:
        self.cache: Cache
        self.memory = memory
        self.trouble = trouble
        self.database: Database | None = None
        """The file of kept answers, where they are in one."""
        self.semantic: OpenSemantic | None = None
        self.closing: list[Callable[[], Awaitable[None]]] = []

    async def take_up(self, config: cfg.Config, *, worker: int = 0, workers: int = 1) -> None:
        """Have ready what the semantic tier of `config`'s models needs, if one has it.

        Raises:
            ConfigError: something that it needs is not installed.
        """
        if self.semantic is None:
            if not any(model.cache and model.cache.semantic for model in config.models.values()):
                return
            self.semantic = await open_semantic(
                config, self.database, self.trouble, worker=worker, workers=workers
            )
            self.cache.beside = self.semantic.tier
        await self.semantic.take_up(config)

    async def purged(self, purge: Purge) -> None:
        """Another process has purged: forget the same."""
        await self.memory.purge(purge)
        if self.semantic is not None:
            await self.semantic.tier.follow_purge(purge)

    async def close(self) -> None:
        """Write or send what is left, and disconnect."""
        if self.semantic is not None:
            await self.semantic.close()
        for close in self.closing:
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
    opened = OpenCache(memory, trouble)
    behind: Tier | None = None
    if options.store == "disk":
        behind = await _open_file(config, opened, pending)
    elif options.store == "redis":
        behind = await _open_shared(config, resolve, opened, pending)
    opened.cache = Cache(
        memory,
        behind,
        stats=Stats(),
        trouble=trouble,
        max_entry_bytes=options.max_entry_bytes,
        timeout_s=options.lookup_timeout_s,
    )
    return opened


async def _open_file(config: cfg.Config, opened: OpenCache, pending: int) -> Tier | None:
    try:
        database = await open_cache_file(config.state.dir, now=time.time())
    except StorageError as error:
        _log.warning("answers are kept in memory only", extra={"error": error.message})
        opened.trouble.counts[SavedTier.name, "open"] += 1
        return None
    if database is None:
        return None
    tier = SavedTier(
        database,
        max_bytes=config.cache.disk_bytes,
        pending_bytes=pending,
        trouble=opened.trouble,
        purged=opened.purged,
    )
    tier.start()
    opened.database = database
    opened.closing += [tier.stop, database.close]
    return tier


async def _open_shared(
    config: cfg.Config, resolve: Callable[[cfg.Secret], str], opened: OpenCache, pending: int
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
        server, prefix=options.prefix, pending_bytes=pending, trouble=opened.trouble, purged=opened.purged
    )
    tier.start()
    opened.closing += [tier.stop, server.close]
    return tier
