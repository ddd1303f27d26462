"""What the types of the cache's sections cannot say."""

from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.errors import ConfigError

BASE = """\
providers: {one: {type: simulated}}
tenants: {acme: {}, globex: {}}
"""
MODELS = "models: {m: {targets: [{provider: one}], cache: {}}}\n"


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(BASE + text, "test")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MODELS + "cache: {store: redis}", "cache: `redis` is missing"),
        (MODELS + "cache: {redis: {url: 'env:URL'}}", "cache.redis: has no effect without `store: redis`"),
        (MODELS + "cache: {store: redis, redis: {url: 'redis://x'}}", "cache.redis.url"),
        (MODELS + "cache: {max_bytes: 2000000, max_entry_bytes: 3000000}", "cache.max_entry_bytes: 3000000"),
        (MODELS + "cache: {scopes: {'a b': {tenants: [acme]}}}", "a scope's name is letters"),
        (MODELS + "cache: {scopes: {a: {tenants: [acme, acme]}}}", "`acme` is listed twice"),
        (MODELS + "cache: {scopes: {a: {tenants: [acne]}}}", "no tenant is named `acne`"),
        (MODELS + "cache: {scopes: {a: {tenants: []}}}", "cache.scopes.a.tenants"),
        (
            "models: {m: {targets: [{provider: one}], cache: {scope: ours}}}\n"
            "cache: {scopes: {our: {tenants: [acme]}}}",
            "models.m.cache.scope: no scope is named `ours`",
        ),
        ("models: {m: {targets: [{provider: one}], cache: {ttl_s: 0}}}", "models.m.cache.ttl_s"),
        ("models: {m: {targets: [{provider: one}], cache: {max_temperature: -1}}}", "max_temperature"),
    ],
)
def test_a_broken_rule_is_told_with_its_place(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_a_scope_may_hold_everyone_or_tenants_that_only_keys_have() -> None:
    parse(BASE + MODELS + "cache: {scopes: {all: {tenants: ['*']}}}", "test")
    without = BASE.replace("tenants: {acme: {}, globex: {}}\n", "")
    parse(without + MODELS + "cache: {scopes: {all: {tenants: [anybody]}}}", "test")


def test_nothing_is_kept_unless_a_model_says_so() -> None:
    config = parse(BASE + "models: {m: {targets: [{provider: one}]}}", "test")

    assert config.models["m"].cache is None
