"""The published vectors of model signing, and certificates to test with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.vault.signing_keys import SigningKey

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "data" / "oms"
AT = datetime(2026, 1, 1, tzinfo=UTC)


def vector(name: str) -> bytes:
    """A published bundle; the test is skipped where there are none."""
    if not VECTORS.is_dir():
        pytest.skip(f"the published vectors of model signing are not at {VECTORS}")
    return (VECTORS / name).read_bytes()


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def signer(self) -> SigningKey:
        return SigningKey(self.key)


def issue(
    name: str,
    by: Issued | None = None,
    *,
    ca: bool = True,
    path_length: int | None = None,
    usage: bool | None = None,
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
    mail: str = "",
    critical: x509.ExtensionType | None = None,
    first_day: datetime = datetime(2025, 1, 1, tzinfo=UTC),
    last_day: datetime = datetime(2027, 1, 1, tzinfo=UTC),
) -> Issued:
    """Issue a certificate; `by` itself when left out."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    may_sign = (not ca) if usage is None else usage
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first_day)
        .not_valid_after(last_day)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=may_sign, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if mail:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), critical=False)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    signed = builder.sign(by.key if by else key, hashes.SHA256())
    return Issued(certificate=signed, key=key)


def issue_leaf(by: Issued, mail: str = "ml@example.com") -> Issued:
    """A certificate for signing code."""
    return issue("leaf", by, ca=False, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,), mail=mail)
