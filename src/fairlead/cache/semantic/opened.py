"""The semantic tier of one gateway process, opened as the configuration says.

What a route needs and is not installed keeps the gateway from starting, and a
reload from taking place: whoever asks for vectors by MiniLM would not notice
otherwise that there are none. A file that cannot be read is another matter:
then the tier begins empty, and learns.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from fairlead import config as cfg
from fairlead.cache.semantic.embedders import embedder_of, open_minilm, wants_minilm
from fairlead.cache.semantic.minilm import MiniLM
from fairlead.cache.semantic.saved import SemanticFile
from fairlead.cache.semantic.store import Store
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.cache.trouble import Trouble
from fairlead.errors import ConfigError, StorageError, UsageError
from fairlead.storage.connect import open_cache_file
from fairlead.storage.ports import Database

_log = logging.getLogger(__name__)


class OpenSemantic:
    """What `open_semantic` has opened."""

    def __init__(self, tier: SemanticTier, models: Path, own: Database | None) -> None:
        self.tier = tier
        self.minilm: MiniLM | None = None
        self._models = models
        self._own = own

    async def take_up(self, config: cfg.Config) -> None:
        """Have ready what the routes of `config` need: their embedders, and what was learned of those.

        Raises:
            ConfigError: something is not installed.
        """
        wanted = wants_minilm(config)
        if wanted is not None and self.minilm is None:
            loop = asyncio.get_running_loop()
            self.minilm = await loop.run_in_executor(None, open_minilm, self._models, wanted)
        embedders = {
            embedder_of(options, config, minilm=self.minilm, ask=_nobody).id
            for model in config.models.values()
            if model.cache is not None and (options := model.cache.semantic) is not None
        }
        await self.tier.load(embedders)

    async def close(self) -> None:
        """Write what is left, and end."""
        await self.tier.close()
        if self.minilm is not None:
            self.minilm.close()
        if self._own is not None:
            await self._own.close()


async def open_semantic(
    config: cfg.Config, database: Database | None, trouble: Trouble, *, worker: int = 0, workers: int = 1
) -> OpenSemantic:
    """Open the tier; `take_up` comes next.

    Args:
        config: the whole configuration; a model of it has the tier.
        database: the file of kept answers, where that is open already.
        trouble: the cache's.
        worker: which process this is.
        workers: of how many.

    Raises:
        ConfigError: the vector index is not installed.
    """
    try:
        store = Store(config.cache.semantic_bytes)
    except UsageError as error:
        model = next(name for name, model in config.models.items() if model.cache and model.cache.semantic)
        raise ConfigError(error.message, param=f"models.{model}.cache.semantic", hint=error.hint) from error
    tier = SemanticTier(store, trouble, workers=workers)
    own: Database | None = None
    if database is None and config.cache.store == "redis":
        # Answers are with the server; questions and what was learned of them are this gateway's own.
        try:
            own = database = await open_cache_file(config.state.dir, now=time.time())
        except StorageError as error:
            _log.warning("the semantic cache is kept in memory only", extra={"error": error.message})
            trouble.met("semantic", "open", error)
    if database is not None:
        tier.file = SemanticFile(database, store, worker=worker, trouble=trouble, changed=tier.changed)
        tier.file.start()
    return OpenSemantic(tier, _models(config.state.dir), own)


def _models(directory: str) -> Path:
    """Where a model's built graph is kept: in the state directory, or the user's cache where that is none."""
    if directory == ":memory:" or "://" in directory:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairlead"
    return Path(directory).expanduser() / "models"


async def _nobody(model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
    raise ConfigError(f"`{model}` is not asked before the gateway has started")
