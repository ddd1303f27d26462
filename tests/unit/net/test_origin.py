"""Origins: equality, labels, authorities."""

from __future__ import annotations

import pytest

from fairlead.config import UpstreamTls
from fairlead.net.origin import Origin


@pytest.mark.parametrize(
    ("scheme", "host", "port", "label", "authority"),
    [
        ("http", "a.example", 80, "a.example:80", "a.example"),
        ("https", "a.example", 443, "a.example:443", "a.example"),
        ("https", "a.example", 80, "a.example:80", "a.example:80"),
        ("http", "::1", 8000, "[::1]:8000", "[::1]:8000"),
        ("http", "::1", 80, "[::1]:80", "[::1]"),
    ],
)
def test_names(scheme: str, host: str, port: int, label: str, authority: str) -> None:
    origin = Origin(scheme=scheme, host=host, port=port)
    assert (origin.label, origin.authority) == (label, authority)


def test_equal_origins_are_one_key() -> None:
    def origin(ca: str) -> Origin:
        return Origin(scheme="https", host="a", port=1, tls=UpstreamTls(ca=ca))

    assert {origin("x"), origin("x"), origin("y")} == {origin("x"), origin("y")}
