"""What `fairlead limits` prints."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.cli.limits import as_table
from fairlead.cli.main import main

NOW = 1_700_000_000.0


def limit(**fields: Any) -> dict[str, Any]:
    defaults = {
        "node": "acme", "model": None, "what": "requests", "window": "minute", "amount": 60, "used": 12,
        "reserved": 0, "remaining": 48, "resets_at": NOW + 11.2, "shadow": False,
    }  # fmt: skip
    return {**defaults, **fields}


def test_each_limit_says_whose_it_is_and_what_is_left() -> None:
    money = {"what": "usd", "window": "month", "amount": 100_000_000, "used": 2_500_125, "reserved": 60}
    text = as_table(
        [
            limit(),
            limit(model="lab/large", what="tokens", amount=50_000, used=0, remaining=50_000,
                  resets_at=NOW - 1),
            limit(**money, remaining=97_499_815),
            limit(node="key:3f8a01Bc", what="concurrent", window="", amount=4, used=4, remaining=0,
                  resets_at=None, shadow=True),
        ],
        NOW,
    )  # fmt: skip

    assert text == (
        "OF            MODEL      LIMIT                    AMOUNT      USED  RESERVED       LEFT  "
        "RESETS                MODE\n"
        "acme          all        requests per minute          60        12         -         48  "
        "in 12 s               enforced\n"
        "acme          lab/large  tokens per minute        50,000         0         -     50,000  "
        "-                     enforced\n"
        "acme          all        USD per month        100.000000  2.500125  0.000060  97.499815  "
        "2023-11-14T22:13:31Z  enforced\n"
        "key:3f8a01Bc  all        requests at once              4         4         -          0  "
        "-                     shadow\n"
    )


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in as_table([limit(model="\x1b[2J")], NOW)


def test_without_an_admin_key_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FAIRLEAD_API_KEY", raising=False)

    assert main(["limits", "show", "acme"]) == 1
    assert "no admin key" in capsys.readouterr().err
