from __future__ import annotations

import base64
import hashlib
from typing import get_args

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from fairlead.errors import InvalidRequest
from fairlead.vault.signing_keys import KeyKind, SigningKey, VerifyKey

KINDS = get_args(KeyKind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_accepts_what_it_signed_and_nothing_else(kind: KeyKind) -> None:
    key, other = SigningKey.generate(kind), SigningKey.generate(kind)
    signature = key.sign(b"text")

    assert key.public.kind == kind
    assert key.public.accepts(b"text", signature)
    assert not key.public.accepts(b"texT", signature)
    assert not other.public.accepts(b"text", signature)
    for damaged in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not key.public.accepts(b"text", damaged)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_key_is_the_same_after_a_file(kind: KeyKind, passphrase: bytes | None) -> None:
    key = SigningKey.generate(kind)
    read = SigningKey.from_pem(key.to_pem(passphrase), passphrase)

    assert read.public == key.public == VerifyKey.from_pem(key.public.pem)
    assert len({read.public, key.public}) == 1
    with pytest.raises(InvalidRequest):
        SigningKey.from_pem(key.to_pem(passphrase), b"wrong")


def test_hints_are_those_of_the_reference_and_of_cosign() -> None:
    public = SigningKey.generate("p256").public
    der = base64.b64decode(b"".join(public.pem.splitlines()[1:-1]))

    assert public.hints == (
        hashlib.sha256(public.pem).hexdigest(),
        base64.b64encode(hashlib.sha256(der).digest()).decode(),
        hashlib.sha256(der).hexdigest(),
    )


def test_line_ends_of_a_pem_file_do_not_make_another_key() -> None:
    public = SigningKey.generate("p256").public

    assert VerifyKey.from_pem(public.pem.replace(b"\n", b"\r\n").strip()).hints == public.hints


def pem_of(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_other_keys_are_refused() -> None:
    for public in (
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        x25519.X25519PrivateKey.generate().public_key(),
    ):
        with pytest.raises(InvalidRequest):
            VerifyKey.from_pem(pem_of(public))
    for raw in (b"", b"x" * 20_000, SigningKey.generate().to_pem()):
        with pytest.raises(InvalidRequest):
            VerifyKey.from_pem(raw)


def test_a_private_key_does_not_print() -> None:
    key = SigningKey.generate("ed25519")

    assert repr(key) == f"SigningKey(ed25519, {key.public.fingerprint[:16]})"
