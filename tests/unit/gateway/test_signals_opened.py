"""Semantic metrics as the configuration asks for them."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from fairlead.config.parse import parse
from fairlead.errors import ConfigError
from fairlead.gateway.internal import Internal
from fairlead.gateway.signals_opened import Signals, open_signals
from fairlead.signals.questions import Setup
from fairlead.storage.connect import open_database

BASE = """\
auth: {required: false}
providers: {a: {type: openai-compatible, base_url: "http://a.test/v1"}}
models: {m: {targets: [{provider: a}]}}
"""


def _nobody() -> Internal:
    raise AssertionError("nobody asks")


def opened(section: str, *, compares: bool = True) -> tuple[Signals | None, list[str]]:
    """What was opened, and the names of what it runs."""

    async def main() -> tuple[Signals | None, list[str]]:
        database = await open_database(":memory:")
        try:
            signals = await open_signals(
                parse(BASE + section, "test"), database, {}, models=Path("models"), internal=_nobody,
                emit=None, roll=lambda: 0.0, compares=compares,
            )  # fmt: skip
            if signals is None:
                return None, []
            names = []
            for name, coroutine in signals.background():
                names.append(name)
                coroutine.close()
            await signals.close()
            return signals, names
        finally:
            await database.close()

    return asyncio.run(main())


def setup_of(signals: Signals | None) -> Setup:
    assert signals is not None
    return signals.work._setup


def test_without_the_section_nothing_is_opened() -> None:
    assert opened("") == (None, [])


def test_by_default_nothing_is_kept_or_compared() -> None:
    signals, names = opened("signals: {}\n")

    setup = setup_of(signals)
    assert names == ["semantic metrics"]
    assert (setup.drift, setup.embedder, setup.examples) == (False, "", False)
    assert set(setup.features) == {"refusal", "repetition", "validity", "language", "grounding"}
    assert set(setup.context) == {"tool_results", "documents", "tags"}
    assert len(setup.secret) == 32


def test_one_worker_compares() -> None:
    first, names = opened("signals: {drift: {window: 100, false_alarms_per_month: 5}}\n")
    _, others = opened("signals: {drift: {}}\n", compares=False)

    assert first is not None
    assert first.policy is not None
    assert (first.policy.window, first.policy.false_alarms_per_month) == (100, 5)
    assert (names, others) == (["semantic metrics", "drift"], ["semantic metrics"])
    assert setup_of(first).embedder == "hashed"


def test_an_embedder_that_is_a_model_is_asked_by_the_gateway_and_named_by_its_targets() -> None:
    signals, _ = opened("signals: {drift: {embedder: m}}\n")

    assert setup_of(signals).embedder == ""
    assert signals is not None
    assert signals.work.embedder.startswith("m@")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str) -> Any:
        return None if name == "py3langid" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)

    with pytest.raises(ConfigError, match="py3langid") as caught:
        opened("signals: {}\n")
    assert caught.value.hint == "pip install 'fairlead[signals]'"
