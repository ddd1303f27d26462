"""What the types of the sections `tenants` and `limits` cannot say.

Parents and models must exist, the tree must be one, a window has one budget,
and several processes need a store that they share. Pure, as `rules` is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from fairlead.config import secrets
from fairlead.config.fault import ADD_MODEL, Fault, Path, nearest, route_of
from fairlead.config.options import Config, Limits, ModelLimits, NodeLimits, Rate, Tenant

_TENANT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def faults(config: Config) -> list[Fault]:
    """Every broken rule of the two sections."""
    found: list[Fault] = []
    for name, tenant in config.tenants.items():
        found += _tenant(name, tenant, config)
    found += _circles(config.tenants)
    found += _limits(config.limits)
    if shared := needs_shared_store(config, config.server.workers):
        found.append(shared)
    return found


def needs_shared_store(config: Config, workers: int) -> Fault | None:
    """What is wrong with that many processes under this configuration: each would count for itself."""
    if workers == 1 or config.limits.store != "memory" or not has_limits(config):
        return None
    message = f"{workers} workers need a shared store for the limits of `tenants`"
    return Fault(
        ("server", "workers"), message, "set `limits.store: redis` and `limits.redis.url`, or use one worker"
    )


def has_limits(config: Config) -> bool:
    """Whether any tenant or key has a limit."""
    empty = NodeLimits()
    return any(
        node != empty
        for tenant in config.tenants.values()
        for node in (tenant.limits, tenant.each_key, *tenant.keys.values())
    )


def _tenant(name: str, tenant: Tenant, config: Config) -> Iterator[Fault]:
    path: Path = ("tenants", name)
    if not _TENANT_NAME.match(name):
        yield Fault(path, "a tenant's name is letters, digits, `.`, `_` and `-`, at most 63")
    if tenant.parent is not None and tenant.parent not in config.tenants:
        others = [each for each in config.tenants if each != name]
        hint = nearest(tenant.parent, others) or "add it under `tenants`"
        yield Fault((*path, "parent"), f"no tenant is named `{tenant.parent}`", hint)
    yield from _node(tenant.limits, (*path, "limits"), config.models)
    yield from _node(tenant.each_key, (*path, "each_key"), config.models)
    for key, limits in tenant.keys.items():
        where = (*path, "keys", key)
        if not key.strip() or not key.isprintable() or len(key) > 100:
            yield Fault(where, "expected the id or the name of a key")
        yield from _node(limits, where, config.models)


def _node(limits: NodeLimits, path: Path, models: Collection[str]) -> Iterator[Fault]:
    yield from _one_model(limits, path)
    for model, own in limits.models.items():
        where = (*path, "models", model)
        # A pattern may be narrower than the route that serves what it matches.
        if model.count("*") > 1:
            yield Fault(where, "a model's name has at most one `*`")
        elif models and route_of(model, models) is None and not _matches_any(model, models):
            hint = nearest(model, models) or ADD_MODEL
            yield Fault(where, f"no model is named `{model}`", hint)
        yield from _one_model(own, where)


def _matches_any(pattern: str, models: Collection[str]) -> bool:
    return "*" in pattern and any(route_of(model, [pattern]) is not None for model in models)


def _one_model(limits: ModelLimits, path: Path) -> Iterator[Fault]:
    rate = limits.tokens_per_minute
    if rate is not None and not isinstance(rate, int) and rate.input_weight == rate.output_weight == 0:
        yield Fault((*path, "tokens_per_minute"), "both weights are 0, so nothing would count")
    for option in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
        value = getattr(limits, option)
        if isinstance(value, msgspec.Struct):
            yield from _warnings(value.warn_at, (*path, option, "warn_at"))  # type: ignore[attr-defined]  # every limit has it
        if isinstance(value, Rate) and value.burst is not None and value.burst > value.limit * 60:
            message = f"{value.burst} is more than an hour's, {value.limit * 60}"
            yield Fault((*path, option, "burst"), message, "leave it out for a minute's")
    windows: dict[str, int] = {}
    for index, budget in enumerate(limits.budgets):
        where = (*path, "budgets", index)
        if not _is_zone(budget.timezone):
            yield _no_zone(budget.timezone, (*where, "timezone"))
        first = windows.setdefault(budget.per, index)
        if first != index:
            message = f"a second budget per {budget.per}, after budgets[{first}]"
            yield Fault((*where, "per"), message, "keep the smaller one")
        yield from _warnings(budget.warn_at, (*where, "warn_at"))


def _warnings(fractions: list[float], path: Path) -> Iterator[Fault]:
    if sorted(set(fractions)) != fractions:
        yield Fault(path, "expected fractions in ascending order, each once", "for example `[0.8, 0.95]`")


def _no_zone(name: str, path: Path) -> Fault:
    known = available_timezones()
    if not known:
        return Fault(path, "this machine has no time zones but `UTC`", "install the package `tzdata`")
    hint = nearest(name, known) or "for example `Europe/Berlin` or `UTC`"
    return Fault(path, f"`{name[:64]}` is not a time zone", hint)


def _is_zone(name: str) -> bool:
    if name == "UTC":
        return True
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        # ZoneInfoNotFoundError is a KeyError; the others are paths that are no names.
        return False
    return True


def _circles(tenants: Mapping[str, Tenant]) -> Iterator[Fault]:
    """One fault for each circle of parents, at the first of its tenants in the file."""
    done: set[str] = set()
    for start in tenants:
        way: dict[str, None] = {}
        name: str | None = start
        while name is not None and name in tenants and name not in done and name not in way:
            way[name] = None
            name = tenants[name].parent
        if name in way:
            names = list(way)
            circle = " -> ".join([*names[names.index(str(name)) :], str(name)])
            message = f"the tenants go round in a circle: {circle}"
            yield Fault(("tenants", str(name), "parent"), message, "one of them has no parent")
        done.update(way)


def _limits(limits: Limits) -> Iterator[Fault]:
    if limits.store == "redis" and limits.redis is None:
        yield Fault(("limits",), "`redis` is missing; the store `redis` needs its `url`")
    if limits.store == "memory":
        if limits.redis is not None:
            yield Fault(("limits", "redis"), "has no effect without `store: redis`")
        if limits.leases.enabled:
            yield Fault(("limits", "leases"), "has no effect without `store: redis`")
    if limits.redis is not None and (wrong := secrets.fault(limits.redis.url.reference)):
        yield Fault(("limits", "redis", "url"), *wrong)
