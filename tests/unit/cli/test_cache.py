"""What `fairlead cache` prints, and what it refuses to do."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.cli import cache
from fairlead.cli.cache import as_text
from fairlead.cli.main import main

STATS: dict[str, Any] = {
    "enabled": True,
    "looked_up": [{"tenant": "acme", "model": "gpt-5", "lookups": 4210, "hit_ratio": 0.314}],
    "hits": [
        {
            "tier": "memory",
            "tenant": "acme",
            "model": "gpt-5",
            "hits": 1218,
            "input_tokens": 970050,
            "output_tokens": 498002,
            "saved_microusd": 6_192_583,
            "unpriced": 2,
        }
    ],
    "held": [{"tier": "disk", "tenant": "acme", "model": "gpt-5", "entries": 12, "bytes": 34567}],
    "bypassed": [{"model": "gpt-5", "reason": "temperature", "count": 5}],
    "unstored": [{"model": "gpt-5", "reason": "unfinished", "count": 1}],
    "trouble": [{"tier": "disk", "kind": "put", "count": 3}],
    "semantic": [
        {
            "model": "gpt-5",
            "state": "active",
            "false_hit_upper95": 0.0123,
            "verified": 1400,
            "wrong": 2,
            "hits": 510,
            "audits": 31,
        }
    ],
}
NOTHING: dict[str, Any] = {
    name: [] for name in ("looked_up", "hits", "held", "bypassed", "unstored", "trouble")
}


def test_each_kind_of_number_has_its_table() -> None:
    assert as_text(STATS) == (
        "MODEL  TENANT  LOOKED UP  HIT RATIO\n"
        "gpt-5  acme        4,210      31.4%\n"
        "\n"
        "MODEL  TENANT  TIER     HITS    INPUT   OUTPUT  SAVED USD  UNPRICED\n"
        "gpt-5  acme    memory  1,218  970,050  498,002   6.192583         2\n"
        "\n"
        "MODEL  TENANT  TIER  ANSWERS   BYTES\n"
        "gpt-5  acme    disk       12  34,567\n"
        "\n"
        "MODEL  WHAT       WHY          COUNT\n"
        "gpt-5  not asked  temperature      5\n"
        "gpt-5  not kept   unfinished       1\n"
        "\n"
        "MODEL  SEMANTIC  FALSE AT MOST  VERIFIED  WRONG  SERVED  AUDITED\n"
        "gpt-5  active            1.23%     1,400      2     510       31\n"
        "\n"
        "TIER  FAILED  COUNT\n"
        "disk  put         3\n"
    )
    assert as_text(NOTHING) == ""


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in as_text({**NOTHING, "held": [{**STATS["held"][0], "model": "\x1b[2J"}]})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The bodies that a gateway would get, which answers that two answers went."""
    bodies: list[dict[str, Any]] = []

    def ask(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert (url, path) == ("http://127.0.0.1:8080", "/admin/v1/cache/purge")
        bodies.append(body)
        data = [{"tier": "memory", "entries": 2, "bytes": 1234}]
        return {"dry_run": body["dry_run"], "before": 1.0, "data": data}

    monkeypatch.setattr(cache, "ask", ask)
    return bodies


@pytest.mark.parametrize(
    ("words", "body", "says"),
    [
        (["--all"], {"older_than_s": 0.0, "dry_run": False}, "gone"),
        (["--tenant", "a", "--dry-run"], {"older_than_s": 0.0, "dry_run": True, "tenant": "a"}, "would go"),
        (["--model", "m", "--older-than", "2h"],
         {"older_than_s": 7200.0, "dry_run": False, "model": "m"}, "gone"),
    ],
)  # fmt: skip
def test_a_purge_says_what_is_meant(
    words: list[str],
    body: dict[str, Any],
    says: str,
    asked: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cache", "purge", *words]) == 0

    assert asked == [{**body, "older_than_s": pytest.approx(body["older_than_s"])}]
    assert capsys.readouterr().out == f"memory: 2 answers, 1,234 bytes {says}\n"


@pytest.mark.parametrize(
    "words", [[], ["--dry-run"], ["--all", "--tenant", "a"], ["--older-than", "2999-01-01"]]
)
def test_a_purge_that_is_not_clear_is_refused(
    words: list[str], asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "purge", *words]) == 2

    assert not asked
    assert "--" in capsys.readouterr().err
