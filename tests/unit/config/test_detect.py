"""A configuration from the environment and local engines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import config as cfg
from fairlead.config import parse, rules
from fairlead.config.detect import LocalEngine, detect
from fairlead.errors import ConfigError

AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-central-1"}


def test_with_nothing_there_is_the_simulated_model() -> None:
    assert detect({}) == cfg.Config(
        providers={"simulated": cfg.Provider(type="simulated")},
        models={"simulated": cfg.Model(targets=[cfg.Target(provider="simulated", model="simulated")])},
    )


def test_a_key_brings_its_provider_and_routes() -> None:
    config = detect({"OPENAI_API_KEY": "sk-SECRET"})
    assert config.providers["openai"] == cfg.Provider(type="openai", api_key=cfg.Secret("env:OPENAI_API_KEY"))
    openai = cfg.Model(targets=[cfg.Target(provider="openai")])
    for route in ("openai/*", "gpt-*", "o1*", "o3*", "o4*", "chatgpt-*", "text-embedding-*"):
        assert config.models[route] == openai
    assert "claude-*" not in config.models


@pytest.mark.parametrize(
    ("environ", "name", "provider", "route"),
    [
        (
            {"ANTHROPIC_API_KEY": "k"},
            "anthropic",
            cfg.Provider(type="anthropic", api_key=cfg.Secret("env:ANTHROPIC_API_KEY")),
            "claude-*",
        ),
        (
            {"GEMINI_API_KEY": "k", "GOOGLE_API_KEY": "l"},
            "gemini",
            cfg.Provider(type="gemini", api_key=cfg.Secret("env:GEMINI_API_KEY")),
            "gemini-*",
        ),
        (
            {"GOOGLE_API_KEY": "k"},
            "gemini",
            cfg.Provider(type="gemini", api_key=cfg.Secret("env:GOOGLE_API_KEY")),
            "gemini/*",
        ),
        (
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://relay.example.com/"},
            "anthropic",
            cfg.Provider(
                type="anthropic",
                base_url="https://relay.example.com/v1",
                api_key=cfg.Secret("env:ANTHROPIC_API_KEY"),
            ),
            "anthropic/*",
        ),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://eu.api.openai.com/v1"},
            "openai",
            cfg.Provider(
                type="openai",
                base_url="https://eu.api.openai.com/v1",
                api_key=cfg.Secret("env:OPENAI_API_KEY"),
            ),
            "gpt-*",
        ),
        (
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://e.openai.azure.com/"},
            "azure",
            cfg.Provider(
                type="azure",
                base_url="https://e.openai.azure.com/openai/v1",
                api_key=cfg.Secret("env:AZURE_OPENAI_API_KEY"),
            ),
            "azure/*",
        ),
        (
            {
                "AZURE_OPENAI_API_KEY": "k",
                "AZURE_OPENAI_ENDPOINT": "https://e.openai.azure.com",
                "OPENAI_API_VERSION": "2024-10-21",
            },
            "azure",
            cfg.Provider(
                type="azure",
                base_url="https://e.openai.azure.com",
                api_version="2024-10-21",
                api_key=cfg.Secret("env:AZURE_OPENAI_API_KEY"),
            ),
            "azure/*",
        ),
        (
            AWS,
            "bedrock",
            cfg.Provider(
                type="bedrock",
                region="eu-central-1",
                access_key_id=cfg.Secret("env:AWS_ACCESS_KEY_ID"),
                secret_access_key=cfg.Secret("env:AWS_SECRET_ACCESS_KEY"),
            ),
            "bedrock/*",
        ),
        (
            {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_DEFAULT_REGION": "us-east-1"},
            "bedrock",
            cfg.Provider(
                type="bedrock", region="us-east-1", api_key=cfg.Secret("env:AWS_BEARER_TOKEN_BEDROCK")
            ),
            "bedrock/*",
        ),
        (
            {"GROQ_API_KEY": "k"},
            "groq",
            cfg.Provider(
                type="openai-compatible",
                base_url="https://api.groq.com/openai/v1",
                api_key=cfg.Secret("env:GROQ_API_KEY"),
            ),
            "groq/*",
        ),
        (
            {"XAI_API_KEY": "k"},
            "xai",
            cfg.Provider(
                type="openai-compatible",
                base_url="https://api.x.ai/v1",
                api_key=cfg.Secret("env:XAI_API_KEY"),
            ),
            "grok-*",
        ),
    ],
)
def test_providers(environ: dict[str, str], name: str, provider: cfg.Provider, route: str) -> None:
    config = detect(environ)
    assert config.providers[name] == provider
    assert config.models[route].targets == [cfg.Target(provider=name)]


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": ""},
        {"AZURE_OPENAI_API_KEY": "k"},
        {"AZURE_OPENAI_ENDPOINT": "https://e.openai.azure.com"},
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
        {"AWS_ACCESS_KEY_ID": "a", "AWS_REGION": "eu-central-1"},
    ],
)
def test_half_a_credential_is_none(environ: dict[str, str]) -> None:
    assert list(detect(environ).providers) == ["simulated"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost:8080", "http://[::1]:8080/v1"])
def test_variables_that_point_at_this_gateway_do_not_make_it_ask_itself(url: str) -> None:
    environ = {
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": url,
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": url,
    }
    assert list(detect(environ).providers) == ["simulated"]


def test_an_address_that_is_none_names_its_variable_and_not_its_value() -> None:
    with pytest.raises(ConfigError) as caught:
        detect({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://u:SECRET@x"})
    assert caught.value.message.startswith("OPENAI_BASE_URL: ")
    assert "SECRET" not in caught.value.message


def test_an_engines_models_are_routes_by_name() -> None:
    vllm = LocalEngine(name="vllm", type="vllm", base_url="http://127.0.0.1:8000/v1", models=("org/m",))
    ollama = LocalEngine(
        name="ollama",
        type="ollama",
        base_url="http://127.0.0.1:11434/v1",
        models=("llama3.2:latest", "org/m"),
    )
    config = detect({}, [vllm, ollama])
    assert config.providers["vllm"] == cfg.Provider(type="vllm", base_url="http://127.0.0.1:8000/v1")
    assert config.models["org/m"].targets == [
        cfg.Target(provider="vllm", model="org/m"),
        cfg.Target(provider="ollama", model="org/m"),
    ]
    assert config.models["llama3.2:latest"].targets == [
        cfg.Target(provider="ollama", model="llama3.2:latest")
    ]
    assert config.models["vllm/*"].targets == [cfg.Target(provider="vllm")]


VARIABLES = [
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_OPENAI_API_KEY", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MISTRAL_API_KEY", "GROQ_API_KEY", "DEEPSEEK_API_KEY",
    "OPENROUTER_API_KEY", "TOGETHER_API_KEY", "XAI_API_KEY",
]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(VARIABLES), st.just("s3cr3t")),
    st.lists(st.text(max_size=8), max_size=5),
    st.booleans(),
)
def test_whatever_is_found_makes_a_valid_configuration_without_a_secret(
    environ: dict[str, str], models: list[str], cloud: bool
) -> None:
    if cloud:
        environ |= {"AZURE_OPENAI_ENDPOINT": "https://e.openai.azure.com", "AWS_REGION": "eu-west-1"}
    engine = LocalEngine(name="e", type="vllm", base_url="http://127.0.0.1:1/v1", models=tuple(models))
    config = detect(environ, [engine])
    assert rules.faults(config) == []
    text = parse.dump(config)
    assert parse.parse(text, "f.yaml") == config
    assert "s3cr3t" not in text
