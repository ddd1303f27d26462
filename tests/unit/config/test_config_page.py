"""The committed reference page and the annotated example say what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from fairlead import config as cfg
from fairlead.config import parse
from fairlead.config.schema import options

ROOT = Path(__file__).resolve().parents[3]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_page", ROOT / "scripts" / "config_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_current() -> None:
    module = script()
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `make docs`"


def test_the_page_has_exactly_the_options_there_are() -> None:
    text = script().page()
    documented = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE) + re.findall(
        r"^## (\w+)", text, re.MULTILINE
    )
    assert sorted(documented) == sorted(option.path for option in options())


def test_the_annotated_example_is_valid_and_says_much() -> None:
    config = parse.parse(
        (ROOT / "docs" / "examples" / "fairlead.yaml").read_text(encoding="utf-8"), "example"
    )
    assert {provider.type for provider in config.providers.values()} >= {
        "openai",
        "anthropic",
        "azure",
        "bedrock",
        "vllm",
    }
    assert config.models["claude"].timeouts == cfg.Timeouts(first_token_s=120.0, total_s=900.0)
