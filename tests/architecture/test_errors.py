"""The error tree is whole: every class can be told by its code, and is documented."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import fairlead
from fairlead import errors
from fairlead.errors import FairleadError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors_page", REPOSITORY / "scripts" / "errors_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tree(kind: type[FairleadError] = FairleadError) -> Iterator[type[FairleadError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def test_there_is_one_tree() -> None:
    """No public error class lives elsewhere, whatever is imported."""
    for module in pkgutil.walk_packages(fairlead.__path__, "fairlead."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    elsewhere = {
        f"{kind.__module__}.{kind.__name__}"
        for kind in _tree()
        if kind.__module__.startswith("fairlead.") and kind.__module__ != errors.__name__
    }

    assert {name for name in elsewhere if not name.rpartition(".")[2].startswith("_")} == set()


def test_every_class_has_a_code_of_its_own(script: ModuleType) -> None:
    codes = Counter(kind.code for kind in script.error_classes())

    assert {code for code, count in codes.items() if count > 1} == set()
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in codes)
    assert all("code" in vars(kind) for kind in script.error_classes())


def test_every_class_has_a_default_message(script: ModuleType) -> None:
    for kind in script.error_classes():
        assert kind().message.endswith("."), kind
        assert "\n" not in kind().message, kind


def test_statuses_are_those_of_failures(script: ModuleType) -> None:
    for kind in script.error_classes():
        assert 400 <= kind.status <= 599, kind
        assert 1 <= kind.exit_status <= 125, kind


def test_the_page_is_what_the_script_writes(script: ModuleType) -> None:
    assert script.PAGE.read_text() == script.errors_page(), "run `python scripts/errors_page.py`"


def test_the_page_documents_every_code(script: ModuleType) -> None:
    documented = set(re.findall(r"^\| `([a-z0-9_]+)` \|", script.errors_page(), re.MULTILINE))

    assert documented == {kind.code for kind in script.error_classes()}
    assert len(documented) >= 30
