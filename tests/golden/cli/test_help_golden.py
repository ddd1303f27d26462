"""The help texts, word for word. UPDATE_GOLDEN=1 writes the expected file anew.

Kept for Python 3.11; argparse words its help a little differently in each version.
"""

import os
import sys
from pathlib import Path

import pytest

from fairlead.cli.main import main

EXPECTED = Path(__file__).parent / "help.expected"
COMMANDS = [
    *("", "config", "config check", "config show", "config schema", "config import-litellm"),
    *(
        "usage",
        "usage export",
        "usage recompute",
        "usage revisions",
        "latency",
        "explain",
        "limits",
        "limits show",
    ),
    *("cache", "cache stats", "cache purge"),
    *("alerts", "alerts list", "alerts test", "alerts silence", "alerts export"),
]


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="argparse words its help differently in each version"
)
def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for command in COMMANDS:
        assert main([*command.split(), "--help"]) == 0
        texts.append(f"$ fairlead {command} --help".replace("  ", " ") + "\n" + capsys.readouterr().out)
    actual = "\n".join(texts)
    if os.environ.get("UPDATE_GOLDEN"):
        EXPECTED.write_text(actual)
    assert actual == EXPECTED.read_text()
