from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.errors import ConfigError, KeyRefused
from fairlead.vault.keys.port import canonical, new_key
from fairlead.vault.keys.recovery import Identity, Recipient

CONTEXT = {"fairlead:tenant": "acme", "fairlead:version": "7"}


def _pair() -> tuple[Recipient, Identity]:
    private = X25519PrivateKey.generate()
    return Recipient(private.public_key()), Identity(private)


def test_a_key_comes_back_under_its_context_only() -> None:
    recipient, identity = _pair()
    key = new_key()
    wrapped = recipient.wrap(key, CONTEXT)

    assert identity.unwrap(wrapped, CONTEXT) == key
    assert recipient.wrap(key, CONTEXT).blob != wrapped.blob
    for wrong in ({**CONTEXT, "fairlead:version": "8"}, {"fairlead:tenant": "acme"}):
        with pytest.raises(KeyRefused):
            identity.unwrap(wrapped, wrong)


def test_every_changed_byte_is_refused() -> None:
    recipient, identity = _pair()
    wrapped = recipient.wrap(new_key(), CONTEXT)
    blob = wrapped.blob
    changed = [blob[:at] + bytes([byte ^ 1]) + blob[at + 1 :] for at, byte in enumerate(blob)]
    for each in [*changed, blob[:-1], blob + b"\0", b"\0" * 32, b"x"]:
        with pytest.raises(KeyRefused):
            identity.unwrap(msgspec.structs.replace(wrapped, blob=each), CONTEXT)


def test_another_recovery_key_does_not_open_it() -> None:
    recipient, _ = _pair()
    _, other = _pair()
    wrapped = recipient.wrap(new_key(), CONTEXT)
    for each in (wrapped, msgspec.structs.replace(wrapped, key_id=other.key_id)):
        with pytest.raises(KeyRefused):
            other.unwrap(each, CONTEXT)


def test_the_construction_is_that_of_rfc_9180() -> None:
    """The same, written out by its sections 4.1, 5.1 and 5.2."""
    private = X25519PrivateKey.generate()
    key = new_key()
    wrapped = Recipient(private.public_key()).wrap(key, CONTEXT)
    encapsulated, sealed = wrapped.blob[:32], wrapped.blob[32:]
    info = b"fairlead.dev/vault/recovery/v1\0" + canonical(CONTEXT)
    shared = private.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    kem = b"KEM" + (0x0020).to_bytes(2, "big")
    suite = b"HPKE" + b"".join(each.to_bytes(2, "big") for each in (0x0020, 0x0001, 0x0002))

    def extract(salt: bytes, suite_id: bytes, label: bytes, given: bytes) -> bytes:
        mac = hmac.HMAC(salt or b"\0" * 32, hashes.SHA256())
        mac.update(b"HPKE-v1" + suite_id + label + given)
        return mac.finalize()

    def expand(secret: bytes, suite_id: bytes, label: bytes, given: bytes, length: int) -> bytes:
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + given + b"\x01")
        return mac.finalize()[:length]

    secret = expand(
        extract(b"", kem, b"eae_prk", shared),
        kem,
        b"shared_secret",
        encapsulated + private.public_key().public_bytes(*raw),
        32,
    )
    schedule = b"\0" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    secret = extract(secret, suite, b"secret", b"")
    aead_key = expand(secret, suite, b"key", schedule, 32)
    nonce = expand(secret, suite, b"base_nonce", schedule, 12)

    assert AESGCM(aead_key).decrypt(nonce, sealed, b"") == key


def test_openssls_files_are_read(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    private, public = tmp_path / "recovery.key", tmp_path / "recovery.pub"
    # The commands of the documentation, with the passphrase from a variable and not from a terminal.
    for arguments in (
        ["genpkey", "-algorithm", "X25519", "-aes256", "-pass", "env:PASS", "-out", str(private)],
        ["pkey", "-in", str(private), "-passin", "env:PASS", "-pubout", "-out", str(public)],
    ):
        subprocess.run(
            [openssl, *arguments], check=True, capture_output=True, env={"PASS": "recovery"}, timeout=30
        )
    recipient = Recipient.from_pem(public.read_bytes())
    identity = Identity.from_pem(private.read_bytes(), "recovery")
    key = new_key()

    assert identity.unwrap(recipient.wrap(key, CONTEXT), CONTEXT) == key
    assert "PRIVATE" not in repr(identity)
    for passphrase in (None, "another"):
        with pytest.raises(KeyRefused):
            Identity.from_pem(private.read_bytes(), passphrase)


def test_other_files_are_refused() -> None:
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for pem in (b"", b"x", public, private):
        with pytest.raises((ConfigError, KeyRefused)):
            Recipient.from_pem(pem)
        with pytest.raises(KeyRefused):
            Identity.from_pem(pem)
