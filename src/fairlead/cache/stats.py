"""What the cache has saved: hits by tier, tenant and model, and what they would have cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fairlead.cache.entry import Facts
from fairlead.cache.key import Space


class Tally:
    """Hits of one tier, tenant and model, and what they saved."""

    __slots__ = ("cost_microusd", "gpu_s", "hits", "input_tokens", "output_tokens", "unpriced")

    def __init__(self) -> None:
        self.hits = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_microusd = 0
        self.unpriced = 0
        """Hits whose cost nobody knows: nothing in `cost_microusd`."""
        self.gpu_s = 0.0


class Stats:
    """Counters of one process since its start."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str, str], Tally] = {}
        """By tier (`memory`, `disk`, `redis`, `semantic`, `coalesced`, `stale`), tenant and model."""
        self.misses: Counter[tuple[str, str]] = Counter()
        """By tenant and model: looked up, not there, so that the model was asked."""
        self.bypassed: Counter[tuple[str, str]] = Counter()
        """By model and reason."""
        self.stored: Counter[tuple[str, str]] = Counter()
        """By tenant and model."""
        self.unstored: Counter[tuple[str, str]] = Counter()
        """By model and reason."""

    def hit(self, tier: str, tenant: str, model: str, facts: Facts) -> None:
        """An answer was given again. `tenant` is who asked, whoever it was made for."""
        tally = self.hits.get((tier, tenant, model))
        if tally is None:
            tally = self.hits[tier, tenant, model] = Tally()
        tally.hits += 1
        tally.input_tokens += facts.input_tokens
        tally.output_tokens += facts.output_tokens
        tally.gpu_s += facts.gpu_s
        if facts.cost_microusd is None:
            tally.unpriced += 1
        else:
            tally.cost_microusd += facts.cost_microusd

    def missed(self, space: Space, count: int = 1) -> None:
        """An answer, or so many vectors, were looked for in vain."""
        self.misses[space.tenant, space.model] += count

    def ratios(self) -> Iterator[tuple[str, str, float]]:
        """Tenant, model, and the part of what was looked up that some tier had."""
        hits: Counter[tuple[str, str]] = Counter()
        for (_, tenant, model), tally in self.hits.items():
            hits[tenant, model] += tally.hits
        for tenant, model in sorted(hits.keys() | self.misses.keys()):
            found = hits[tenant, model]
            yield tenant, model, found / (found + self.misses[tenant, model])
