"""The tier as a configuration opens it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.cache.made import config

from fairlead.cache.opened import open_cache
from fairlead.cache.semantic import index
from fairlead.errors import ConfigError

TEXT = """\
state: {{dir: {directory}}}
providers: {{one: {{type: simulated}}}}
cache: {{store: {store}}}
models: {{m: {{targets: [{{provider: one}}], cache: {{semantic: {{embedder: {embedder}}}}}}}}}
"""


def text(directory: Path, *, store: str = "disk", embedder: str = "hashed") -> str:
    return TEXT.format(directory=directory, store=store, embedder=embedder)


@pytest.mark.parametrize(("store", "has_file"), [("disk", True), ("none", False)])
def test_what_is_learned_is_in_the_file_of_kept_answers_if_there_is_one(
    tmp_path: Path, store: str, has_file: bool
) -> None:
    async def scenario() -> None:
        made = config(text(tmp_path, store=store))
        opened = await open_cache(made, str)
        assert opened is not None
        await opened.take_up(made, worker=1, workers=4)
        assert opened.semantic is not None
        assert opened.cache.beside is opened.semantic.tier
        assert (opened.semantic.tier.file is not None) == has_file
        assert opened.semantic.tier.workers == 4
        tier = opened.semantic.tier
        await opened.take_up(made)
        assert opened.semantic.tier is tier
        await opened.close()

    asyncio.run(scenario())


def test_without_the_option_nothing_is_opened(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = config(text(tmp_path).replace("{semantic: {embedder: hashed}}", "{}"))
        opened = await open_cache(made, str)
        assert opened is not None
        await opened.take_up(made)
        assert opened.semantic is None
        await opened.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("missing", "embedder", "extra"),
    [("usearch.index", "hashed", "fairlead[semantic]"), ("onnxruntime", "minilm", "fairlead[embed]")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, missing: str, embedder: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = index.importlib.import_module

    def imported(name: str) -> object:
        if name == missing:
            raise ImportError(name)
        return found(name)

    async def scenario() -> None:
        made = config(text(tmp_path, embedder=embedder))
        opened = await open_cache(made, str)
        assert opened is not None
        try:
            with pytest.raises(ConfigError) as caught:
                await opened.take_up(made)
        finally:
            await opened.close()
        assert extra in (caught.value.hint or "")
        assert (caught.value.param or "").startswith("models.m.cache.semantic")

    monkeypatch.setattr(index.importlib, "import_module", imported)
    asyncio.run(scenario())
