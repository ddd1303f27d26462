"""What the control API tells of the cache, and how it throws answers away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fairlead import config as cfg
from fairlead.cache.lookup import Cache
from fairlead.cache.purge import Purge
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.errors import NotFound, StorageError

_audit: Final = logging.getLogger("fairlead.audit")
_LONGEST_S: Final = 3_153_600_000  # a hundred years
_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class PurgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answers to throw away: those that meet all of it; without any of it, all."""

    tenant: Annotated[
        _Name | None,
        Meta(description="Made for requests of this tenant itself, also where others share them."),
    ] = None
    model: Annotated[_Name | None, Meta(description="Of this entry of `models`, as it is written there.")] = (
        None
    )
    older_than_s: Annotated[float, Meta(ge=0, le=_LONGEST_S, description="At least so many seconds old.")] = (
        0.0
    )
    dry_run: Annotated[bool, Meta(description="Only count them.")] = False


class PurgedView(msgspec.Struct, frozen=True, kw_only=True):
    """What was thrown away, or in a dry run would have been, in one store."""

    tier: str
    """`memory`, which is this worker's, `disk` or `redis`; what is in memory is behind it as well. `semantic`
    are the questions that were kept with answers."""
    entries: int
    bytes: int


class PurgeView(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge did."""

    dry_run: bool
    before: float
    """Unix seconds: answers from before were meant."""
    data: tuple[PurgedView, ...]


class HeldView(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that a store holds of one tenant and model."""

    tier: str
    tenant: str
    """Whose requests they were made for."""
    model: str
    entries: int
    bytes: int


class HitsView(msgspec.Struct, frozen=True, kw_only=True):
    """Answers given again."""

    tier: str
    """Where they were: `memory`, `disk`, `redis`; `semantic`, `coalesced`, or `stale` in an outage."""
    tenant: str
    """Who asked."""
    model: str
    hits: int
    input_tokens: int
    output_tokens: int
    saved_microusd: int
    """What they cost when a model gave them, as far as that is known."""
    unpriced: int
    """Hits whose cost nobody knows."""


class LookedUpView(msgspec.Struct, frozen=True, kw_only=True):
    """How often an answer was looked for, and found."""

    tenant: str
    model: str
    lookups: int
    hit_ratio: float


class ReasonView(msgspec.Struct, frozen=True, kw_only=True):
    """How often something was not done, and why."""

    model: str
    reason: str
    count: int


class TroubleView(msgspec.Struct, frozen=True, kw_only=True):
    """How often a store failed at something."""

    tier: str
    kind: str
    count: int


class SemanticView(msgspec.Struct, frozen=True, kw_only=True):
    """How the semantic cache of a model stands, in this worker."""

    model: str
    state: Literal["learning", "active", "tightened", "off"]
    false_hit_upper95: float
    """Upper bound of the rate at which it is wrong; 1 of nothing."""
    verified: int
    """Decisions behind that bound, and how many of them were wrong."""
    wrong: int
    hits: int
    audits: int
    """Hits that were asked again and compared."""


class CacheView(msgspec.Struct, frozen=True, kw_only=True):
    """The cache as this worker sees it. What it counts begins with its process."""

    enabled: bool
    """Some model keeps answers; all else is empty where none does."""
    since: float
    """Unix seconds: when counting began."""
    store: Literal["disk", "redis", "none"]
    """What is behind the memory."""
    memory_bytes: int
    """Bookkeeping included, as in the limit."""
    memory_max_bytes: int
    evicted: int
    """Answers that made room for others in memory."""
    held: tuple[HeldView, ...]
    hits: tuple[HitsView, ...]
    looked_up: tuple[LookedUpView, ...]
    bypassed: tuple[ReasonView, ...]
    """Requests that were neither looked up nor kept."""
    unstored: tuple[ReasonView, ...]
    """Answers that were not kept."""
    trouble: tuple[TroubleView, ...]
    semantic: tuple[SemanticView, ...] = ()


async def cache_view(cache: Cache | None, options: cfg.Cache, since: float) -> CacheView:
    """How the cache does; `since` is when the process began. Raises StorageError."""
    if cache is None:
        return CacheView(
            enabled=False, since=since, store=options.store, memory_bytes=0, memory_max_bytes=0, evicted=0,
            held=(), hits=(), looked_up=(), bypassed=(), unstored=(), trouble=(),
        )  # fmt: skip
    stats, memory = cache.stats, cache.memory
    return CacheView(
        enabled=True,
        since=since,
        store=options.store,
        memory_bytes=memory.bytes,
        memory_max_bytes=memory.max_bytes,
        evicted=memory.evicted,
        held=tuple(
            HeldView(tier=tier, tenant=one.tenant, model=one.model, entries=one.entries, bytes=one.bytes)
            for tier, sizes in (await cache.sizes()).items()
            for one in sizes
        ),
        hits=tuple(
            HitsView(
                tier=tier,
                tenant=tenant,
                model=model,
                hits=tally.hits,
                input_tokens=tally.input_tokens,
                output_tokens=tally.output_tokens,
                saved_microusd=tally.cost_microusd,
                unpriced=tally.unpriced,
            )
            for (tier, tenant, model), tally in sorted(stats.hits.items())
        ),
        looked_up=_looked_up(cache),
        bypassed=_reasons(stats.bypassed),
        unstored=_reasons(stats.unstored),
        trouble=tuple(
            TroubleView(tier=tier, kind=kind, count=count)
            for (tier, kind), count in sorted(cache.trouble.counts.items())
        ),
        semantic=tuple(_semantic(cache)),
    )


async def purge(cache: Cache | None, body: PurgeBody, *, key_id: str, now: float) -> PurgeView:
    """Throw answers away, and tell the audit log who did, what was meant and how much it was.

    Raises:
        NotFound: there is no cache.
        StorageError: what is behind the memory could not be asked. What is in memory is gone.
    """
    if cache is None:
        raise NotFound("no model keeps answers", hint="`cache: {}` under a model's name turns it on")
    before = now - body.older_than_s
    meant = Purge(before=before, tenant=body.tenant, model=body.model)
    facts = {
        "key_id": key_id,
        "tenant": body.tenant,
        "model": body.model,
        "older_than_s": body.older_than_s,
        "dry_run": body.dry_run,
    }
    try:
        done = await cache.purge(meant, dry_run=body.dry_run)
    except StorageError as error:
        _audit.info("cache purge failed", extra={**facts, "error": error.message})
        raise
    counted = {tier: purged.entries for tier, purged in done.items()}
    _audit.info("cache purge", extra={**facts, "entries": counted})
    views = (PurgedView(tier=tier, entries=one.entries, bytes=one.bytes) for tier, one in done.items())
    return PurgeView(dry_run=body.dry_run, before=before, data=tuple(views))


def _semantic(cache: Cache) -> Iterator[SemanticView]:
    if not isinstance(cache.beside, SemanticTier):
        return
    for model, status in cache.beside.statuses():
        yield SemanticView(
            model=model,
            state=status.state.value,
            false_hit_upper95=status.bound,
            verified=status.verified,
            wrong=status.errors,
            hits=status.hits,
            audits=status.audits,
        )


def _looked_up(cache: Cache) -> tuple[LookedUpView, ...]:
    hits: dict[tuple[str, str], int] = {}
    for (_, tenant, model), tally in cache.stats.hits.items():
        hits[tenant, model] = hits.get((tenant, model), 0) + tally.hits
    return tuple(
        LookedUpView(
            tenant=tenant,
            model=model,
            lookups=hits.get((tenant, model), 0) + cache.stats.misses[tenant, model],
            hit_ratio=round(ratio, 6),
        )
        for tenant, model, ratio in cache.stats.ratios()
    )


def _reasons(counts: dict[tuple[str, str], int]) -> tuple[ReasonView, ...]:
    return tuple(
        ReasonView(model=model, reason=reason, count=count)
        for (model, reason), count in sorted(counts.items())
    )
