"""Grants open what they were made for, for whom, until when, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import GrantRefused
from fairlead.vault.grants import DOMAIN, MAX_LIFE_S, Claims, GrantKeys, GrantSigner
from fairlead.vault.ref import Ref

SEED = b"\x05" * 32
SIGNER = GrantSigner(SEED)
KEYS = GrantKeys([SIGNER.public_key])
REF = Ref(tenant="acme", name="fraud/scorer", version="7")
CLAIMS = Claims(
    id="g1", key_id=SIGNER.key_id, principal="sa:prod/scorer", ref=str(REF), digest="d" * 64, purpose="serve",
    issued_at=1000, expires_at=1300, size_bytes=4096,
)  # fmt: skip
GRANT = SIGNER.sign(CLAIMS)


def check(grant: str = GRANT, **changed: Any) -> Claims:
    facts: dict[str, Any] = {
        "principal": "sa:prod/scorer", "ref": REF, "digest": "d" * 64, "purpose": "serve", "now": 1100.0,
    }  # fmt: skip
    return KEYS.check(grant, **(facts | changed))


def signed(payload: bytes) -> str:
    """A grant of any bytes, signed with the right key."""
    parts = (payload, Ed25519PrivateKey.from_private_bytes(SEED).sign(DOMAIN + payload))
    return ".".join(("flg1", *(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)))


def plain(**changed: Any) -> dict[str, Any]:
    return msgspec.to_builtins(CLAIMS) | changed


def spelled(claims: dict[str, Any], **how: Any) -> bytes:
    return json.dumps(claims, **({"sort_keys": True, "separators": (",", ":")} | how)).encode()


def test_a_grant_opens_what_it_was_made_for() -> None:
    assert check() == CLAIMS
    assert signed(spelled(plain())) == GRANT
    assert "05" * 8 not in repr(SIGNER)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"principal": "sa:prod/scorer2"}, "another principal"),
        ({"principal": "sa:prod/score"}, "another principal"),
        ({"ref": Ref(tenant="acme", name="fraud/scorer", version="8")}, "another reference"),
        ({"ref": Ref(tenant="acm", name="fraud/scorer", version="7")}, "another reference"),
        ({"digest": "e" * 64}, "another digest"),
        ({"digest": ""}, "another digest"),
        ({"purpose": "export"}, "another purpose"),
        ({"now": 994.9}, "not valid yet"),
        ({"now": 1305.0}, "expired"),
        ({"revoked": {"g1"}}, "revoked"),
    ],
)
def test_for_everything_else_it_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(GrantRefused) as caught:
        check(**changed)

    assert caught.value.reason == reason
    assert str(caught.value) == "This grant does not open this."


@pytest.mark.parametrize("now", [995.0, 1000.0, 1299.9, 1304.9])
def test_clocks_may_differ_a_little(now: float) -> None:
    assert check(now=now) == CLAIMS


@given(st.integers(0, len(GRANT) - 1), st.characters(min_codepoint=1, max_codepoint=300))
def test_no_character_of_a_grant_can_be_changed(at: int, character: str) -> None:
    changed = GRANT[:at] + character + GRANT[at + 1 :]
    if changed != GRANT:
        with pytest.raises(GrantRefused):
            check(changed)


@given(st.text(max_size=60))
def test_what_is_no_grant_is_refused(text: str) -> None:
    with pytest.raises(GrantRefused):
        check(text)


@pytest.mark.parametrize(
    "payload",
    [
        spelled(plain(), separators=(", ", ": ")),
        spelled(plain(), sort_keys=False),
        spelled(plain(extra=1)),
        spelled({name: value for name, value in plain().items() if name != "digest"}),
        spelled(plain(purpose="everything")),
        spelled(plain(expires_at=1300.5)),
        spelled(plain(issued_at=-5)),
        spelled(plain()).replace(b'"id":"g1"', b'"id":"g0","id":"g1"'),
        spelled(plain(key_id="0" * 16)),
        spelled(plain(expires_at=1000 + MAX_LIFE_S + 1)),
        spelled(plain(expires_at=1000)),
        b"[" * 2000,
        b"",
    ],
)
def test_the_right_key_does_not_make_up_for_the_wrong_form(payload: bytes) -> None:
    with pytest.raises(GrantRefused):
        check(signed(payload))


@pytest.mark.parametrize(
    "grant", [GRANT + "=", GRANT + ".x", GRANT + "\n", " " + GRANT, "flg2" + GRANT[4:], GRANT * 9]
)
def test_a_grant_has_one_spelling(grant: str) -> None:
    with pytest.raises(GrantRefused):
        check(grant)


def test_another_keys_grant_is_refused() -> None:
    other = GrantSigner(b"\x06" * 32)
    own = other.sign(msgspec.structs.replace(CLAIMS, key_id=other.key_id))

    with pytest.raises(GrantRefused) as unknown:
        check(own)
    assert unknown.value.reason == "unknown key"
    assert GrantKeys([SIGNER.public_key, other.public_key]).read(own).key_id == other.key_id
    with pytest.raises(ValueError):
        other.sign(CLAIMS)
    with pytest.raises(ValueError):
        SIGNER.sign(msgspec.structs.replace(CLAIMS, expires_at=1000 + MAX_LIFE_S + 1))
