"""Writes Fairlead's price table from the price list inside LiteLLM's wheel.

LiteLLM publishes what providers charge as one JSON file in its package. This
script keeps the providers that Fairlead can ask and the fields that it bills,
turns dollars per token into dollars per million (exactly, in decimal), and
writes `src/fairlead/telemetry/data/prices-DATE.json`: one model a line, so that
two tables can be compared. The older table is removed.

    python scripts/build_prices.py PATH-TO-SITE-PACKAGES --date 2026-11-24
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).resolve().parent.parent / "src" / "fairlead" / "telemetry" / "data"
_LIST: Final = "litellm/model_prices_and_context_window_backup.json"

LISTS: Final[Mapping[str, str]] = {
    "openai": "openai", "text-completion-openai": "openai",
    "azure": "azure", "azure_text": "azure", "azure_ai": "azure_ai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "bedrock": "bedrock", "bedrock_converse": "bedrock",
    "mistral": "mistral", "groq": "groq", "deepseek": "deepseek", "together_ai": "together_ai", "xai": "xai",
    "fireworks_ai": "fireworks_ai", "fireworks_ai-embedding-models": "fireworks_ai",
    "perplexity": "perplexity", "cerebras": "cerebras", "deepinfra": "deepinfra",
    "nvidia_nim": "nvidia_nim", "sambanova": "sambanova", "moonshot": "moonshot", "zai": "zai",
    "dashscope": "dashscope", "hyperbolic": "hyperbolic", "nebius": "nebius", "novita": "novita",
    "lambda_ai": "lambda_ai", "voyage": "voyage", "jina_ai": "jina_ai", "openrouter": "openrouter",
}  # fmt: skip
"""LiteLLM's providers, and the lists of ours that their models go to."""

_FIELDS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
}
_PARTS: Final[Mapping[str, str]] = {
    "reasoning": "output", "audio_output": "output", "image_output": "output",
    "audio_input": "input", "image_input": "input",
    "cache_write_1h": "cache_write", "cache_read_audio": "cache_read",
}  # fmt: skip
_EACH: Final[Mapping[str, str]] = {
    "input_cost_per_request": "request",
    "input_cost_per_second": "audio_second",
}
_TIERS: Final[Mapping[str, str]] = {
    "flex": "flex", "priority": "priority", "batches": "batch", "ultrafast": "ultrafast"
}  # fmt: skip
_MODES: Final = frozenset(
    {"chat", "responses", "completion", "embedding", "rerank", "moderation", "image_generation", "image_edit",
     "audio_transcription", "audio_speech"}
)  # fmt: skip
_KEY: Final = re.compile(
    r"(?P<field>.+?)(?:_above_(?P<thousands>\d+)k_tokens)?(?:_(?P<tier>flex|priority|batches|ultrafast))?\Z"
)
_SIZED: Final = re.compile(
    r"(?:low|medium|high|hd|standard|auto)/|\d+-x-\d+/|max-x-max/|.*-month-commitment/"
)
"""Prices of images by size and quality, and of rented capacity: not by token."""

Prices = dict[str, Any]


def table(listed: Mapping[str, Any], *, version: str, date: str, digest: str) -> dict[str, Any]:
    """The whole table from LiteLLM's list."""
    lists: dict[str, dict[str, Prices]] = {}
    for key, entry in listed.items():
        provider = LISTS.get(entry.get("litellm_provider", ""))
        if provider is None or entry.get("mode") not in _MODES:
            continue
        name = _name(key, provider)
        prices = model(entry)
        if prices and not _SIZED.match(name) and "*" not in name:
            known = lists.setdefault(provider, {})
            # A name with its provider's prefix is the more exact entry of the two.
            if name not in known or name != key:
                known[name] = prices
    return {
        "format": 1,
        "version": date,
        "source": "LiteLLM's model_prices_and_context_window_backup.json",
        "source_version": version,
        "source_sha256": digest,
        "date": date,
        "licence": "MIT, Copyright (c) 2023 Berri AI",
        "currency": "USD",
        "unit": "US dollars per million tokens; `request` and `audio_second` in US dollars each",
        "lists": {name: dict(sorted(lists[name].items())) for name in sorted(lists)},
    }


def model(entry: Mapping[str, Any]) -> Prices:
    """One model's prices; empty when it is not billed by token, second or request."""
    prices: Prices = {}
    for key, value in entry.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            _take(key, value, prices)
    if "cache_read" not in prices and "input_cost_per_token_cache_hit" in entry:
        prices["cache_read"] = _per_million(entry["input_cost_per_token_cache_hit"])
    for stage in entry.get("tiered_pricing") or ():
        _take_stage(stage, prices)
    factors = {
        **{name: factor for name, factor in (entry.get("provider_specific_entry") or {}).items()
           if name in ("us", "fast")},
        **{zone: entry[f"regional_processing_uplift_multiplier_{zone}"] for zone in ("eu", "us")
           if f"regional_processing_uplift_multiplier_{zone}" in entry},
    }  # fmt: skip
    if not any(name in prices for name in ("input", "output", *_EACH.values())):
        return {}
    if factors:
        prices["factors"] = {name: _number(Decimal(str(factor))) for name, factor in factors.items()}
    if "audio_second" in prices and ("input" in prices or "audio_input" in prices):
        del prices["audio_second"]  # the same audio, said in another unit
    for own, theirs in (("context_window", "max_input_tokens"), ("max_output", "max_output_tokens")):
        if isinstance(entry.get(theirs), int):
            prices[own] = entry[theirs]
    return _ordered(prices)


def _take(key: str, value: float, prices: Prices) -> None:
    if key in _EACH:
        prices[_EACH[key]] = _number(Decimal(str(value)))
        return
    match = _KEY.match(key)
    assert match is not None
    own = _FIELDS.get(match["field"])
    if own is None:
        return
    place = prices
    if match["tier"]:
        place = place.setdefault("tiers", {}).setdefault(_TIERS[match["tier"]], {})
    if match["thousands"]:
        place = place.setdefault("above", {}).setdefault(str(int(match["thousands"]) * 1000), {})
    place[own] = _per_million(value)


def _take_stage(stage: Mapping[str, Any], prices: Prices) -> None:
    """A stage of `tiered_pricing`: its range begins above a number of input tokens."""
    if "range" not in stage:
        return
    start = int(stage["range"][0])
    place = prices if not start else prices.setdefault("above", {}).setdefault(str(start), {})
    for key, value in stage.items():
        if key in _FIELDS:
            place[_FIELDS[key]] = _per_million(value)


def _ordered(prices: Prices) -> Prices:
    """In one order, without what a kind costs anyway because the kind it is part of does."""
    for name, whole in _PARTS.items():
        if name in prices and prices[name] == prices.get(whole):
            del prices[name]
    order = (*_FIELDS.values(), *_EACH.values(), "above", "tiers", "factors", "context_window", "max_output")
    ordered = {name: prices[name] for name in order if name in prices}
    if "above" in ordered:
        ordered["above"] = dict(sorted(ordered["above"].items(), key=lambda stage: int(stage[0])))
    if "tiers" in ordered:
        ordered["tiers"] = {name: _ordered(tier) for name, tier in sorted(ordered["tiers"].items())}
    return ordered


def _name(key: str, provider: str) -> str:
    for prefix in (f"{provider}/", "openai/" if provider == "openai" else ""):
        if prefix and key.startswith(prefix):
            return key[len(prefix) :]
    return key


def _per_million(usd_per_token: float) -> float | int:
    return _number(Decimal(str(usd_per_token)) * 1_000_000)


def _number(value: Decimal) -> float | int:
    # Beyond a billionth of a micro-dollar nothing is billed.
    rounded = round(value, 9).normalize()
    return int(rounded) if rounded == int(rounded) else float(rounded)


def text(made: Mapping[str, Any]) -> str:
    """The table as JSON, one model a line."""
    head = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in made.items() if name != "lists"]
    lists = []
    for name, models in made["lists"].items():
        lines = [
            f"{json.dumps(each)}: {json.dumps(prices, separators=(',', ':'))}"
            for each, prices in models.items()
        ]
        lists.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join([*head, '"lists": {\n' + ",\n".join(lists) + "\n}"]) + "\n}\n"


def _licence(installed: Path) -> str:
    """The licence that the list is under, as its authors want it kept with copies."""
    whole = (installed / "licenses" / "LICENSE").read_text(encoding="utf-8")
    _, _, mit = whole.partition("MIT License\n")
    heading = "`prices-*.json` here is made from LiteLLM's price list, which is under this licence:"
    return f"{heading}\n\nMIT License\n{mit}"


def main() -> int:
    """Write the table. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the price table from LiteLLM's wheel.")
    parser.add_argument("site_packages", type=Path, help="folder in which LiteLLM is installed")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    args = parser.parse_args()
    data = (args.site_packages / _LIST).read_bytes()
    installed = next(args.site_packages.glob("litellm-*.dist-info")).name
    version = installed.removeprefix("litellm-").removesuffix(".dist-info")
    made = table(json.loads(data), version=version, date=args.date, digest=hashlib.sha256(data).hexdigest())
    DATA.mkdir(exist_ok=True)
    (DATA / "LICENCE-litellm.txt").write_text(_licence(args.site_packages / installed), encoding="utf-8")
    for old in DATA.glob("prices-*.json"):
        old.unlink()
    path = DATA / f"prices-{args.date}.json"
    path.write_text(text(made), encoding="utf-8")
    count = sum(map(len, made["lists"].values()))
    sys.stdout.write(f"{path.name}: {count} models, {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
