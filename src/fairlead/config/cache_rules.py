"""What the types of the sections `cache` and `models.NAME.cache` cannot say.

A scope and the tenants in it must exist, and each store has options of its
own. Pure, as `rules` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fairlead.config import secrets, semantic_rules
from fairlead.config.fault import Fault, Path, nearest
from fairlead.config.options import Cache, CacheScope, Config

EVERYONE: Final = "*"
"""Stands for every tenant in a scope."""

_SCOPE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def faults(config: Config) -> list[Fault]:
    """Every broken rule of the two sections."""
    found = list(_store(config.cache))
    for name, scope in config.cache.scopes.items():
        found += _scope(name, scope, config)
    for name, model in config.models.items():
        scope_name = model.cache.scope if model.cache is not None else None
        if scope_name is not None and scope_name not in config.cache.scopes:
            hint = nearest(scope_name, config.cache.scopes) or "add it under `cache.scopes`"
            where = ("models", name, "cache", "scope")
            found.append(Fault(where, f"no scope is named `{scope_name}`", hint))
    found += semantic_rules.faults(config)
    return found


def _store(cache: Cache) -> Iterator[Fault]:
    if cache.max_entry_bytes > cache.max_bytes:
        message = f"{cache.max_entry_bytes} is more than `max_bytes`, {cache.max_bytes}"
        yield Fault(("cache", "max_entry_bytes"), message)
    if cache.store == "redis" and cache.redis is None:
        yield Fault(("cache",), "`redis` is missing; the store `redis` needs its `url`")
    if cache.redis is not None:
        if cache.store != "redis":
            yield Fault(("cache", "redis"), "has no effect without `store: redis`")
        if wrong := secrets.fault(cache.redis.url.reference):
            yield Fault(("cache", "redis", "url"), *wrong)


def _scope(name: str, scope: CacheScope, config: Config) -> Iterator[Fault]:
    path: Path = ("cache", "scopes", name)
    if not _SCOPE_NAME.match(name):
        yield Fault(path, "a scope's name is letters, digits, `.`, `_` and `-`, at most 63")
    for index, tenant in enumerate(scope.tenants):
        where = (*path, "tenants", index)
        if tenant in scope.tenants[:index]:
            yield Fault(where, f"`{tenant}` is listed twice")
        elif tenant != EVERYONE and config.tenants and tenant not in config.tenants:
            hint = nearest(tenant, config.tenants) or "add it under `tenants`"
            yield Fault(where, f"no tenant is named `{tenant}`", hint)
