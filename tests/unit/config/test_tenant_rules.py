"""Rules of tenants and limits, each broken once, with file, path and hint."""

from __future__ import annotations

import pytest

from fairlead import config as cfg
from fairlead.config import tenant_rules
from fairlead.config.parse import check, parse
from fairlead.errors import ConfigError

BASE = """
providers: {p: {type: simulated}}
models: {gpt-5: {targets: [{provider: p}]}, "claude-*": {targets: [{provider: p}]}}
"""


def problems(text: str) -> list[tuple[str, str, str | None]]:
    """What is wrong with a file that ends with this text: path, message, hint."""
    _, found = check(BASE + text)
    return [(problem.path, problem.message, problem.hint) for problem in found]


def limits(text: str) -> list[tuple[str, str, str | None]]:
    """What is wrong with these limits of a tenant; paths begin behind them."""
    return [
        (path.removeprefix("tenants.a.limits."), message, hint)
        for path, message, hint in problems(f"tenants: {{a: {{limits: {text}}}}}")
    ]


NO_LIMIT = "leave it out where there is no limit"


@pytest.mark.parametrize(
    "text",
    [
        "tenants: {acme: {}}",
        "tenants: {acme: {}, search: {parent: acme, weight: 0.5, priority: batch}}",
        "tenants: {a: {limits: {requests_per_minute: 60, tokens_per_minute: {limit: 10, output_weight: 4}}}}",
        "tenants: {a: {limits: {budgets: [{usd: 0.5, per: day}, {usd: 3, per: month, timezone: UTC}]}}}",
        "tenants: {a: {limits: {models: {gpt-5: {requests_per_minute: 1}}}}}",
        "tenants: {a: {limits: {models: {claude-opus: {requests_per_minute: 1}}}}}",
        "tenants: {a: {limits: {models: {claude-o*: {requests_per_minute: 1}, 'gpt-*': {}}}}}",
        "tenants: {a: {each_key: {concurrent_requests: 2}, keys: {the nightly job: {}}}}",
        "tenants: {a: {limits: {requests_per_minute: 1}}}\nserver: {workers: 4}\n"
        "limits: {store: redis, redis: {url: env:REDIS_URL}}",
        "tenants: {a: {weight: 2}}\nserver: {workers: 4}",
    ],
)
def test_valid(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "path", "message", "hint"),
    [
        ("{requests_per_minute: 0}", "requests_per_minute",
         "expected a whole number from 1 to 1000000000, got 0", NO_LIMIT),
        ("{tokens_per_minute: -5}", "tokens_per_minute",
         "expected a whole number from 1 to 1000000000, got -5", NO_LIMIT),
        ("{concurrent_requests: {limit: 0}}", "concurrent_requests.limit",
         "expected a whole number from 1 to 1000000000, got 0", NO_LIMIT),
        ("{requests_per_minute: {limit: 5, bursts: 3}}", "requests_per_minute.bursts",
         "unknown option", "did you mean `burst`?"),
        ("{requests_per_minute: [5]}", "requests_per_minute",
         "expected a whole number from 1 to 1000000000, got a list", NO_LIMIT),
        ("{budgets: [{usd: 0, per: day}]}", "budgets[0].usd",
         "expected a number > 0 and <= 1000000000, got 0",
         "leave the budget out where there is no limit"),
        ("{budgets: [{usd: 5}]}", "budgets[0]", "`per` is missing",
         "The window: a clock hour, a day, a week from Monday, or a calendar month."),
        ("{budgets: [{usd: 5, per: year}]}", "budgets[0].per",
         "expected one of `day`, `hour`, `month`, `week`, got year", None),
        ("{budgets: [{usd: 5, per: day, timezone: Europe/Berln}]}", "budgets[0].timezone",
         "`Europe/Berln` is not a time zone", "did you mean `Europe/Berlin`?"),
        ("{budgets: [{usd: 5, per: day, timezone: ../../etc/passwd}]}", "budgets[0].timezone",
         "`../../etc/passwd` is not a time zone", "for example `Europe/Berlin` or `UTC`"),
        ("{budgets: [{usd: 5, per: day}, {usd: 6, per: day}]}", "budgets[1].per",
         "a second budget per day, after budgets[0]", "keep the smaller one"),
        ("{budgets: [{usd: 5, per: day, warn_at: [0.9, 0.8]}]}", "budgets[0].warn_at",
         "expected fractions in ascending order, each once", "for example `[0.8, 0.95]`"),
        ("{requests_per_minute: {limit: 5, warn_at: [1.5]}}", "requests_per_minute.warn_at[0]",
         "expected a number > 0 and <= 1, got 1.5", None),
        ("{requests_per_minute: {limit: 5, burst: 301}}", "requests_per_minute.burst",
         "301 is more than an hour's, 300", "leave it out for a minute's"),
        ("{tokens_per_minute: {limit: 5, input_weight: 0, output_weight: 0}}", "tokens_per_minute",
         "both weights are 0, so nothing would count", None),
        ("{models: {gpt5: {}}}", "models.gpt5", "no model is named `gpt5`", "did you mean `gpt-5`?"),
        ("{models: {'mistral-*': {}}}", 'models["mistral-*"]',
         "no model is named `mistral-*`", "add it under `models`"),
        ("{models: {gpt-5: {requests_per_minute: 0}}}", "models.gpt-5.requests_per_minute",
         "expected a whole number from 1 to 1000000000, got 0", NO_LIMIT),
        ("{models: {'g*-*': {}}}", 'models["g*-*"]', "a model's name has at most one `*`", None),
        ("{models: {gpt-5: {models: {}}}}", "models.gpt-5.models", "unknown option",
         "known here: requests_per_minute, tokens_per_minute, concurrent_requests, budgets"),
    ],
)  # fmt: skip
def test_broken_limits(text: str, path: str, message: str, hint: str | None) -> None:
    assert limits(text) == [(path, message, hint)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tenants: {a b: {}}",
         ('tenants["a b"]', "a tenant's name is letters, digits, `.`, `_` and `-`, at most 63", None)),
        ("tenants: {acme: {}, search: {parent: acm}}",
         ("tenants.search.parent", "no tenant is named `acm`", "did you mean `acme`?")),
        ("tenants: {acme: {parent: acme}}",
         ("tenants.acme.parent", "the tenants go round in a circle: acme -> acme",
          "one of them has no parent")),
        ("tenants: {x: {parent: a}, a: {parent: b}, b: {parent: c}, c: {parent: a}}",
         ("tenants.a.parent", "the tenants go round in a circle: a -> b -> c -> a",
          "one of them has no parent")),
        ("tenants: {a: {keys: {'': {}}}}",
         ('tenants.a.keys[""]', "expected the id or the name of a key", None)),
        ("tenants: {a: {each_key: {models: {nope: {}}}}}",
         ("tenants.a.each_key.models.nope", "no model is named `nope`", "add it under `models`")),
        ("tenants: {a: {weight: 0}}",
         ("tenants.a.weight", "expected a number > 0 and <= 1000000, got 0", None)),
        ("limits: {store: redis}",
         ("limits", "`redis` is missing; the store `redis` needs its `url`", None)),
        ("limits: {redis: {url: env:X}}",
         ("limits.redis", "has no effect without `store: redis`", None)),
        ("limits: {leases: {enabled: true}}",
         ("limits.leases", "has no effect without `store: redis`", None)),
        ("tenants: {a: {each_key: {requests_per_minute: 5}}}\nserver: {workers: 2}",
         ("server.workers", "2 workers need a shared store for the limits of `tenants`",
          "set `limits.store: redis` and `limits.redis.url`, or use one worker")),
    ],
)  # fmt: skip
def test_broken_tenants(text: str, expected: tuple[str, str, str | None]) -> None:
    assert problems(text) == [expected]


def test_a_circle_is_reported_once_however_many_lead_into_it() -> None:
    found = problems("tenants: {a: {parent: b}, b: {parent: a}, c: {parent: a}, d: {parent: c}}")

    assert [path for path, _, _ in found] == ["tenants.a.parent"]


def test_an_error_names_file_line_and_path() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(BASE + "tenants:\n  a:\n    limits: {requests_per_minute: -1}\n", "/etc/fairlead.yaml")

    assert "/etc/fairlead.yaml" in caught.value.message
    assert "tenants.a.limits.requests_per_minute" in caught.value.message


def test_a_literal_address_of_redis_is_not_repeated() -> None:
    found = problems("limits: {store: redis, redis: {url: 'redis://:hunter2@host/0'}}")

    assert [path for path, _, _ in found] == ["limits.redis.url"]
    assert "hunter2" not in str(found)


def test_workers_given_on_the_command_line_are_checked_as_well() -> None:
    limited = cfg.Config(tenants={"a": cfg.Tenant(limits=cfg.NodeLimits(requests_per_minute=5))})

    assert tenant_rules.needs_shared_store(limited, 1) is None
    assert tenant_rules.needs_shared_store(limited, 2) is not None
    assert tenant_rules.needs_shared_store(cfg.Config(), 2) is None
