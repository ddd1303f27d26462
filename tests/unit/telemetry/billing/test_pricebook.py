"""Who says what a target costs, and which targets nobody prices."""

from __future__ import annotations

import json

import pytest

from fairlead.config import Config, Provider, Target
from fairlead.config.parse import check, parse
from fairlead.telemetry.billing.cost import UNIT, Prices
from fairlead.telemetry.billing.price_lists import PriceList, price_list
from fairlead.telemetry.billing.pricebook import PriceBook, pricing_of
from fairlead.telemetry.billing.prices import Table

TABLE = Table(
    json.dumps(
        {
            "format": 1,
            "version": "t",
            "lists": {"openai": {"gpt-x": {"input": 2, "output": 10}, "gpt-z": {"input": 9}}},
        }
    ).encode(),
    name="t",
)
FILE = """\
providers:
  cloud: {type: openai, api_key: env:K}
  proxied: {type: openai, base_url: "http://127.0.0.1:9/v1"}
  named: {type: openai-compatible, base_url: "http://egress.internal/v1"}
  engine: {type: vllm}
  fake: {type: simulated}
models: {m: {targets: [{provider: cloud, model: gpt-x}]}}
prices:
  providers: {named: openai}
  models:
    gpt-own: {input_usd_per_mtok: 1, output_usd_per_mtok: 2, cache_write_1h_usd_per_mtok: 4}
    engine/gpt-x: {input_usd_per_mtok: 0.5}
"""


def book(text: str = FILE) -> PriceBook:
    return PriceBook(parse(text, "test"), lambda: TABLE)


def priced(provider: str, model: str, **own: float) -> Prices | None:
    return book().prices(Target(provider=provider, model=model, **own), model)


def test_a_targets_own_prices_win() -> None:
    found = priced("cloud", "gpt-x", input_usd_per_mtok=7.0)

    assert found is not None
    assert (found.input, found.source) == (7 * UNIT, "config")


def test_configured_models_come_before_the_table() -> None:
    found = priced("cloud", "gpt-own")

    assert found is not None
    assert (found.input, found.cache_read, found.cache_write_1h) == (UNIT, UNIT, 4 * UNIT)
    assert found.source == "config"


def test_the_table_prices_a_providers_own_address() -> None:
    found = priced("cloud", "gpt-x")

    assert found is not None
    assert (found.input, found.output) == (2 * UNIT, 10 * UNIT)
    assert found.source == TABLE.version


def test_a_provider_behind_another_address_is_billed_by_the_list_it_is_said_to_be() -> None:
    found = priced("named", "gpt-x")

    assert found is not None
    assert found.source == TABLE.version


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("proxied", "gpt-x"),  # anybody may answer at this address
        ("engine", "gpt-z"),
        ("fake", "gpt-x"),
        ("fake", "gpt-z"),
        ("cloud", "gpt-unknown"),
        ("nowhere", "gpt-x"),
    ],
)
def test_nothing_is_invented(provider: str, model: str) -> None:
    assert priced(provider, model) is None


def test_an_engine_has_a_price_only_when_it_is_given_one() -> None:
    found = priced("engine", "gpt-x")

    assert found is not None
    assert found.input == UNIT // 2


def test_the_table_can_be_switched_off() -> None:
    off = book(FILE.replace("prices:\n", "prices:\n  enabled: false\n"))

    assert off.upstream_prices("cloud", "gpt-x") is None
    assert off.upstream_prices("cloud", "gpt-own") is not None


def test_the_table_is_not_opened_for_targets_that_cannot_be_in_it() -> None:
    def never() -> Table:
        raise AssertionError("opened")

    config = parse(FILE, "test")
    for provider in ("fake", "engine", "proxied"):
        assert PriceBook(config, never).pricing(Target(provider=provider))("any") is None


def test_a_wildcard_target_is_priced_by_the_model_that_is_asked_for() -> None:
    pricing = book().pricing(Target(provider="cloud"))

    found = pricing("gpt-z")
    assert found is not None
    assert found.input == 9 * UNIT
    assert pricing("gpt-unknown") is None


def test_every_target_of_a_configuration_gets_its_pricing() -> None:
    ((pricing,),) = pricing_of(parse(FILE.replace("gpt-x}", "gpt-4o}"), "test")).values()

    found = pricing("gpt-4o")
    assert found is not None
    assert found.input == 2_500_000_000


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (Provider(type="openai"), PriceList("openai")),
        (Provider(type="anthropic"), PriceList("anthropic")),
        (Provider(type="gemini"), PriceList("gemini")),
        (Provider(type="bedrock", region="eu-west-1"), PriceList("bedrock", "eu-west-1")),
        (
            Provider(type="bedrock", base_url="https://bedrock-runtime.eu-west-1.amazonaws.com"),
            PriceList("bedrock"),
        ),
        (Provider(type="bedrock", base_url="https://bedrock-mirror.example.com"), None),
        (Provider(type="azure", base_url="https://acme.openai.azure.com"), PriceList("azure")),
        (Provider(type="openai", base_url="https://eu.api.openai.com/v1"), PriceList("openai", "eu")),
        (Provider(type="openai-compatible", base_url="https://API.groq.com/openai/v1"), PriceList("groq")),
        (Provider(type="openai-compatible", base_url="https://api.groq.com.example/v1"), None),
        (Provider(type="openai", base_url="http://localhost:8000/v1"), None),
        (Provider(type="vllm", base_url="https://api.openai.com/v1"), None),
        (Provider(type="simulated"), None),
        (Provider(type="ollama"), None),
    ],
)
def test_the_list_is_told_by_type_and_address(provider: Provider, expected: PriceList | None) -> None:
    assert price_list(provider) == expected


def test_what_is_said_of_a_provider_counts() -> None:
    azure = Provider(type="azure", base_url="https://gateway.internal")

    assert price_list(azure) is None
    assert price_list(azure, "azure/eu") == PriceList("azure", "eu")
    assert price_list(Provider(type="openai"), "none") is None
    assert price_list(Provider(type="vllm"), "openai") is None


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ("{providers: {clowd: openai}}", "no provider is named `clowd`"),
        ("{providers: {cloud: 'Open AI'}}", "expected the name of a price list"),
        ("{providers: {engine: openai}}", "is in no price list"),
        ("{models: {'gpt-*': {input_usd_per_mtok: 1}}}", "patterns have no prices"),
        ("{models: {m: {}}}", "holds no price"),
        ("{file: ''}", "expected a path"),
        ("{models: {m: {input_usd_per_mtok: -1}}}", "expected a number >= 0"),
    ],
)
def test_broken_options_are_told_by_their_place(prices: str, words: str) -> None:
    text = FILE[: FILE.index("prices:")] + f"prices: {prices}\n"

    config, problems = check(text)

    assert config is None
    assert words in problems[0].message
    assert problems[0].path.startswith("prices.")


def test_without_options_everything_has_its_default() -> None:
    assert Config().prices.enabled
