"""The rules are documented, used, and stopped by something in the corpus or the tests beside it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from fairlead.vault.ingest.rules import RULES

ROOT = Path(__file__).resolve().parents[4]


def test_the_page_is_what_the_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("ingest_page", ROOT / "scripts" / "ingest_page.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    assert script.PAGE.read_text() == script.ingest_page(), "run `python scripts/ingest_page.py`"


def test_every_rule_is_used_and_every_used_rule_exists() -> None:
    folder = ROOT / "src" / "fairlead" / "vault" / "ingest"
    source = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "rules.py")
    used = {rule for rule in RULES if f'"{rule}"' in source}
    raised = set(re.findall(r'(?:Stopped|report\.add|self\._stop)\(\s*"([a-z0-9-]+)"', source))

    assert used == set(RULES)
    assert raised <= set(RULES)


def test_rules_say_what_they_stop_and_what_to_do() -> None:
    for name, rule in RULES.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert rule.stops.endswith("."), name
        assert rule.remedy, name
        assert "|" not in rule.stops + rule.remedy, name
