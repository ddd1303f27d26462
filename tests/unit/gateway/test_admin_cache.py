"""What the control API tells of the cache, and what a purge does and leaves in the audit log."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.cache.made import policy, space
from tests.unit.gateway.stage import memory_cache
from tests.unit.gateway.test_admin import ask

from fairlead.cache.lookup import Cache, facts_of
from fairlead.cache.memory import MemoryTier
from fairlead.cache.purge import Purge, Purged
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.config import Cache as Options
from fairlead.errors import InvalidRequest, NotFound, StorageError
from fairlead.gateway.admin_cache import PurgeBody, cache_view, purge

NOW = 1_700_000_000.0


def filled(cache: Cache) -> Cache:
    """Ten answers, one for each of the seconds before `NOW`."""
    here = space()
    for number in range(10):
        key = number.to_bytes(32, "big")
        facts = facts_of(here, input_tokens=3, output_tokens=4, cost_microusd=5)
        assert cache.put(key, here, b"answer", facts, now=NOW - number - 1, policy=policy())
    return cache


class Gone:
    """A store that cannot be asked."""

    name = "redis"

    async def purge(self, _: Purge, *, dry_run: bool = False) -> Purged:
        raise StorageError("nobody answers")


def test_what_is_held_and_saved_is_told() -> None:
    cache, here = filled(memory_cache()), space()
    assert cache.get(bytes(32), here, NOW) is not None
    cache.stats.missed(here)

    view = asyncio.run(cache_view(cache, Options(store="none"), 7.0))

    assert (view.enabled, view.store, view.since) == (True, "none", 7.0)
    (held,) = view.held
    assert (held.tier, held.tenant, held.model, held.entries) == ("memory", here.tenant, here.model, 10)
    assert view.memory_bytes > held.bytes
    (hit,) = view.hits
    assert (hit.hits, hit.input_tokens, hit.output_tokens, hit.saved_microusd) == (1, 3, 4, 5)
    (looked_up,) = view.looked_up
    assert (looked_up.lookups, looked_up.hit_ratio) == (2, 0.5)


def test_a_purge_takes_what_is_old_enough_and_a_dry_run_takes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fairlead.audit")
    cache = filled(memory_cache())

    dry = asyncio.run(purge(cache, PurgeBody(older_than_s=4.5, dry_run=True), key_id="k", now=NOW))
    assert (dry.data[0].entries, len(cache.memory)) == (6, 10)
    done = asyncio.run(purge(cache, PurgeBody(older_than_s=4.5), key_id="k", now=NOW))
    assert (done.data[0].entries, len(cache.memory)) == (6, 4)
    other = asyncio.run(purge(cache, PurgeBody(tenant="nobody"), key_id="k", now=NOW))
    assert (other.data[0].entries, len(cache.memory)) == (0, 4)

    told = [vars(record) for record in caplog.records]
    assert [line["message"] for line in told] == ["cache purge"] * 3
    assert [(line["key_id"], line["tenant"], line["dry_run"], line["entries"]) for line in told] == [
        ("k", None, True, {"memory": 6}),
        ("k", None, False, {"memory": 6}),
        ("k", "nobody", False, {"memory": 0}),
    ]


def test_a_purge_that_fails_half_way_is_audited_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fairlead.audit")
    cache = Cache(
        MemoryTier(1_000_000),
        Gone(),  # type: ignore[arg-type]  # nothing else of it is asked
        stats=Stats(),
        trouble=Trouble(),
        max_entry_bytes=1000,
        timeout_s=0.1,
    )

    with pytest.raises(StorageError):
        asyncio.run(purge(cache, PurgeBody(), key_id="k", now=NOW))

    (record,) = caplog.records
    assert (record.message, vars(record)["error"]) == ("cache purge failed", "nobody answers")


def test_the_operations_over_http(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fairlead.audit")
    purged, stats, wrong, unknown = ask(
        ("POST", "/cache/purge", {"model": None}),
        ("GET", "/cache", None),
        ("POST", "/cache/purge", {"older_than_s": -1}),
        ("POST", "/cache/purge", {"modle": "m"}),
        cache=filled(memory_cache()),
    )

    assert purged["data"][0]["entries"] == 10
    assert (stats["enabled"], stats["held"]) == (True, [])
    assert isinstance(wrong, InvalidRequest)
    assert isinstance(unknown, InvalidRequest)
    assert len(caplog.records) == 1, "one line for each purge"


def test_without_a_cache_there_is_nothing_to_purge() -> None:
    stats, refused = ask(("GET", "/cache", None), ("POST", "/cache/purge", {}))

    assert (stats["enabled"], stats["hits"]) == (False, [])
    assert isinstance(refused, NotFound)
