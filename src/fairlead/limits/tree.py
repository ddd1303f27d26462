"""The tenants of a configuration, compiled: the limits on the way of a request.

A request of a key is within the limits of the key, of the key's tenant and of
every tenant above; each with those for all models together and those for its
model. `Tree` is immutable but for what it remembers of ways it has found.

The tenant `default`, which keys and callers have who were given none, always
exists: without an entry of its own it has no limits. Any other tenant that the
configuration does not know has no way, so its requests are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from fairlead.config import Budget, Config, ModelLimits, NodeLimits, Places, Rate, Tenant, TokenRate
from fairlead.config.fault import nearest, route_of
from fairlead.errors import InvalidRequest
from fairlead.limits.quota import Limit, What, Window

DEFAULT_TENANT: Final = "default"
Priority = Literal["interactive", "batch"]
_MOST_PATHS: Final = 20_000
"""Ways remembered before all are forgotten and found anew: behind a wildcard a client may invent any number
of models."""
_SHOWN: Final = 20
_LONGEST_MODEL: Final = 256
"""Longer names are invented to fill the memory."""


class Node(msgspec.Struct, frozen=True):
    """One step of the way through the fair queue."""

    name: str
    weight: float


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """What applies to the requests of one key for one model."""

    limits: tuple[Limit, ...]
    """From the root to the key; of each node first those for all models."""
    nodes: tuple[Node, ...]
    """From the root to the key: what the fair queue shares between."""
    priority: Priority


class Tree:
    """Every tenant of one configuration."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        """Compile checked options (`config.tenant_rules`)."""
        self._is_used = bool(tenants)
        self._tenants = dict(tenants)
        self._tenants.setdefault(DEFAULT_TENANT, Tenant())
        self._paths: dict[tuple[str, str, str], Path] = {}
        self._shared: dict[tuple[str, str, tuple[str | None, ...]], Path] = {}
        """Ways by what they are made of: models that the configuration does not tell apart share one."""

    def knows(self, tenant: str) -> bool:
        """Whether keys may belong to this tenant. Without `tenants:` to any."""
        return tenant in self._tenants or not self._is_used

    def names(self) -> tuple[str, ...]:
        """Every tenant, `default` included, each after the one above it."""
        return tuple(sorted(self._tenants, key=self.line))

    def line(self, tenant: str) -> tuple[str, ...]:
        """The tenants from the root down to this one; empty when there is none of that name."""
        return tuple(self._line(tenant))

    def below(self, tenant: str) -> tuple[str, ...]:
        """A tenant and all of its sub-tenants; itself alone when the configuration does not know it."""
        return tuple(name for name in self.names() if tenant in self._line(name)) or (tenant,)

    def weight(self, tenant: str) -> float:
        """Its share of the fair queue among its siblings."""
        return self._tenants[tenant].weight

    def priority(self, tenant: str) -> Priority:
        """The band of its requests in the fair queue: its own, else that of the nearest tenant above."""
        return self._priority(self._line(tenant))

    def path(self, tenant: str, key_id: str, key_name: str, model: str) -> Path | None:
        """What applies to a request; None when the tenant is not known.

        Args:
            tenant: the key's.
            key_id: "" for a caller without a key, who has no key's limits.
            key_name: by which the configuration may name the key.
            model: the name that was asked for.
        """
        found = self._paths.get((tenant, key_id, model))
        if found is None:
            if not self.knows(tenant):
                return None
            found = self._find(tenant, key_id, key_name, model)
            if len(self._paths) >= _MOST_PATHS:
                self._paths.clear()
                self._shared.clear()
            if len(model) <= _LONGEST_MODEL:
                self._paths[tenant, key_id, model] = found
        return found

    def limits(self, tenant: str) -> tuple[Limit, ...]:
        """Every limit of a tenant and of those above it, for every model; its keys have their own."""
        line = self._line(tenant)
        return tuple(limit for name in line for limit in _all(name, line[0], self._tenants[name].limits))

    def key_limits(self, tenant: str, key_id: str, key_name: str) -> tuple[Limit, ...]:
        """Every limit of one key itself, of every model."""
        own = self._of_key(tenant, key_id, key_name)
        return tuple(_all(_key_node(key_id), self._root(tenant), own))

    def _find(self, tenant: str, key_id: str, key_name: str, model: str) -> Path:
        line = self._line(tenant)
        steps = [(name, self._tenants[name].limits) for name in line]
        if key_id:
            steps.append((_key_node(key_id), self._of_key(tenant, key_id, key_name)))
        patterns = tuple([route_of(model, limits.models) if limits.models else None for _, limits in steps])
        known = self._shared.get((tenant, key_id, patterns))
        if known is not None:
            return known
        root = self._root(tenant)
        compiled: list[Limit] = []
        for (node, limits), pattern in zip(steps, patterns, strict=True):
            compiled += _compiled(node, root, None, limits)
            if pattern is not None:
                compiled += _compiled(node, root, pattern, limits.models[pattern])
        nodes = [Node(name, self._tenants[name].weight) for name in line] or [Node(tenant, 1.0)]
        if key_id:
            nodes.append(Node(_key_node(key_id), 1.0))
        path = self._shared[tenant, key_id, patterns] = Path(
            limits=tuple(compiled), nodes=tuple(nodes), priority=self._priority(line)
        )
        return path

    def _line(self, tenant: str) -> list[str]:
        """The tenants from the root to this one; empty when there is none of that name."""
        line: list[str] = []
        name: str | None = tenant
        while name is not None and name in self._tenants:
            line.insert(0, name)
            name = self._tenants[name].parent
        return line

    def _priority(self, line: Sequence[str]) -> Priority:
        bands = [band for name in line if (band := self._tenants[name].priority) is not None]
        return bands[-1] if bands else "interactive"

    def _root(self, tenant: str) -> str:
        return next(iter(self._line(tenant)), tenant)

    def _of_key(self, tenant: str, key_id: str, key_name: str) -> NodeLimits:
        options = self._tenants.get(tenant)
        if options is None:
            return NodeLimits()
        own = options.keys.get(key_id) or options.keys.get(key_name)
        return options.each_key if own is None else _merged(options.each_key, own)


def unknown_tenants(config: Config, tenants: Mapping[str, str]) -> dict[str, str]:
    """Of keys (id to tenant) those whose tenant this configuration does not know: they would be refused."""
    tree = Tree(config.tenants)
    return {key: tenant for key, tenant in tenants.items() if not tree.knows(tenant)}


def orphans_text(orphans: Mapping[str, str]) -> str:
    """What to tell of keys (id to tenant) that a configuration orphans."""
    shown = [f"{key} (`{tenant}`)" for key, tenant in sorted(orphans.items())[:_SHOWN]]
    more = f" and {len(orphans) - _SHOWN} more" if len(orphans) > _SHOWN else ""
    whose = (
        "1 API key belongs to a tenant" if len(orphans) == 1 else f"{len(orphans)} API keys belong to tenants"
    )
    return f"{whose} that the configuration does not have, so requests are refused: {', '.join(shown)}{more}"


def require_tenant(tree: Tree, name: str) -> None:
    """Refuse a key for a tenant whose requests would be refused.

    Raises:
        InvalidRequest: the configuration has tenants, and this is none of them.
    """
    if not tree.knows(name):
        raise InvalidRequest(
            f"no tenant is named `{name[:100]}`",
            hint=nearest(name, tree.names()) or "add it under `tenants` of the configuration",
            param="tenant",
        )


def _key_node(key_id: str) -> str:
    return f"key:{key_id}"


def _merged(each: NodeLimits, own: NodeLimits) -> NodeLimits:
    """What a key sets, and `each_key` where it sets nothing; model by model."""
    models = {**each.models, **own.models}
    for name in each.models.keys() & own.models.keys():
        models[name] = _filled(each.models[name], own.models[name])
    all_models = _filled(each, own)
    return NodeLimits(
        requests_per_minute=all_models.requests_per_minute,
        tokens_per_minute=all_models.tokens_per_minute,
        concurrent_requests=all_models.concurrent_requests,
        budgets=all_models.budgets,
        models=models,
    )


def _filled(each: ModelLimits, own: ModelLimits) -> ModelLimits:
    return ModelLimits(
        requests_per_minute=own.requests_per_minute or each.requests_per_minute,
        tokens_per_minute=own.tokens_per_minute or each.tokens_per_minute,
        concurrent_requests=own.concurrent_requests or each.concurrent_requests,
        budgets=own.budgets or each.budgets,
    )


def _all(node: str, root: str, limits: NodeLimits) -> Iterator[Limit]:
    yield from _compiled(node, root, None, limits)
    for pattern, own in limits.models.items():
        yield from _compiled(node, root, pattern, own)


def _compiled(node: str, root: str, model: str | None, limits: ModelLimits) -> Iterator[Limit]:
    """The options of one node, for one model or all together, as limits."""
    requests, tokens, places = (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
    )
    if requests is not None:
        rate = Rate(limit=requests) if isinstance(requests, int) else requests
        limit = _limit(node, root, model, What.REQUESTS, rate.limit, rate)
        yield replace(limit, burst=rate.burst or rate.limit)
    if tokens is not None:
        weighted = TokenRate(limit=tokens) if isinstance(tokens, int) else tokens
        yield replace(
            _limit(node, root, model, What.TOKENS, weighted.limit, weighted),
            burst=weighted.burst or weighted.limit,
            input_weight=weighted.input_weight,
            output_weight=weighted.output_weight,
        )
    if places is not None:
        held = Places(limit=places) if isinstance(places, int) else places
        yield _limit(node, root, model, What.CONCURRENT, held.limit, held)
    for budget in limits.budgets:
        amount = max(1, math.floor(budget.usd * 1e6 + 0.5))
        limit = _limit(node, root, model, What.USD, amount, budget)
        yield replace(
            limit, id=f"{limit.id}:{budget.per}", window=Window(budget.per), timezone=budget.timezone
        )


def _limit(
    node: str, root: str, model: str | None, what: What, amount: int, options: Rate | Places | Budget
) -> Limit:
    """What every limit has. The id is unambiguous: names of nodes have no slash, kinds neither."""
    return Limit(
        id=f"{node}/{what}" if model is None else f"{node}/{model}/{what}",
        node=node,
        root=root,
        what=what,
        amount=amount,
        model=model,
        shadow=options.shadow,
        warn_at=tuple(options.warn_at),
        on_store_failure=options.on_store_failure,
    )
