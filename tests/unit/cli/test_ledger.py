"""What the ledger's commands share."""

from __future__ import annotations

import pytest

from fairlead.cli.ledger import date, moment, seconds, table
from fairlead.errors import UsageError

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW - 86_400),
        ("30s", NOW - 30),
        ("2w", NOW - 1_209_600),
        ("2023-11-14", 1_699_920_000.0),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
    ],
)
def test_a_moment_is_a_time_ago_or_a_date(text: str, expected: float) -> None:
    assert moment(text, "--since", NOW) == expected


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "yesterday", "2023-11-14T22:13:20", "99999999-01-01"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        moment(text, "--since", NOW)


def test_durations_are_short() -> None:
    assert [seconds(value) for value in (None, 0.0, 0.0123, 2.5, 75.04)] == [
        "-",
        "-",
        "12 ms",
        "2500 ms",
        "75.0 s",
    ]


def test_dates_are_utc() -> None:
    assert date(NOW) == "2023-11-14T22:13:20Z"


def test_numbers_stand_to_the_right() -> None:
    assert table(("NAME", "N"), [("a", "1"), ("bcdef", "1,000")], numbers=("N",)) == (
        "NAME       N\n"  #
        "a          1\n"
        "bcdef  1,000\n"
    )
