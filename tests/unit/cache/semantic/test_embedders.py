"""Which embedder a configuration names, and whose vectors they are."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.cache.made import config

from fairlead import config as cfg
from fairlead.cache.semantic.embedders import embedder_of, wants_minilm

TEXT = """\
providers: {one: {type: openai-compatible, base_url: "http://a.test/v1"}, two: {type: simulated}}
models:
  vectors: {targets: [{provider: one, model: small}]}
  chat: {targets: [{provider: two}], cache: {semantic: {embedder: vectors, dimensions: 8}}}
  plain: {targets: [{provider: two}], cache: {semantic: {embedder: hashed}}}
"""


async def ask(model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
    return [[1.0] * 8]


def id_of(text: str, model: str = "chat") -> str:
    made = config(text)
    cache = made.models[model].cache
    assert cache is not None
    assert isinstance(cache.semantic, cfg.SemanticCache)
    return embedder_of(cache.semantic, made, minilm=None, ask=ask).id


def test_another_target_behind_the_name_is_another_embedder() -> None:
    ids = {
        id_of(text)
        for text in (
            TEXT,
            TEXT.replace("model: small", "model: large"),
            TEXT.replace("a.test", "b.test"),
            TEXT.replace("dimensions: 8", "dimensions: 16"),
        )
    }
    assert len(ids) == 4
    assert id_of(TEXT) == id_of(TEXT.replace("plain:", "other:"))
    assert id_of(TEXT, "plain") not in ids


def test_minilm_is_wanted_where_it_is_named() -> None:
    assert wants_minilm(config(TEXT)) is None
    assert wants_minilm(config(TEXT.replace("hashed", "minilm"))) == "plain"
