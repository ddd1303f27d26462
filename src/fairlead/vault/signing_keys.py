"""Keys that sign and keys that verify: Ed25519, and ECDSA on P-256, P-384 and P-521.

A key is told by its `fingerprint`, the SHA-256 of its public key in DER. Others
tell keys by hints, and not all by the same: the reference implementation of
model signing hashes the PEM text and writes hexadecimal, cosign hashes the DER
and writes base64. A hint only helps to find a key; what counts is the signature.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final, Literal, Protocol

from fairlead.errors import InvalidRequest, VaultError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as missing:
    raise VaultError(
        "the vault needs the package `cryptography`", hint="pip install 'fairlead[vault]'"
    ) from missing

KeyKind = Literal["ed25519", "p256", "p384", "p521"]
MAX_PEM_BYTES: Final = 16_384
_CURVES: Final[dict[str, tuple[KeyKind, hashes.HashAlgorithm]]] = {
    "secp256r1": ("p256", hashes.SHA256()),
    "secp384r1": ("p384", hashes.SHA384()),
    "secp521r1": ("p521", hashes.SHA512()),
}


class VerifyKey:
    """A public key. Equal keys are equal, whatever file they came from."""

    __slots__ = ("_key", "fingerprint", "hints", "kind", "pem")

    def __init__(self, key: object) -> None:
        """Take a public key of `cryptography`.

        Raises:
            InvalidRequest: it is of a kind that the vault does not use.
        """
        if isinstance(key, Ed25519PublicKey):
            self.kind: KeyKind = "ed25519"
        elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            self.kind = _CURVES[key.curve.name][0]
        else:
            raise InvalidRequest("a signing key is Ed25519, or ECDSA on P-256, P-384 or P-521")
        self._key: Ed25519PublicKey | ec.EllipticCurvePublicKey = key
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        der = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form))
        self.pem = key.public_bytes(serialization.Encoding.PEM, form)
        self.fingerprint = der.hexdigest()
        """SHA-256 of the DER, in hexadecimal."""
        self.hints = (
            hashlib.sha256(self.pem).hexdigest(),
            base64.b64encode(der.digest()).decode(),
            self.fingerprint,
        )
        """What others call this key; the first is what model signing's reference insists on."""

    @classmethod
    def from_pem(cls, pem: bytes) -> VerifyKey:
        """Read a public key, `-----BEGIN PUBLIC KEY-----`.

        Raises:
            InvalidRequest: it is none, or of another kind.
        """
        if len(pem) > MAX_PEM_BYTES:
            raise InvalidRequest(f"a key in PEM is not longer than {MAX_PEM_BYTES} bytes")
        try:
            return cls(serialization.load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidRequest("this is not a public key in PEM") from None

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the message."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                self._key.verify(signature, message, ec.ECDSA(_CURVES[self._key.curve.name][1]))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"VerifyKey({self.kind}, {self.fingerprint[:16]})"


class Signer(Protocol):
    """Something that signs: `SigningKey`, or a key that never leaves its service."""

    public: VerifyKey

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, of the form that `VerifyKey.accepts` takes."""
        ...


class SigningKey:
    """A private key in memory. Does not print."""

    __slots__ = ("_key", "public")

    def __init__(self, key: object) -> None:
        """Take a private key of `cryptography`.

        Raises:
            InvalidRequest: it is of a kind that the vault does not use.
        """
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise InvalidRequest("a signing key is Ed25519, or ECDSA on P-256, P-384 or P-521")
        self._key = key
        self.public = VerifyKey(key.public_key())

    @classmethod
    def generate(cls, kind: KeyKind = "p256") -> SigningKey:
        """A new key. P-256 is what every tool for model signing verifies."""
        if kind == "ed25519":
            return cls(Ed25519PrivateKey.generate())
        curve = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind]
        return cls(ec.generate_private_key(curve))

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> SigningKey:
        """Read a private key.

        Raises:
            InvalidRequest: it is none, of another kind, or the passphrase is not its own.
        """
        if len(pem) > MAX_PEM_BYTES:
            raise InvalidRequest(f"a key in PEM is not longer than {MAX_PEM_BYTES} bytes")
        try:
            return cls(serialization.load_pem_private_key(pem, passphrase))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidRequest("this is not a private key in PEM, or its passphrase is another") from None

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """The key as PKCS#8, encrypted when there is a passphrase."""
        protection: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        )

    def sign(self, message: bytes) -> bytes:
        """Sign a message: 64 bytes for Ed25519, DER for ECDSA."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(_CURVES[self._key.curve.name][1]))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.kind}, {self.public.fingerprint[:16]})"
