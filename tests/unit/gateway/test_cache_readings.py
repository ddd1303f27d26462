"""The cache's counters as metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.unit.gateway.stage import memory_cache

from fairlead.cache.entry import Facts
from fairlead.cache.semantic.audit import Rules
from fairlead.cache.semantic.store import Store
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.gateway.cache_readings import MOST, cache_readings, semantic_readings
from fairlead.telemetry.metrics.exposition import render
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES, Reading

FACTS = Facts(scope="s", tenant="owner", model="m", input_tokens=10, output_tokens=5, cost_microusd=1_500_000)


def values(readings: list[Reading]) -> dict[tuple[str, ...], float]:
    return {(reading.name, *reading.labels): reading.value for reading in readings}


def test_hits_are_told_by_tier_and_what_they_saved_in_all() -> None:
    cache = memory_cache()
    for tier in ("memory", "memory", "disk"):
        cache.stats.hit(tier, "acme", "m", FACTS)
    cache.stats.misses["acme", "m"] += 4
    cache.stats.unstored["m", "unfinished"] += 1
    cache.trouble.counts["disk", "put"] += 2

    found = values(list(cache_readings(cache)))

    assert found["fairlead_cache_hits_total", "memory", "acme", "m"] == 2
    assert found["fairlead_cache_hits_total", "disk", "acme", "m"] == 1
    assert found["fairlead_cache_misses_total", "acme", "m"] == 4
    assert found["fairlead_cache_unstored_total", "m", "unfinished"] == 1
    assert found["fairlead_cache_saved_tokens_total", "input", "acme", "m"] == 30
    assert found["fairlead_cache_saved_tokens_total", "output", "acme", "m"] == 15
    assert found["fairlead_cache_saved_usd_total", "acme", "m"] == 4.5
    assert found["fairlead_cache_trouble_total", "disk", "put"] == 2
    assert found[("fairlead_cache_memory_max_bytes",)] == 1_000_000


def test_labels_are_bounded_and_no_series_ever_goes_back() -> None:
    cache = memory_cache()
    before: dict[tuple[str, ...], float] = {}
    for turn in range(3):
        for number in range(MOST + 50 * turn):
            cache.stats.misses[f"tenant {number}", "m"] += 1
        found = {key: value for key, value in values(list(cache_readings(cache))).items() if len(key) > 1}
        assert len(found) <= MOST + 1
        assert all(found[key] >= value for key, value in before.items())
        before = found

    assert before["fairlead_cache_misses_total", "other", "other"] == 50 + 100


def test_odd_names_survive_a_strict_parser() -> None:
    cache = memory_cache()
    model = 'a "quoted\\" model\n{x="1"} \x00'
    cache.stats.hit("memory", "acme", model, FACTS)
    cache.stats.bypassed[model, "temperature"] += 1

    text = render(Metrics().families(list(cache_readings(cache)))).decode()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    (hit,) = families["fairlead_cache_hits"].samples
    assert (hit.labels["model"], hit.value) == ('a "quoted\\" model?{x="1"} ?', 1.0)


def test_every_metric_of_the_cache_is_written_down() -> None:
    cache = memory_cache()
    cache.stats.hit("memory", "acme", "m", FACTS)
    for counter in (cache.stats.misses, cache.stats.bypassed, cache.stats.stored, cache.stats.unstored):
        counter["a", "b"] += 1
    cache.trouble.counts["disk", "get"] += 1

    tier = SemanticTier(Store(100_000), cache.trouble)
    tier.watch("m", "hashed-1/256", Rules())
    for counter in (tier.decisions, tier.verified, tier.audits):
        counter["a", "b"] += 1

    told = {reading.name: reading.labels for reading in (*cache_readings(cache), *semantic_readings(tier))}

    known = {name: labels for name, (_, labels, *_) in (*GAUGES.items(), *COUNTERS.items())}
    assert set(told) == {name for name in known if name.startswith("fairlead_cache_")}
    assert all(len(labels) == len(known[name]) for name, labels in told.items())
