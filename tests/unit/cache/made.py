"""What tests of the cache are made of."""

from __future__ import annotations

import json

from fairlead import config as cfg
from fairlead.cache.entry import Facts, pack
from fairlead.cache.key import Space, read
from fairlead.cache.lookup import facts_of
from fairlead.cache.policy import Policy
from fairlead.config.parse import parse

CONFIG = """\
providers: {one: {type: simulated}}
cache: {scopes: {ours: {tenants: [acme, globex]}, public: {tenants: ["*"]}}}
models:
  gpt: {targets: [{provider: one}], cache: {ttl_s: 100}}
  other: {targets: [{provider: one, model: big}], cache: {ttl_s: 100, stale_on_outage_s: 50}}
  joint: {targets: [{provider: one}], cache: {scope: ours}}
  open: {targets: [{provider: one}], cache: {scope: public}}
  plain: {targets: [{provider: one}]}
"""


def config(text: str = CONFIG) -> cfg.Config:
    return parse(text, "test")


def policy(**options: object) -> Policy:
    return Policy(cfg.RouteCache(**options))  # type: ignore[arg-type]  # of the option's own types


def space(tenant: str = "acme", model: str = "gpt") -> Space:
    return Space(f"tenant:{tenant}", tenant, model, b"")


def ask(text: str = "hi", **fields: object) -> bytes:
    body = {"model": "gpt", "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(body).encode()


def key_of(body: bytes, where: Space | None = None, api: str = "chat") -> bytes:
    request = read(api, body)
    assert request is not None
    return (where or space()).key(request)


def facts(where: Space | None = None, **more: object) -> Facts:
    return facts_of(where or space(), **more)  # type: ignore[arg-type]  # of the parameter's own types


def blob(
    key: bytes,
    payload: bytes = b"answer",
    where: Space | None = None,
    *,
    created_at: float = 1000.0,
    ttl_s: float = 100.0,
    kept_s: float = 100.0,
) -> bytes:
    return pack(key, payload, facts(where), created_at=created_at, ttl_s=ttl_s, kept_s=kept_s)
