"""The price table is what the script makes of LiteLLM's list, and nothing is lost or added on the way."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fairlead.telemetry.billing.cost import UNIT
from fairlead.telemetry.billing.prices import Table

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_prices", ROOT / "scripts" / "build_prices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTED: dict[str, Any] = {
    "sample_spec": {"input_cost_per_token": 1.0, "litellm_provider": "one of ...", "mode": "chat"},
    "gpt-x": {
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 9, "max_output_tokens": 3,
        "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-07, "output_cost_per_reasoning_token": 1e-05,
        "input_cost_per_token_flex": 6.25e-07,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "input_cost_per_token_above_200k_tokens_flex": 1.25e-06, "output_cost_per_token_batches": 5e-06,
        "cache_creation_input_token_cost_above_1hr": 2e-06, "supports_vision": True,
        "regional_processing_uplift_multiplier_eu": 1.1, "search_context_cost_per_query": {"low": 0.01},
    },
    "azure/eu/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1.375e-06},
    "bedrock/us-east-1/maker.m": {
        "litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 8e-06,
    },
    "deepseek/chat": {
        "litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2.8e-07,
        "input_cost_per_token_cache_hit": 2.8e-08,
    },
    "dashscope/q": {
        "litellm_provider": "dashscope", "mode": "chat",
        "tiered_pricing": [
            {"range": [0, 32000.0], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
            {"range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-06},
        ],
    },
    "whisper": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "high/1024-x-1024/pic": {
        "litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 1,
    },
    "hd/1024-x-1024/pic": {
        "litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1,
    },
    "sora": {"litellm_provider": "openai", "mode": "video_generation", "input_cost_per_token": 1e-06},
    "nobody/m": {"litellm_provider": "nobody", "mode": "chat", "input_cost_per_token": 1e-06},
    "free": {"litellm_provider": "openai", "mode": "chat"},
}  # fmt: skip


def made(script: ModuleType) -> dict[str, Any]:
    table: dict[str, Any] = script.table(LISTED, version="1.2.3", date="2030-01-31", digest="d")
    return table


def test_only_models_that_can_be_billed_are_kept_by_list(script: ModuleType) -> None:
    assert {name: sorted(models) for name, models in made(script)["lists"].items()} == {
        "azure": ["eu/gpt-x"],
        "bedrock": ["us-east-1/maker.m"],
        "dashscope": ["q"],
        "deepseek": ["chat"],
        "openai": ["gpt-x", "whisper"],
    }


def test_a_models_fields(script: ModuleType) -> None:
    lists = made(script)["lists"]

    assert lists["openai"]["gpt-x"] == {
        "input": 1.25,
        "output": 10,
        "cache_read": 0.125,
        "cache_write_1h": 2,
        "above": {"200000": {"input": 2.5}},
        "tiers": {
            "batch": {"output": 5},
            "flex": {"input": 0.625, "above": {"200000": {"input": 1.25}}},
        },
        "factors": {"eu": 1.1},
        "context_window": 9,
        "max_output": 3,
    }
    assert lists["openai"]["whisper"] == {"audio_second": 0.0001}
    assert lists["deepseek"]["chat"] == {"input": 0.28, "cache_read": 0.028}
    assert lists["dashscope"]["q"] == {"input": 1.2, "output": 6, "above": {"32000": {"input": 2.4}}}


def test_the_table_says_where_it_is_from_and_can_be_read(script: ModuleType) -> None:
    text = script.text(made(script))
    table = Table(text.encode(), name="made")
    table.check()

    assert json.loads(text)["licence"].startswith("MIT")
    assert "1.2.3" in table.source
    found = table.find("azure", "gpt-x", zone="eu")
    assert found is not None
    assert found.prices.input == 1_375 * UNIT // 1000
    assert len(text.splitlines()) > 10  # one model a line, so that two tables can be compared


def test_the_shipped_table_is_what_the_script_makes(script: ModuleType) -> None:
    folders = list((ROOT / ".venv" / "litellm" / "lib").glob("python*/site-packages"))
    shipped = next((ROOT / "src" / "fairlead" / "telemetry" / "data").glob("prices-*.json"))
    said = json.loads(shipped.read_bytes())
    if not folders or not (folders[0] / f"litellm-{said['source_version']}.dist-info").is_dir():
        pytest.skip(f"LiteLLM {said['source_version']}, which the table was made from, is not installed here")
    listed = json.loads((folders[0] / "litellm" / "model_prices_and_context_window_backup.json").read_bytes())

    again = script.table(
        listed, version=said["source_version"], date=said["date"], digest=said["source_sha256"]
    )

    assert shipped.read_text() == script.text(again)
