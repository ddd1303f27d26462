"""From the options of tenants to the limits on a request's way."""

from __future__ import annotations

import pytest

from fairlead.config import Config
from fairlead.config.parse import parse
from fairlead.errors import InvalidRequest
from fairlead.limits.quota import What, Window
from fairlead.limits.tree import Node, Tree, orphans_text, require_tenant, unknown_tenants

TENANTS = """
providers: {p: {type: simulated}}
models: {gpt-5: {targets: [{provider: p}]}, "claude-*": {targets: [{provider: p}]}}
tenants:
  acme:
    priority: batch
    limits:
      requests_per_minute: 600
      tokens_per_minute: {limit: 200000, output_weight: 4, burst: 50000, shadow: true}
      concurrent_requests: 50
      budgets: [{usd: 100.5, per: month, timezone: Europe/Berlin, warn_at: [0.8, 0.95]}]
      models: {"claude-*": {requests_per_minute: 5}, claude-opus: {requests_per_minute: 1}}
  search:
    parent: acme
    weight: 2
    limits: {models: {gpt-5: {tokens_per_minute: {limit: 10000, on_store_failure: bounded}}}}
    each_key: {requests_per_minute: 20, concurrent_requests: 4, models: {gpt-5: {requests_per_minute: 7}}}
    keys:
      nightly: {requests_per_minute: 100, models: {gpt-5: {concurrent_requests: 2}}}
  web: {parent: search, priority: interactive}
"""


def config() -> Config:
    return parse(TENANTS, "test")


def ids(tree: Tree, tenant: str, key: str = "k1", name: str = "n", model: str = "gpt-5") -> list[str]:
    path = tree.path(tenant, key, name, model)
    assert path is not None
    return [limit.id for limit in path.limits]


def test_a_way_goes_from_the_root_to_the_key() -> None:
    assert ids(Tree(config().tenants), "search") == [
        "acme/requests",
        "acme/tokens",
        "acme/concurrent",
        "acme/usd:month",
        "search/gpt-5/tokens",
        "key:k1/requests",
        "key:k1/concurrent",
        "key:k1/gpt-5/requests",
    ]


def test_what_a_key_sets_replaces_what_each_key_has() -> None:
    tree = Tree(config().tenants)
    path = tree.path("search", "k2", "nightly", "gpt-5")
    assert path is not None

    assert {limit.id: limit.amount for limit in path.limits if limit.node == "key:k2"} == {
        "key:k2/requests": 100,
        "key:k2/concurrent": 4,
        "key:k2/gpt-5/requests": 7,
        "key:k2/gpt-5/concurrent": 2,
    }


def test_the_most_specific_name_of_a_model_counts() -> None:
    tree = Tree(config().tenants)

    assert "acme/claude-opus/requests" in ids(tree, "acme", model="claude-opus")
    assert "acme/claude-*/requests" not in ids(tree, "acme", model="claude-opus")
    assert "acme/claude-*/requests" in ids(tree, "acme", model="claude-haiku")


def test_options_arrive_in_the_limits() -> None:
    path = Tree(config().tenants).path("search", "k1", "n", "gpt-5")
    assert path is not None
    limits = {limit.id: limit for limit in path.limits}

    tokens, budget = limits["acme/tokens"], limits["acme/usd:month"]
    assert (tokens.what, tokens.amount, tokens.burst, tokens.output_weight, tokens.shadow) == (
        What.TOKENS, 200000, 50000, 4.0, True,
    )  # fmt: skip
    assert (budget.amount, budget.window, budget.timezone, budget.warn_at) == (
        100_500_000, Window.MONTH, "Europe/Berlin", (0.8, 0.95),
    )  # fmt: skip
    assert limits["acme/requests"].burst == 600
    assert limits["search/gpt-5/tokens"].on_store_failure == "bounded"
    assert limits["search/gpt-5/tokens"].model == "gpt-5"
    assert {limit.root for limit in path.limits} == {"acme"}


def test_the_fair_queue_gets_weights_and_the_nearest_priority() -> None:
    tree = Tree(config().tenants)
    search, web = tree.path("search", "k1", "n", "gpt-5"), tree.path("web", "", "", "gpt-5")
    assert search is not None
    assert web is not None

    assert search.nodes == (Node("acme", 1.0), Node("search", 2.0), Node("key:k1", 1.0))
    assert (search.priority, web.priority) == ("batch", "interactive")
    assert [node.name for node in web.nodes] == ["acme", "search", "web"]


def test_a_tenant_that_is_not_in_the_tree_has_no_way_except_default() -> None:
    tree = Tree(config().tenants)

    assert tree.path("typo", "k", "n", "gpt-5") is None
    assert ids(tree, "default") == []
    assert unknown_tenants(config(), {"k1": "search", "k2": "typo", "k3": "default"}) == {"k2": "typo"}


def test_without_tenants_every_tenant_goes_free() -> None:
    tree = Tree({})

    assert ids(tree, "anything") == []
    path = tree.path("anything", "k", "n", "m")
    assert path is not None
    assert path.nodes[0] == Node("anything", 1.0)


def test_everything_of_a_tenant_and_of_a_key_can_be_shown() -> None:
    tree = Tree(config().tenants)

    assert [limit.id for limit in tree.limits("search")][-2:] == [
        "acme/claude-opus/requests",
        "search/gpt-5/tokens",
    ]
    assert len(tree.limits("search")) == 7
    assert [limit.id for limit in tree.key_limits("search", "k1", "n")] == [
        "key:k1/requests",
        "key:k1/concurrent",
        "key:k1/gpt-5/requests",
    ]


def test_a_way_is_found_once() -> None:
    tree = Tree(config().tenants)

    assert tree.path("search", "k1", "n", "gpt-5") is tree.path("search", "k1", "n", "gpt-5")


def test_models_that_the_configuration_does_not_tell_apart_share_a_way() -> None:
    tree = Tree(config().tenants)

    assert tree.path("acme", "k1", "n", "claude-a") is tree.path("acme", "k1", "n", "claude-b")
    assert tree.path("acme", "k1", "n", "claude-a") is not tree.path("acme", "k2", "n", "claude-a")
    assert tree.path("acme", "k1", "n", "claude-a") is not tree.path("acme", "k1", "n", "claude-opus")


def test_what_is_remembered_is_bounded() -> None:
    tree = Tree(config().tenants)
    for number in range(20_001):
        tree.path("acme", "k", "n", f"claude-{number}")
    tree.path("acme", "k", "n", "claude-" + "x" * 300)

    assert len(tree._paths) == 1


def test_the_tree_is_told_from_the_roots_down() -> None:
    tree = Tree(config().tenants)

    assert tree.names() == ("acme", "search", "web", "default")
    assert tree.line("web") == ("acme", "search", "web")
    assert tree.line("nobody") == ()
    assert tree.below("search") == ("search", "web")
    assert tree.below("gone") == ("gone",), "its past is asked for by its own name"
    assert [tree.priority(name) for name in tree.names()] == ["batch", "batch", "interactive", "interactive"]
    assert (tree.weight("search"), tree.weight("web")) == (2.0, 1.0)


def test_a_key_is_for_a_tenant_that_there_is() -> None:
    tree = Tree(config().tenants)
    for known in ("acme", "web", "default"):
        require_tenant(tree, known)
    require_tenant(Tree({}), "anybody")

    with pytest.raises(InvalidRequest) as mistyped:
        require_tenant(tree, "serch")

    assert (mistyped.value.param, mistyped.value.hint) == ("tenant", "did you mean `search`?")


def test_orphaned_keys_are_named_as_far_as_there_is_room() -> None:
    assert orphans_text({"k1": "gone"}) == (
        "1 API key belongs to a tenant that the configuration does not have, so requests are refused: "
        "k1 (`gone`)"
    )
    many = orphans_text({f"k{number:03}": "gone" for number in range(23)})
    assert many.startswith("23 API keys belong to tenants")
    assert many.endswith("k019 (`gone`) and 3 more")
