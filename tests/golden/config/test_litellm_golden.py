"""LiteLLM configurations and what they become. Set UPDATE_GOLDEN=1 to write the expected files anew."""

import os
from pathlib import Path

import pytest

from fairlead.cli.config import report
from fairlead.config import parse, secrets
from fairlead.config.litellm import import_litellm

CASES = sorted((Path(__file__).parent / "litellm").glob("*.yaml"))
ENVIRON = {"AZURE_US_BASE": "https://contoso-us.openai.azure.com", "OPENAI_API_KEY": "sk-of-the-environment"}


def test_there_are_cases() -> None:
    assert len(CASES) >= 8


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_import(case: Path) -> None:
    text, notes = import_litellm(case.read_text(), case.name, ENVIRON)
    actual = text + "# ---\n" + report(notes, everything=True)
    expected = case.with_suffix(".expected")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(actual)
    assert actual == expected.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_import_is_a_valid_configuration_without_secrets(case: Path) -> None:
    text, notes = import_litellm(case.read_text(), case.name, ENVIRON)
    config = parse.parse(text, "fairlead.yaml")
    assert all(secrets.fault(secret.reference) is None for _, secret in secrets.references(config))
    everything = text + report(notes, everything=True)
    for literal in ("cleartext", "clear-text", "literal-key", "sk-1234", "AKIA", "of-the-environment"):
        assert literal not in everything
