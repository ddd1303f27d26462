"""The form of a key, its scope's rules, its life."""

from __future__ import annotations

import hashlib
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.gateway.keys import (
    ADMIN,
    ENTROPY_BYTES,
    Scope,
    check,
    digest_of,
    id_in,
    is_well_formed,
    issue,
    secret_of,
)

ENTROPY = bytes(range(ENTROPY_BYTES))
NOW = 1_000_000.0
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_the_form_is_stable() -> None:
    """Scanners for leaked keys depend on it: a change here is a change of the format."""
    assert secret_of(bytes(ENTROPY_BYTES)) == "fl-" + "0" * 40 + "1um8UC"
    assert secret_of(ENTROPY) == "fl-rKhhwjnlS86reYjdQ5ckAqLoTS4ckntI6Yz8O0Ih2gQHgM"


def test_too_little_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        secret_of(b"x" * (ENTROPY_BYTES - 1))


@given(st.binary(min_size=ENTROPY_BYTES, max_size=64))
def test_every_secret_has_the_form_and_its_own_checksum(entropy: bytes) -> None:
    secret = secret_of(entropy)

    assert len(secret) == 49
    assert secret.startswith("fl-")
    assert set(secret[3:]) <= set(BASE62)
    assert is_well_formed(secret)
    assert secret_of(entropy) == secret


@given(st.integers(3, 48), st.sampled_from(BASE62))
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    secret = secret_of(ENTROPY)
    mistyped = secret[:place] + character + secret[place + 1 :]

    assert is_well_formed(mistyped) == (mistyped == secret)


@given(st.text())
def test_what_is_no_secret_is_not_well_formed(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(secret_of(ENTROPY) + text[:1] + "\n")


def test_an_issued_key_holds_the_digest_and_not_the_secret() -> None:
    issued = issue(Scope(name="app", expires_at=NOW + 60), now=NOW, entropy=ENTROPY, rotated_from="abcdefgh")

    assert issued.key.digest == hashlib.sha256(issued.secret.encode()).digest() == digest_of(issued.secret)
    assert issued.secret.startswith(issued.key.prefix)
    assert issued.key.prefix == "fl-" + issued.key.id
    assert (issued.key.created_at, issued.key.expires_at) == (NOW, NOW + 60)
    assert issued.key.rotated_from == "abcdefgh"
    assert issued.secret[11:] not in repr(issued)
    assert issued.secret[11:] not in repr(issued.key)
    assert issued.key.scope() == Scope(name="app", expires_at=NOW + 60)


def test_an_id_is_found_in_what_people_paste() -> None:
    secret = secret_of(ENTROPY)

    assert id_in(secret) == id_in(secret[:11]) == id_in(secret[3:11]) == secret[3:11]
    assert id_in(secret[:-1]) is None
    assert id_in(secret[:-1] + "_") is None
    assert id_in("") is None


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "states"),
    [
        (None, None, ("active", "active", "active")),
        (20.0, None, ("active", "expired", "expired")),
        (None, 20.0, ("retiring", "revoked", "revoked")),
        (20.0, 30.0, ("retiring", "expired", "expired")),
        (30.0, 20.0, ("retiring", "revoked", "revoked")),
    ],
)
def test_the_life_of_a_key(
    expires_at: float | None, revoked_at: float | None, states: tuple[str, str, str]
) -> None:
    issued = issue(Scope(name="a"), now=0.0, entropy=ENTROPY)
    key = msgspec.structs.replace(issued.key, expires_at=expires_at, revoked_at=revoked_at)

    assert (key.state(19.0), key.state(20.0), key.state(40.0)) == states
    assert key.ends_at == min(expires_at or math.inf, revoked_at or math.inf)


def test_a_scope_is_brought_into_its_normal_form() -> None:
    scope = Scope(
        name=" app ",
        tenant="team-a.1",
        models=("gpt-4o", " gpt-4o ", "llama*"),
        endpoints=("chat", "chat", ADMIN),
        ip_ranges=("10.0.0.0/8", "2001:DB8::/32", "192.0.2.7"),
        expires_at=NOW + 1,
    )

    assert check(scope, now=NOW) == Scope(
        name="app",
        tenant="team-a.1",
        models=("gpt-4o", "llama*"),
        endpoints=("chat", ADMIN),
        ip_ranges=("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"),
        expires_at=NOW + 1,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 101),
        ("name", "a\x1b[31mred"),
        ("tenant", ""),
        ("tenant", "-a"),
        ("tenant", "a b"),
        ("tenant", "a" * 64),
        ("tenant", "a\n"),
        ("models", ()),
        ("models", ("",)),
        ("models", ("gpt 4",)),
        ("models", ("m" * 201,)),
        ("models", ("m",) * 1001),
        ("endpoints", ()),
        ("endpoints", ("chats",)),
        ("ip_ranges", ("",)),
        ("ip_ranges", ("10.0.0.1/8",)),
        ("ip_ranges", ("example.org",)),
        ("ip_ranges", ("10.0.0.0/33",)),
        ("expires_at", NOW),
        ("expires_at", math.inf),
        ("expires_at", math.nan),
    ],
)
def test_a_scope_that_is_not_valid_is_refused_by_field(field: str, value: object) -> None:
    scope = msgspec.structs.replace(Scope(name="a"), **{field: value})

    with pytest.raises(InvalidRequest) as caught:
        check(scope, now=NOW)

    assert caught.value.param == field


def test_a_range_with_host_bits_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(Scope(name="a", ip_ranges=("10.1.2.3/16",)), now=NOW)

    assert "10.1.0.0/16" in (caught.value.hint or "")
