"""What the cache has done, as metrics.

Tenants and models are bounded by who has keys and by the configuration, but
not by a number, and a reload brings others: what comes beyond `MOST` series of
one metric is counted under `other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from fairlead.cache.lookup import Cache
from fairlead.cache.semantic.audit import State
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.cache.stats import Tally
from fairlead.telemetry.labels import OTHER, clean
from fairlead.telemetry.metrics.readings import Reading

MOST: Final = 1000
"""Series of one metric, the last one apart."""

_Key = tuple[str, ...]


def cache_readings(cache: Cache) -> Iterator[Reading]:
    """The counters of this process since its start, and what it holds in memory now."""
    stats, hits = cache.stats, cache.stats.hits
    yield from _counter("fairlead_cache_hits_total", ((key, tally.hits) for key, tally in hits.items()))
    yield from _counter("fairlead_cache_misses_total", stats.misses.items())
    yield from _counter("fairlead_cache_bypassed_total", stats.bypassed.items())
    yield from _counter("fairlead_cache_stored_total", stats.stored.items())
    yield from _counter("fairlead_cache_unstored_total", stats.unstored.items())
    yield from _counter("fairlead_cache_saved_tokens_total", _tokens(hits))
    yield from _counter("fairlead_cache_saved_usd_total", _dollars(hits))
    yield from _counter(
        "fairlead_cache_saved_gpu_seconds_total",
        (((tenant, model), tally.gpu_s) for (_, tenant, model), tally in hits.items()),
    )
    yield from _counter("fairlead_cache_trouble_total", cache.trouble.counts.items())
    memory = cache.memory
    yield Reading(name="fairlead_cache_evicted_total", value=memory.evicted)
    yield Reading(name="fairlead_cache_memory_bytes", value=memory.bytes)
    yield Reading(name="fairlead_cache_memory_max_bytes", value=memory.max_bytes)
    yield Reading(name="fairlead_cache_memory_entries", value=len(memory))


def semantic_readings(tier: SemanticTier) -> Iterator[Reading]:
    """What the semantic tier of this process publishes, and what it did."""
    for model, status in tier.statuses():
        labels = (clean(model),)
        yield Reading(name="fairlead_cache_false_hit_upper95", value=status.bound, labels=labels)
        yield Reading(name="fairlead_cache_semantic_off", value=int(status.state is State.OFF), labels=labels)
        yield Reading(
            name="fairlead_cache_semantic_serving", value=int(status.state is State.ACTIVE), labels=labels
        )
    yield from _counter("fairlead_cache_semantic_decisions_total", tier.decisions.items())
    yield from _counter("fairlead_cache_verified_total", tier.verified.items())
    yield from _counter("fairlead_cache_audits_total", tier.audits.items())
    store = tier.store
    yield Reading(name="fairlead_cache_semantic_evicted_total", value=store.evicted)
    yield Reading(name="fairlead_cache_semantic_bytes", value=store.bytes)
    yield Reading(name="fairlead_cache_semantic_max_bytes", value=store.max_bytes)
    yield Reading(name="fairlead_cache_semantic_entries", value=len(store))


def _tokens(hits: Mapping[tuple[str, str, str], Tally]) -> Iterator[tuple[_Key, int]]:
    for (_, tenant, model), tally in hits.items():
        yield ("input", tenant, model), tally.input_tokens
        yield ("output", tenant, model), tally.output_tokens


def _dollars(hits: Mapping[tuple[str, str, str], Tally]) -> Iterator[tuple[_Key, float]]:
    for (_, tenant, model), tally in hits.items():
        yield (tenant, model), tally.cost_microusd / 1e6


def _counter(name: str, counts: Iterable[tuple[_Key, float]]) -> Iterator[Reading]:
    """One series for each key. Keys stay in the order they were first counted in: none moves to `other`."""
    sums: dict[_Key, float] = {}
    for key, count in counts:
        labels = tuple(map(clean, key))
        if labels not in sums and len(sums) >= MOST:
            labels = (OTHER,) * len(key)
        sums[labels] = sums.get(labels, 0) + count
    for labels, count in sums.items():
        yield Reading(name=name, value=count, labels=labels)
