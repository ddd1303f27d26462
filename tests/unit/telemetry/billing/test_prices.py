"""Price tables: what is in them is found under every spelling, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import ConfigError
from fairlead.telemetry.billing.cost import UNIT, cost_microusd
from fairlead.telemetry.billing.prices import Table, load, shipped, spellings
from fairlead.types import Usage


def table(lists: dict[str, Any], **fields: Any) -> Table:
    return Table(json.dumps({"format": 1, "version": "t", "lists": lists, **fields}).encode(), name="t.json")


@pytest.mark.parametrize(
    ("listed", "asked", "found"),
    [
        ("openai", "gpt-x", "gpt-x"),
        ("openai", "openai/gpt-x", "gpt-x"),
        ("openai", "gpt-x-2031-01-31", "gpt-x"),
        ("openai", "gpt-x-latest", "gpt-x"),
        ("openai", "ft:gpt-x:acme:mine:8Ab", "ft:gpt-x"),
        ("openai", "gpt-dear-2024-05-13", "gpt-dear-2024-05-13"),  # a snapshot with a price of its own
        ("openai", "gpt-dear-2025-01-01", "gpt-dear"),
        ("anthropic", "claude-y-20310131", "claude-y"),
        ("anthropic", "claude-y@20310131", "claude-y"),
        ("gemini", "models/flash", "flash"),
        ("gemini", "flash-002", "flash"),
        ("bedrock", "us.maker.model-v1:0", "us.maker.model-v1:0"),
        ("bedrock", "eu.maker.model-v1:0", "maker.model-v1:0"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.maker.model-v1:0",
            "us.maker.model-v1:0",
        ),
        ("bedrock", "arn:aws:bedrock:eu-west-1::foundation-model/maker.model-v1:0", "maker.model-v1:0"),
    ],
)
def test_a_model_is_found_under_the_names_it_is_sold_by(listed: str, asked: str, found: str) -> None:
    one = {"input": 1}
    lists = {
        "openai": {"gpt-x": one, "ft:gpt-x": one, "gpt-dear": one, "gpt-dear-2024-05-13": one},
        "anthropic": {"claude-y": one},
        "gemini": {"flash": one},
        "bedrock": {"maker.model-v1:0": one, "us.maker.model-v1:0": one},
    }

    entry = table(lists).find(listed, asked)

    assert entry is not None
    assert entry.name == found


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("openai", "gpt-y"),
        ("openai", "gpt-x-mini"),
        ("openai", "gpt"),
        ("openai", "GPT-X"),
        ("openai", "azure/gpt-x"),
        ("azure", "gpt-x"),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ("openai", ""),
        ("openai", "gpt-x" + "-" * 400),
    ],
)
def test_what_a_table_does_not_know_has_no_price(listed: str, asked: str) -> None:
    assert table({"openai": {"gpt-x": {"input": 1}}, "bedrock": {}}).find(listed, asked) is None


@given(
    st.text(max_size=400), st.sampled_from(["openai", "bedrock", "gemini", "nowhere"]), st.text(max_size=9)
)
def test_any_name_is_looked_for_in_a_few_spellings(model: str, listed: str, zone: str) -> None:
    assert len(list(spellings(listed, model, zone))) <= 12


def test_a_zone_has_its_own_entry_or_factor() -> None:
    prices = table(
        {
            "azure": {"gpt-x": {"input": 2}, "eu/gpt-x": {"input": 2.2}},
            "openai": {"gpt-x": {"input": 2, "output": 10, "factors": {"eu": 1.1}}},
        }
    )

    def price(listed: str, zone: str) -> int:
        found = prices.find(listed, "gpt-x", zone=zone)
        assert found is not None
        return found.prices.input

    assert price("azure", "eu") == 2_200_000_000
    assert price("azure", "us") == 2 * UNIT
    assert price("openai", "eu") == 2_200_000_000
    assert price("openai", "") == 2 * UNIT


def cost(entry: dict[str, Any], usage: Usage) -> int:
    found = table({"l": {"m": entry}}).find("l", "m")
    assert found is not None
    return cost_microusd(usage, found.prices)


TIERED = {
    "input": 2, "output": 10, "cache_read": 0.2, "reasoning": 12,
    "above": {"1000": {"input": 4, "output": 20}, "2000": {"input": 8}},
    "tiers": {"flex": {"input": 1, "output": 5}, "priority": {"input": 3, "above": {"1000": {"input": 6}}}},
    "factors": {"fast": 2},
}  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "microusd"),
    [
        (Usage(input_tokens=1000, output_tokens=10), 2000 + 100),
        (Usage(input_tokens=1001, output_tokens=10), 4004 + 200),
        (Usage(input_tokens=2001, output_tokens=10), 16008 + 100),  # said for each stage: output is 10 again
        (Usage(input_tokens=100, output_tokens=10, reasoning_tokens=4), 200 + 60 + 48),
        (Usage(input_tokens=100, output_tokens=10, service_tier="flex"), 100 + 50),
        (Usage(input_tokens=100, cache_read_tokens=100, service_tier="flex"), 20),
        # Flex has no price for long requests: the ordinary one counts.
        (Usage(input_tokens=1001, output_tokens=10, service_tier="flex"), 4004 + 200),
        (Usage(input_tokens=1001, output_tokens=10, service_tier="priority"), 6006 + 200),
        (Usage(input_tokens=100, output_tokens=10, service_tier="fast"), 400 + 200),
        (Usage(input_tokens=100, output_tokens=10, service_tier="flex+fast"), 200 + 100),
        (Usage(input_tokens=100, output_tokens=10, service_tier="unheard-of"), 200 + 100),
        (Usage(input_tokens=100, output_tokens=10, service_tier="unheard-of+fast"), 400 + 200),
    ],
)
def test_stages_tiers_and_factors(usage: Usage, microusd: int) -> None:
    assert cost(TIERED, usage) == microusd


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no price table"),
        (b"[]", "is no price table"),
        (b'{"format":2,"version":"x","lists":{}}', "format 2"),
        (b'{"format":1,"version":"","lists":{}}', "is no price table"),
        (b'{"format":1,"version":"x","lists":{"openai":{"m":{"inptu":1}}}}', "lists.openai.m"),
        (b'{"format":1,"version":"x","lists":{"openai":{"m":{"input":-1}}}}', "lists.openai.m"),
        (b'{"format":1,"version":"x","lists":{"openai":{"m":{"input":1e300}}}}', "lists.openai.m"),
        (b'{"format":1,"version":"x","lists":{"openai":{"m":{"above":{"much":{}}}}}}', "lists.openai.m"),
        (b'{"format":1,"version":"x","lists":{"openai":{"m":{"above":{"' + b"9" * 5000 + b'":{}}}}}}', "m"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(data)

    with pytest.raises(ConfigError, match=words):
        load(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_two_tables_that_differ_are_called_differently() -> None:
    one, other = table({"l": {"m": {"input": 1}}}), table({"l": {"m": {"input": 2}}})

    assert one.version.startswith("t#")
    assert one.version != other.version


def test_the_shipped_table_is_whole_and_says_where_it_is_from() -> None:
    prices = shipped()
    prices.check()

    assert prices.version == prices.date
    assert "LiteLLM" in prices.source
    lists = prices.lists()
    assert {"openai", "azure", "anthropic", "gemini", "bedrock", "mistral", "groq"} <= set(lists)
    assert sum(lists.values()) > 1500


@pytest.mark.parametrize(
    ("listed", "model", "usage", "microusd"),
    [
        # 86 * 2.50 + 1920 * 1.25 + 300 * 10.00
        ("openai", "gpt-4o", Usage(input_tokens=2006, output_tokens=300, cache_read_tokens=1920), 5615),
        # 120 * 3 + 5000 * 0.30 + 2000 * 3.75 + 1000 * 6 + 400 * 15
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            Usage(
                input_tokens=8120,
                output_tokens=400,
                cache_read_tokens=5000,
                cache_write_tokens=3000,
                cache_write_1h_tokens=1000,
            ),
            21360,
        ),
        # 400 * 0.30 + 600 * 0.03 + 250 * 2.50
        (
            "gemini",
            "gemini-2.5-flash",
            Usage(input_tokens=1000, output_tokens=250, cache_read_tokens=600, reasoning_tokens=200),
            763,
        ),
    ],
)
def test_the_shipped_table_bills_what_providers_publish(
    listed: str, model: str, usage: Usage, microusd: int
) -> None:
    found = shipped().find(listed, model)

    assert found is not None
    assert cost_microusd(usage, found.prices) == microusd
    assert found.context_window is not None
