"""Signed tokens of OpenID Connect issuers (RFC 7515, 7517, 7519), read strictly. Pure.

RS256 and ES256 only, and only those that the issuer's options list: the
header chooses among them, never a key, a URL or another algorithm. A key fits
by its `kid`, its type and what it says it is for. `crit` is refused, as is
every JSON object that names a member twice. Nothing of a claim is believed
before the signature holds.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from typing import Annotated, Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Meta

from fairlead.errors import Unauthenticated

MAX_TOKEN_CHARS: Final = 16_384
MAX_KEYS_BYTES: Final = 262_144
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_Seconds = Annotated[float, Meta(ge=0, lt=1 << 40)]


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: Any = None
    b64: Any = None


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a token; the rest is let be."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: _Seconds
    iat: _Seconds | None = None
    nbf: _Seconds | None = None
    kubernetes: dict[str, Any] = msgspec.field(name="kubernetes.io", default_factory=dict)

    @property
    def audiences(self) -> list[str]:
        """Whom the token is for."""
        return [self.aud] if isinstance(self.aud, str) else self.aud


class Key(msgspec.Struct, frozen=True):
    """A public key of an issuer."""

    kid: str | None
    algorithm: str
    key: PublicKey


def keys_of(document: bytes) -> tuple[Key, ...]:
    """The usable keys of a JSON Web Key Set. Others' kinds and uses are skipped.

    Raises:
        ValueError: it is no key set.
    """
    if len(document) > MAX_KEYS_BYTES:
        raise ValueError("the key set is too large")
    decoded = _object(document)
    listed = decoded.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("it is no key set")
    found = []
    for one in listed:
        key = _key(one) if isinstance(one, dict) else None
        if key is not None:
            found.append(key)
    return tuple(found)


def key_id(token: str) -> str | None:
    """Which key a token says it was signed with; nothing of it is verified.

    Raises:
        Unauthenticated: it is no token.
    """
    return _parts(token)[0].kid


def verify(
    token: str,
    keys: Collection[Key],
    *,
    issuer: str,
    audience: str,
    algorithms: Collection[str],
    now: float,
    skew_s: float,
    max_lifetime_s: float,
) -> Claims:
    """The claims of a token that one of the keys signed, for this audience, valid now.

    Raises:
        Unauthenticated: it is not; the message says why, and holds nothing of the token.
    """
    header, signed, payload, signature = _parts(token)
    if header.alg not in algorithms or header.alg not in _VERIFY:
        raise _refused("its algorithm is not accepted")
    if header.crit is not None or header.b64 is not None:
        raise _refused("it asks for extensions")
    if header.typ is not None and header.typ.lower() not in ("jwt", "at+jwt"):
        raise _refused("it is of another type")
    fitting = [key for key in keys if key.algorithm == header.alg]
    fitting = [key for key in fitting if header.kid is None or key.kid == header.kid]
    if not fitting:
        raise _refused("it is signed with a key that the issuer does not list")
    if header.kid is None and len(fitting) > 1:
        raise _refused("it does not say which key it is signed with")
    if not any(_holds(key, signed, signature) for key in fitting):
        raise _refused("its signature does not hold")
    claims = _claims(payload)
    if claims.iss != issuer:
        raise _refused("it is of another issuer")
    if audience not in claims.audiences:
        raise _refused("it is for another audience")
    begins = max(claims.nbf or 0.0, claims.iat or 0.0)
    if now < begins - skew_s:
        raise _refused("it is not valid yet")
    if now >= claims.exp + skew_s:
        raise _refused("it has expired")
    if claims.iat is None or not 0 < claims.exp - claims.iat <= max_lifetime_s:
        raise _refused("it lives longer than is accepted, or does not say since when")
    return claims


def _parts(token: str) -> tuple[_Header, bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii() or token.count(".") != 2:
        raise _refused("it is no signed token")
    head, payload, signature = token.split(".")
    try:
        decoded = _object(_base64(head))
        header = msgspec.convert(decoded, _Header)
        if "crit" in decoded or "b64" in decoded:
            header = msgspec.structs.replace(header, crit=True)
        return header, f"{head}.{payload}".encode(), _base64(payload), _base64(signature)
    except (ValueError, msgspec.ValidationError):
        raise _refused("it is no signed token") from None


def _claims(payload: bytes) -> Claims:
    try:
        return msgspec.convert(_object(payload), Claims)
    except (ValueError, msgspec.ValidationError):
        raise _refused("its claims are not those of a token") from None


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object without doubled members; ValueError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member is named twice")
        return found

    try:
        decoded = json.loads(raw.decode(), object_pairs_hook=once)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(decoded, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - callers take any fault as one
    return decoded


def _key(one: dict[str, Any]) -> Key | None:
    if one.get("use", "sig") != "sig" or "verify" not in one.get("key_ops", ["verify"]):
        return None
    kid = one.get("kid")
    try:
        key: PublicKey
        if one.get("kty") == "RSA":
            algorithm, key = "RS256", _rsa(one)
        elif one.get("kty") == "EC" and one.get("crv") == "P-256":
            x, y = (_number(one, name, 32) for name in ("x", "y"))
            algorithm, key = "ES256", ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        else:
            return None
    except (ValueError, TypeError):
        return None
    if one.get("alg", algorithm) != algorithm or not isinstance(kid, str | None):
        return None
    return Key(kid, algorithm, key)


def _rsa(one: dict[str, Any]) -> rsa.RSAPublicKey:
    modulus, exponent = _number(one, "n"), _number(one, "e")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent.bit_length() > 64:
        raise ValueError("a key of this size is not used")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _number(one: dict[str, Any], name: str, size: int | None = None) -> int:
    raw = _base64(one[name]) if isinstance(one.get(name), str) else b""
    if not raw or (size is not None and len(raw) != size):
        raise ValueError("no number of a key")
    return int.from_bytes(raw, "big")


def _holds(key: Key, signed: bytes, signature: bytes) -> bool:
    try:
        _VERIFY[key.algorithm](key.key, signed, signature)
    except InvalidSignature:
        return False
    return True


def _rs256(key: PublicKey, signed: bytes, signature: bytes) -> None:
    assert isinstance(key, rsa.RSAPublicKey), "by `_key`"
    key.verify(signature, signed, padding.PKCS1v15(), SHA256())


def _es256(key: PublicKey, signed: bytes, signature: bytes) -> None:
    assert isinstance(key, ec.EllipticCurvePublicKey), "by `_key`"
    if len(signature) != 64:
        raise InvalidSignature
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


_VERIFY: Final = {"RS256": _rs256, "ES256": _es256}


def _base64(text: str) -> bytes:
    """The bytes of base64url in its one spelling; ValueError for any other."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("not base64 in its one spelling")
    return raw


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the workload's token is refused: {why}",
        hint="mount a ServiceAccount token made for the vault's audience, and read it anew at each request",
    )
