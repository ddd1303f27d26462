"""Certificates of signers: a chain to given roots, at a given time. No network, no clock.

    leaf (given) -> intermediates (given, in order, not trusted) -> a root (trusted)

Asked of every certificate: valid at the time, signed by the next with SHA-256
or better, nothing critical that is not understood here. Of every issuer: a CA
that may sign certificates, within its path length. Of the leaf: that it may
sign, and code at that where it says what for. Revocation lists are not asked:
an offline verifier has none, so roots are private, or leaves short-lived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from fairlead.errors import InvalidRequest, SignatureRefused, VaultError
from fairlead.vault.signing_keys import VerifyKey

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError as missing:
    raise VaultError(
        "the vault needs the package `cryptography`", hint="pip install 'fairlead[vault]'"
    ) from missing

MAX_CHAIN: Final = 8
MAX_CERTIFICATE_BYTES: Final = 65_536
MIN_RSA_BITS: Final = 2048
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_UNDERSTOOD: Final = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
    }
)


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file.

    Raises:
        InvalidRequest: it holds none, or something else.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion):
        raise InvalidRequest("this is not a file of certificates in PEM") from None


def read_chain(encoded: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates in DER, the signer's first.

    Raises:
        InvalidRequest: there is none, too many, or one is none.
    """
    if not 0 < len(encoded) <= MAX_CHAIN or any(len(one) > MAX_CERTIFICATE_BYTES for one in encoded):
        raise InvalidRequest(
            f"a chain has 1 to {MAX_CHAIN} certificates of at most {MAX_CERTIFICATE_BYTES} bytes"
        )
    try:
        return tuple(x509.load_der_x509_certificate(one) for one in encoded)
    except (ValueError, x509.InvalidVersion):
        raise InvalidRequest("the chain has something that is not a certificate") from None


def signer_key(
    chain: Sequence[x509.Certificate], roots: Iterable[x509.Certificate], at: datetime
) -> VerifyKey:
    """The key of the chain's first certificate, once the chain leads to a root.

    Args:
        chain: the signer's certificate and perhaps its issuers, upwards. Further ones are refused.
        roots: those that are trusted by themselves, whether they are self-signed or not.
        at: when all must be valid; aware.

    Raises:
        SignatureRefused: it does not, or a certificate may not be used so.
        InvalidRequest: the signer's key is of a kind that the vault does not use.
    """
    trusted = tuple(roots)
    try:
        return _checked(chain, trusted, at)
    except (
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        UnsupportedAlgorithm,
        ValueError,
    ) as error:
        raise SignatureRefused("a certificate of the signer cannot be read") from error


def identities(certificate: x509.Certificate) -> frozenset[str]:
    """Whom a certificate is for: mail addresses, URIs and DNS names, as they are spelled in it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return frozenset()
    found: set[str] = set()
    for kind in (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName):
        found.update(names.get_values_for_type(kind))
    return frozenset(found)


def _checked(
    chain: Sequence[x509.Certificate], roots: tuple[x509.Certificate, ...], at: datetime
) -> VerifyKey:
    if not 0 < len(chain) <= MAX_CHAIN:
        raise SignatureRefused("the signer's chain has no certificate, or too many")
    leaf = chain[0]
    _check_valid(leaf, at)
    _check_may_sign(leaf)
    current = leaf
    for below, issuer in enumerate(chain[1:]):
        if issuer in roots:  # the chain carries its root; anything above would be unchecked baggage
            if below + 2 != len(chain):
                raise SignatureRefused("the chain goes on after its root")
            break
        _check_issued(current, issuer, below, at)
        current = issuer
    below = sum(1 for one in chain if one not in roots) - 1
    if leaf not in roots and not any(_is_issued(current, root, below, at) for root in roots):
        raise SignatureRefused("the signer's certificate does not lead to a trusted root")
    return VerifyKey(leaf.public_key())


def _is_issued(certificate: x509.Certificate, root: x509.Certificate, below: int, at: datetime) -> bool:
    try:
        _check_issued(certificate, root, below, at)
    except SignatureRefused:
        return False
    return True


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate, below: int, at: datetime) -> None:
    """`below` is how many issuers there are between this one and the leaf."""
    _check_valid(issuer, at)
    extensions = issuer.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise SignatureRefused("an issuer in the signer's chain does not say that it is one") from None
    if not constraints.ca or not usage.key_cert_sign:
        raise SignatureRefused("an issuer in the signer's chain may not issue certificates")
    if constraints.path_length is not None and below > constraints.path_length:
        raise SignatureRefused("the signer's chain is longer than one of its issuers allows")
    algorithm = certificate.signature_hash_algorithm
    public = issuer.public_key()
    if not isinstance(public, Ed25519PublicKey) and (algorithm is None or algorithm.name not in _HASHES):
        raise SignatureRefused("a certificate of the signer is signed with a weak hash")
    if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        raise SignatureRefused("an issuer in the signer's chain has a short key")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        raise SignatureRefused("a certificate of the signer was not issued by the next one") from None


def _check_valid(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise SignatureRefused(
            "a certificate of the signer is not valid at this time",
            hint=f"valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}",
        )
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise SignatureRefused(f"a certificate has a critical extension {extension.oid.dotted_string}")


def _check_may_sign(leaf: x509.Certificate) -> None:
    extensions = {extension.oid: extension.value for extension in leaf.extensions}
    usage = extensions.get(x509.KeyUsage.oid)
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    may = usage is not None or purposes is not None
    if isinstance(usage, x509.KeyUsage):
        may = may and usage.digital_signature
    if isinstance(purposes, x509.ExtendedKeyUsage):
        may = may and ExtendedKeyUsageOID.CODE_SIGNING in purposes
    if not may:
        raise SignatureRefused("the signer's certificate is not one for signing code")
