"""The LiteLLM importer where golden files would hide the point."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead import config as cfg
from fairlead.config import parse
from fairlead.config.litellm import import_litellm
from fairlead.config.litellm.prefixes import wildcard_fault
from fairlead.errors import ConfigError


def imported(
    document: dict[str, Any], environ: dict[str, str] | None = None
) -> tuple[cfg.Config, dict[str, str]]:
    text, notes = import_litellm(yaml.safe_dump(document), "config.yaml", environ)
    return parse.parse(text, "fairlead.yaml"), {note.path: note.outcome for note in notes}


def deployment(name: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": params}


def test_two_keys_in_clear_text_get_two_variables() -> None:
    config, _ = imported(
        {
            "model_list": [
                deployment("a", model="openai/x", api_key="sk-1"),
                deployment("b", model="openai/x", api_key="sk-2"),
            ]
        }
    )
    keys = [provider.api_key for provider in config.providers.values()]
    assert keys == [cfg.Secret("env:OPENAI_API_KEY"), cfg.Secret("env:OPENAI_API_KEY_2")]


def test_a_key_in_clear_text_never_takes_a_variable_that_is_in_use() -> None:
    config, _ = imported(
        {"model_list": [deployment("a", model="openai/x", api_key="sk-1"), deployment("b", model="gpt-4o")]}
    )
    by_model = {
        name: config.providers[model.targets[0].provider].api_key for name, model in config.models.items()
    }
    assert by_model == {"a": cfg.Secret("env:OPENAI_API_KEY_2"), "b": cfg.Secret("env:OPENAI_API_KEY")}


def test_an_address_that_cannot_be_used_never_falls_back_to_the_usual_one() -> None:
    config, outcomes = imported({"model_list": [deployment("a", model="openai/x", api_base="nonsense")]})
    assert config == cfg.Config()
    assert outcomes["model_list[0].litellm_params.api_base"] == "not mapped"


def test_an_address_in_a_variable_is_read_or_marked() -> None:
    document = {"model_list": [deployment("a", model="ollama/x", api_base="os.environ/OLLAMA_BASE")]}
    config, outcomes = imported(document, {"OLLAMA_BASE": "http://ollama:11434"})
    assert config.providers["ollama"].base_url == "http://ollama:11434/v1"
    assert outcomes["model_list[0].litellm_params.api_base"] == "mapped"
    config, outcomes = imported(document)
    assert config.providers["ollama"].base_url == "https://ollama-base.invalid/v1"
    assert outcomes["model_list[0].litellm_params.api_base"] == "not mapped"


def test_order_becomes_priority_and_deployments_without_one_come_last() -> None:
    config, _ = imported(
        {
            "model_list": [
                deployment("m", model="openai/c"),
                deployment("m", model="openai/b", order=5),
                deployment("m", model="openai/a", order=2),
            ]
        }
    )
    assert {target.model: target.priority for target in config.models["m"].targets} == {
        "a": 0,
        "b": 1,
        "c": 2,
    }


def test_equal_deployments_become_one_target_with_both_shares() -> None:
    config, _ = imported(
        {"model_list": [deployment("m", model="openai/a", rpm=10), deployment("m", model="openai/a", rpm=30)]}
    )
    assert [target.weight for target in config.models["m"].targets] == [40.0]


def test_default_fallbacks_never_close_a_circle() -> None:
    config, _ = imported(
        {
            "model_list": [deployment(name, model=f"openai/{name}") for name in ("a", "b", "c")],
            "litellm_settings": {"default_fallbacks": ["b"], "context_window_fallbacks": [{"b": ["c"]}]},
        }
    )
    assert config.models["a"].fallbacks.any == ["b"]
    assert config.models["b"].fallbacks == cfg.Fallbacks(context_window=["c"])
    assert config.models["c"].fallbacks == cfg.Fallbacks()


@pytest.mark.parametrize(
    ("model_name", "upstream", "fits"),
    [
        ("openai/*", "openai/*", True),
        ("eu/*", "openai/*", True),
        ("*", "openai/*", True),
        ("claude-*", "anthropic/claude-*", True),
        ("claude-*", "anthropic/claude-fixed", True),
        ("plain", "openai/x", True),
        ("plain", "openai/*", False),
        ("my-*", "openai/gpt-*", False),
        ("openai/gpt-*", "openai/gpt-*", False),
        ("anthropic/*", "anthropic/claude-*", False),
        ("org/*", "together_ai/org/*", False),
        ("gpt-*", "openai/*", False),
    ],
)
def test_wildcards_are_taken_only_where_the_asked_name_comes_out_the_same(
    model_name: str, upstream: str, fits: bool
) -> None:
    assert (wildcard_fault(model_name, upstream) is None) is fits


@pytest.mark.parametrize("text", ["[]", "text", "- a"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a LiteLLM configuration"):
        import_litellm(text, "config.yaml")


def test_broken_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^config\.yaml:2:"):
        import_litellm("a: 1\nb: ]\n", "config.yaml")
    with pytest.raises(ConfigError, match="given twice"):
        import_litellm("model_list: []\nmodel_list: []\n", "config.yaml")


def test_an_empty_file_is_an_empty_configuration() -> None:
    text, notes = import_litellm("", "config.yaml")
    assert parse.parse(text, "fairlead.yaml") == cfg.Config()
    assert notes == []


def test_an_option_nobody_has_heard_of_is_reported() -> None:
    _, outcomes = imported(
        {
            "model_list": [{**deployment("m", model="openai/x", shiny=1), "extra": 2}],
            "litellm_settings": {"shiny": 1},
            "router_settings": {"shiny": 1},
            "general_settings": {"shiny": 1},
            "shiny": 1,
        }
    )
    for path in (
        "shiny", "litellm_settings.shiny", "router_settings.shiny", "general_settings.shiny",
        "model_list[0].litellm_params.shiny", "model_list[0].extra",
    ):  # fmt: skip
        assert outcomes[path] == "not mapped"


# --- properties -------------------------------------------------------------------------------------

_scalars = st.none() | st.booleans() | st.integers(-5, 99999) | st.floats() | st.text(max_size=6)
_anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["a", "b", "c*", "openai/*", "*", "", " x", "d**"])
_upstreams = st.sampled_from(
    [
        "openai/gpt-5",
        "openai/*",
        "gpt-4o",
        "azure/x",
        "bedrock/eu-west-1/y",
        "ollama/z",
        "hosted_vllm/q",
        "groq/g",
        "*",
        "vertex_ai/v",
        "nowhere",
        "anthropic/*",
        "claude-x",
        "",
    ]
)
_params = st.fixed_dictionaries(
    {"model": _upstreams | _anything},
    optional={
        "api_base": st.sampled_from(["http://h:1/v1", "https://u:p@h", "os.environ/B", "x", "http://[", 5])
        | _anything,
        "api_key": st.sampled_from(["os.environ/K", "sk-VERYSECRET", "none", "os.environ/K 2"]) | _anything,
        "api_version": st.sampled_from(["2024-10-21", "latest"]) | _anything,
        "weight": _anything,
        "rpm": _anything,
        "order": _anything,
        "timeout": _anything,
        "stream_timeout": _anything,
        "max_parallel_requests": _anything,
        "extra_headers": _anything,
        "input_cost_per_token": _anything,
        "aws_region_name": _anything,
        "organization": _anything,
        "custom_llm_provider": _anything,
    },
)
_fallbacks = (
    st.lists(st.dictionaries(_names, st.lists(_names, max_size=3) | _anything, max_size=2), max_size=4)
    | _anything
)
_shared = {
    "num_retries": _anything,
    "request_timeout": _anything,
    "allowed_fails": _anything,
    "cooldown_time": _anything,
    "fallbacks": _fallbacks,
    "context_window_fallbacks": _fallbacks,
    "default_fallbacks": st.lists(_names) | _anything,
    "routing_strategy": _anything,
    "model_group_alias": st.dictionaries(_names, _names) | _anything,
    "retry_after": _anything,
    "default_max_parallel_requests": _anything,
}
_documents = st.fixed_dictionaries(
    {},
    optional={
        "model_list": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "model_name": _names | _anything,
                    "litellm_params": _params,
                    "model_info": _anything,
                },
            )
            | _anything,
            max_size=5,
        ),
        "litellm_settings": st.fixed_dictionaries({}, optional=_shared) | _anything,
        "router_settings": st.fixed_dictionaries({}, optional=_shared) | _anything,
        "general_settings": st.fixed_dictionaries(
            {},
            optional={
                "max_request_size_mb": _anything,
                "maximum_spend_logs_retention_period": _anything,
                "master_key": _anything,
            },
        )
        | _anything,
        "environment_variables": _anything,
    },
)


@settings(max_examples=150, deadline=None)
@given(_documents)
def test_whatever_is_imported_is_a_valid_configuration_without_the_secret(document: dict[str, Any]) -> None:
    text, notes = import_litellm(yaml.safe_dump(document), "config.yaml")
    parse.parse(text, "fairlead.yaml")
    assert "VERYSECRET" not in text
    assert not any("VERYSECRET" in note.message for note in notes)
