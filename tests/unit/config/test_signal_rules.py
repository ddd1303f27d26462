"""Rules of the section `signals`."""

from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.config.signal_options import FEATURES, Signals
from fairlead.errors import ConfigError

BASE = """\
auth: {required: false}
providers: {a: {type: openai-compatible, base_url: "http://a.test/v1"}}
models: {m: {targets: [{provider: a}]}, e: {targets: [{provider: a, model: x}, {provider: a, model: y}]}}
"""


def test_it_is_off_unless_it_is_there_and_then_keeps_no_text() -> None:
    assert parse(BASE, "test").signals is None
    signals = parse(BASE + "signals: {}\n", "test").signals
    assert signals == Signals()
    assert (signals.drift, signals.reasks) == (None, None)
    drift = parse(BASE + "signals: {drift: {}}\n", "test").signals
    assert drift is not None
    assert drift.drift is not None
    assert not drift.drift.keep_examples
    assert set(FEATURES) == {"refusal", "repetition", "validity", "language", "grounding"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{models: {mm: 0.1}}", "no model is named `mm`"),
        ("{features: [refusal, refusal]}", "listed twice"),
        ("{context: [tags, tags]}", "listed twice"),
        ("{drift: {embedder: nobody}}", "no model is named `nobody`"),
        ("{drift: {embedder: e}}", "different models"),
        ("{sample: 2}", "1"),
        ("{features: [mood]}", "mood"),
        ("{reasks: {}}", "usd_per_day"),
    ],
)
def test_mistakes_are_told(section: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(BASE + f"signals: {section}\n", "test")


def test_embedders_may_be_built_in_or_models() -> None:
    for name in ("hashed", "minilm", "m"):
        assert parse(BASE + f"signals: {{drift: {{embedder: {name}}}}}\n", "test").signals
