"""What clients say in headers is taken only in the form that it has."""

import pytest

from fairlead.gateway.headers import client_patience_s


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (b"30", 30.0),
        (b"0.5", 0.5),
        (b"999999", 600.0),
        (b"inf", 600.0),
        (b"nan", 600.0),
        (b"-1", 600.0),
        (b"0", 600.0),
        (b"soon", 600.0),
        (b"\xff", 600.0),
        (b"", 600.0),
    ],
)
def test_a_clients_patience_is_bounded_by_the_configured_total(stated: bytes, expected: float) -> None:
    assert client_patience_s({b"x-stainless-read-timeout": stated}, 600.0) == expected


def test_without_a_statement_the_configured_total_holds() -> None:
    assert client_patience_s({}, 600.0) == 600.0
