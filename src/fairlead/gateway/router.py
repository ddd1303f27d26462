"""Which target is asked next, decided without I/O.

A `Route` is one model name with its targets; a `RouteTable` finds the route
of an asked name: exact names first, then the wildcard with the longest fixed
part. `choose` picks among targets that admit a request now: the lowest
priority tier first, and within it by the route's strategy:

* `least-loaded`: two candidates drawn by weight, the less loaded one wins
  (power of two choices, Mitzenmacher 2001), load being requests in flight
  times the moving average of latency, over the weight;
* `weighted`: one draw by weight;
* `prefix-affinity`: rendezvous hashing of the prompt's beginning (Thaler and
  Ravishankar 1998), so that replicas find the prefix in their KV cache, unless
  that replica is much busier than the least busy one.

Randomness comes in as `roll`; time as `now`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Sequence

from fairlead import config as cfg
from fairlead.gateway.health import Breaker
from fairlead.gateway.queue import TargetQueue
from fairlead.telemetry.billing.cost import Prices, prices_of
from fairlead.telemetry.scrapers.engine import EngineMeans

_EWMA_WEIGHT = 0.2
_EXPLORED = 1 / 32
"""Share of requests that an idle target gets whatever its latency. One that was slow once, as in a cold
start, would else keep that latency for ever: its average moves only when it is asked."""
_AFFINITY_SLACK = 1.25
"""A replica with more than this times the mean load (plus one) loses its affinity (bounded loads)."""
AFFINITY_BYTES = 1024
"""How much of a prompt's beginning decides affinity."""


class Load:
    """What a target has to do now. One per target and process, on purpose."""

    __slots__ = ("engine", "in_flight", "latency_s")

    def __init__(self) -> None:
        self.in_flight = 0
        self.latency_s = 0.0
        """Moving average of the time to the first token (or whole answer)."""
        self.engine: EngineMeans | None = None
        """What the engine's histograms have said lately; None where nobody reads them."""

    def observe(self, latency_s: float) -> None:
        """An answer began after `latency_s`."""
        previous = self.latency_s
        self.latency_s = previous + _EWMA_WEIGHT * (latency_s - previous) if previous else latency_s


def target_name(config: cfg.Target) -> str:
    """`provider/model`, with `*` where the asked model's name is used."""
    return f"{config.provider}/{config.model or '*'}"


class Target:
    """One place that can answer, with what routing knows of it."""

    __slots__ = (
        "_pricing", "_weight", "api", "breaker", "config", "load_state", "model", "name", "provider", "queue",
        "salt",
    )  # fmt: skip

    def __init__(
        self,
        config: cfg.Target,
        breaker: Breaker,
        load: Load,
        api: object = None,
        queue: TargetQueue | None = None,
        pricing: Callable[[str], Prices | None] | None = None,
    ) -> None:
        self.config = config
        self.provider = config.provider
        self.model = config.model
        self.name = target_name(config)
        self.breaker = breaker
        self.load_state = load
        self.api = api
        """How it is asked: a `gateway.upstream.Upstream`."""
        self.salt = self.name.encode()
        self._weight = config.weight
        own = prices_of(config) if pricing is None else None
        self._pricing = pricing or (lambda model: own)
        self.queue = queue
        """Where requests wait for it; None when its capacity is not finite."""

    def prices_for(self, model: str) -> Prices | None:
        """What a call here costs, asked for as `model` where the target names none; None: nobody knows."""
        return self._pricing(self.model or model)

    def admits(self, now: float) -> bool:
        """May a request be sent now: healthy or due for a trial, not paused, with a place."""
        queue = self.queue
        return self._weight > 0 and self.breaker.admits(now) and (queue is None or queue.open(now))

    def healthy(self, now: float) -> bool:
        """May a request be sent now, as soon as it has a place."""
        return self._weight > 0 and self.breaker.admits(now)

    def load(self) -> float:
        """Expected work in front of a new request, per unit of weight."""
        state = self.load_state
        return (state.in_flight + 1) * (state.latency_s or 0.001) / self._weight


class Route:
    """One model name and where it is served."""

    __slots__ = ("_alone", "_even", "_tiers", "config", "guarded", "name", "queued", "targets")

    def __init__(self, name: str, config: cfg.Model, targets: Sequence[Target]) -> None:
        self.name = name
        self.config = config
        self.targets = tuple(targets)
        self.guarded = config.max_cost_usd is not None or any(
            target.config.context_window is not None for target in self.targets
        )
        """Cost or prompt length must be looked at before a target is asked."""
        self.queued = any(target.queue is not None for target in self.targets)
        self._alone = self.targets[0] if len(self.targets) == 1 else None
        by_tier: dict[int, list[Target]] = {}
        for target in self.targets:
            by_tier.setdefault(target.config.priority, []).append(target)
        self._tiers = tuple(tuple(by_tier[priority]) for priority in sorted(by_tier))
        self._even = len({target.config.weight for target in self.targets}) == 1

    def choose(
        self, *, tried: Container[Target], now: float, roll: float, prefix: bytes = b""
    ) -> Target | None:
        """The target to ask next, or None when no untried one admits a request now."""
        alone = self._alone
        if alone is not None:
            return alone if alone not in tried and alone.admits(now) else None
        for tier in self._tiers:
            best = [target for target in tier if target.admits(now) and target not in tried]
            if best:
                break
        else:
            return None
        count = len(best)
        if count == 1:
            return best[0]
        # A target due for its trial is asked now and then, not preferred: its latency is unknown.
        strategy = self.config.strategy
        if strategy == "prefix-affinity" and prefix:
            return _by_affinity(best, prefix)
        if strategy == "weighted":
            return _draw(best, roll)
        # The second draw reuses the roll's low digits; both are uniform enough for balancing.
        again = (roll * 7919.0) % 1.0
        if self._even:
            place = int(roll * count)
            first = best[place]
            other = int(again * (count - 1))
            second = best[other if other < place else other + 1]
        else:
            first = _draw(best, roll)
            second = _draw([target for target in best if target is not first], again)
        if not first.load_state.in_flight and (roll * 104729.0) % 1.0 < _EXPLORED:
            return first
        return first if first.load() <= second.load() else second

    def wait_s(self, now: float) -> float | None:
        """Seconds until some target might admit a request; None when only concurrency is short."""
        waits = [target.breaker.wait_s(now) for target in self.targets if target.config.weight > 0]
        return min(waits) if waits else None


def _draw(targets: Sequence[Target], roll: float) -> Target:
    if len(targets) == 1:
        return targets[0]
    total = 0.0
    for target in targets:
        total += target.config.weight
    point = roll * total
    for target in targets:
        point -= target.config.weight
        if point < 0:
            return target
    return targets[-1]


def _by_affinity(targets: Sequence[Target], prefix: bytes) -> Target:
    key = hashlib.blake2b(prefix[:AFFINITY_BYTES], digest_size=8).digest()
    ranked = sorted(
        targets, key=lambda target: hashlib.blake2b(key + target.salt, digest_size=8).digest(), reverse=True
    )
    bound = _AFFINITY_SLACK * (sum(target.load_state.in_flight for target in targets) / len(targets)) + 1
    for target in ranked:
        if target.load_state.in_flight <= bound:
            return target
    return min(targets, key=Target.load)


class RouteTable:
    """Routes by model name."""

    __slots__ = ("_exact", "_wild", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact = {route.name: route for route in self.routes if "*" not in route.name}
        wild = []
        for route in self.routes:
            if "*" in route.name:
                head, _, tail = route.name.partition("*")
                wild.append((head, tail, route))
        # The longest fixed part is the most specific wildcard.
        self._wild = sorted(wild, key=lambda entry: len(entry[0]) + len(entry[1]), reverse=True)

    def find(self, model: str) -> tuple[Route, str] | None:
        """The route of `model` and the name its targets are asked for when they name none.

        For an exact route that is the model itself; for a wildcard it is the part that
        `*` matched when the pattern is a provider prefix (`openai/*`), else the whole name.
        """
        route = self._exact.get(model)
        if route is not None:
            return route, model
        for head, tail, candidate in self._wild:
            if (
                len(model) > len(head) + len(tail)
                and model.startswith(head)
                and (not tail or model.endswith(tail))
            ):
                if head.endswith("/"):
                    return candidate, model[len(head) : len(model) - len(tail) if tail else None]
                return candidate, model
        return None

    def names(self) -> list[str]:
        """Names that clients may ask for, wildcards left out."""
        return list(self._exact)
