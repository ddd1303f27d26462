"""Rules of `models.NAME.cache.semantic`."""

from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.errors import ConfigError

TEXT = """\
providers: {{one: {{type: simulated}}}}
models:
  vectors: {{targets: [{{provider: one, model: small}}]}}
  mixed: {{targets: [{{provider: one, model: small}}, {{provider: one, model: large}}]}}
  "any-*": {{targets: [{{provider: one}}]}}
  chat: {{targets: [{{provider: one}}], cache: {{semantic: {options}}}}}
"""


@pytest.mark.parametrize(
    "options",
    [
        "{embedder: hashed}",
        "{embedder: minilm, max_false_hit_rate: 0.01, judge: {same_above: 0.97}}",
        "{embedder: vectors, dimensions: 8, judge: {model: chat}}",
        "{embedder: any-thing, dimensions: 8, judge: {model: any-judge}}",
        "{embedder: hashed, audit: {share: 1, per_hour: 5, usd_per_day: 0}}",
    ],
)
def test_what_is_right_is_taken(options: str) -> None:
    assert parse(TEXT.format(options=options), "test").models["chat"].cache is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{}", "embedder"),
        ("{embedder: vector, dimensions: 8}", "did you mean `vectors`"),
        ("{embedder: nothing-like-it}", "no model is named"),
        ("{embedder: vectors}", "`dimensions` is missing"),
        ("{embedder: hashed, dimensions: 8}", "has no effect"),
        ("{embedder: mixed, dimensions: 8}", "different models"),
        ("{embedder: minilm, judge: {model: judge}}", "no model is named `judge`"),
        ("{embedder: hashed, judge: {same_above: 0.9}}", "do not tell"),
        ("{embedder: minilm, judge: {same_above: 0.5}}", "must be above `different_below`"),
        ("{embedder: minilm, max_false_hit_rate: 0}", "max_false_hit_rate"),
        ("{embedder: minilm, max_false_hit_rate: 0.6}", "max_false_hit_rate"),
        ("{embedder: minilm, audit: {share: 0}}", "share"),
        ("{embedder: minilm, treshold: 0.9}", "treshold"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(options: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(TEXT.format(options=options), "test")
    assert words in f"{caught.value.message} {caught.value.hint}"
