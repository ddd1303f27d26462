"""What the control API tells of tenants and limits: data, made from the tree and the stores' states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config.fault import nearest
from fairlead.errors import NotFound
from fairlead.limits.answer import window_name
from fairlead.limits.quota import OnStoreFailure, State, What
from fairlead.limits.tree import Priority, Tree


class LimitsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose limits to show beside the tenant's."""

    key: Annotated[str | None, Meta(description="The id of one of its keys, to show the key's own too.")] = (
        None
    )


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant of the tree."""

    name: str
    parent: str | None
    path: tuple[str, ...]
    """From the root down to itself."""
    weight: float
    priority: Priority
    limits: int
    """How many it has of its own, shadow ones included."""
    keys: int
    """Valid keys that are its own."""


class TenantList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[TenantView, ...]
    """Each after the one above it."""


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One limit as it stands. Money is in micro-dollars."""

    id: str
    node: str
    """Whose it is: a tenant, or `key:` and the key's id."""
    model: str | None
    """The model or pattern it is for; null for all together."""
    what: What
    window: str
    """`minute`, `hour`, `day`, `week` or `month`; empty for concurrency."""
    timezone: str | None
    """Of a budget."""
    amount: int
    used: int
    reserved: int
    """Held by requests under way; of budgets."""
    remaining: int
    resets_at: float | None
    """Unix seconds: when a rate is full again, or a budget's window ends."""
    shadow: bool
    warn_at: tuple[float, ...]
    on_store_failure: OnStoreFailure


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """The limits on the way of a tenant's requests."""

    tenant: str
    path: tuple[str, ...]
    """From the root down to the tenant."""
    key_id: str | None
    store: Literal["memory", "redis"]
    data: tuple[LimitView, ...]
    """From the root to the tenant, then the key's."""


def tenant_views(tree: Tree, keys: Mapping[str, int]) -> tuple[TenantView, ...]:
    """Every tenant; `keys` are the numbers of valid keys by tenant."""
    views = []
    for name in tree.names():
        path = tree.line(name)
        views.append(
            TenantView(
                name=name,
                parent=path[-2] if len(path) > 1 else None,
                path=path,
                weight=tree.weight(name),
                priority=tree.priority(name),
                limits=sum(limit.node == name for limit in tree.limits(name)),
                keys=keys.get(name, 0),
            )
        )
    return tuple(views)


def limit_views(states: Iterable[State]) -> tuple[LimitView, ...]:
    """The limits that these states are of."""
    return tuple(_view(state) for state in states)


def known_tenant(tree: Tree, name: str) -> tuple[str, ...]:
    """The tenants from the root to this one.

    Raises:
        NotFound: there is none of that name.
    """
    path = tree.line(name)
    if not path:
        raise NotFound(
            f"no tenant is named `{name[:100]}`",
            hint=nearest(name, tree.names()) or "`GET /admin/v1/tenants` lists them",
            param="tenant",
        )
    return path


def _view(state: State) -> LimitView:
    limit = state.limit
    return LimitView(
        id=limit.id,
        node=limit.node,
        model=limit.model,
        what=limit.what,
        window=window_name(limit),
        timezone=limit.timezone if limit.what is What.USD else None,
        amount=limit.amount,
        used=state.used,
        reserved=state.reserved,
        remaining=state.remaining,
        resets_at=state.resets_at,
        shadow=limit.shadow,
        warn_at=limit.warn_at,
        on_store_failure=limit.on_store_failure,
    )
