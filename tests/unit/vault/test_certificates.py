from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.oms_cases import AT, Issued, issue, issue_leaf

from fairlead.errors import InvalidRequest, SignatureRefused
from fairlead.vault.certificates import MAX_CHAIN, identities, read_chain, read_roots, signer_key
from fairlead.vault.signing_keys import VerifyKey

ROOT, OTHER = issue("root"), issue("root")
MIDDLE = issue("middle", ROOT)
LEAF = issue_leaf(MIDDLE)


def key_of(chain: list[Issued], roots: list[Issued], at: datetime = AT) -> VerifyKey:
    return signer_key([one.certificate for one in chain], [one.certificate for one in roots], at)


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        ([LEAF, MIDDLE], [ROOT]),
        ([LEAF, MIDDLE, ROOT], [ROOT]),
        ([LEAF, MIDDLE], [OTHER, ROOT]),
        ([LEAF], [MIDDLE]),
        ([LEAF, MIDDLE], [MIDDLE]),
        ([LEAF], [LEAF]),
    ],
)
def test_a_chain_to_a_root_gives_the_signers_key(chain: list[Issued], roots: list[Issued]) -> None:
    assert key_of(chain, roots) == VerifyKey(LEAF.certificate.public_key())


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        ([LEAF, MIDDLE], []),
        ([LEAF, MIDDLE], [OTHER]),
        ([LEAF, MIDDLE, ROOT], [OTHER]),
        ([LEAF], [ROOT]),
        ([LEAF, ROOT], [ROOT]),
        ([MIDDLE, ROOT], [ROOT]),
        ([LEAF, MIDDLE, ROOT, OTHER], [ROOT]),
        ([LEAF, OTHER], [MIDDLE]),
        ([], [ROOT]),
        ([LEAF, *[MIDDLE] * MAX_CHAIN], [ROOT]),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(chain: list[Issued], roots: list[Issued]) -> None:
    with pytest.raises(SignatureRefused):
        key_of(chain, roots)


def test_every_certificate_must_be_valid_at_the_time() -> None:
    late = issue("middle", ROOT, first_day=AT)
    leaf = issue_leaf(late)

    assert key_of([leaf, late], [ROOT], AT)
    for at in (AT - timedelta(seconds=1), datetime(2027, 1, 2, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)):
        with pytest.raises(SignatureRefused):
            key_of([leaf, late], [ROOT], at)


def test_a_leaf_cannot_issue() -> None:
    forged = issue_leaf(LEAF)

    with pytest.raises(SignatureRefused):
        key_of([forged, LEAF, MIDDLE], [ROOT])


def test_path_lengths_hold() -> None:
    root = issue("short", path_length=0)
    middle = issue("middle", root)

    assert key_of([(leaf := issue_leaf(root))], [root]) == VerifyKey(leaf.certificate.public_key())
    with pytest.raises(SignatureRefused):
        key_of([issue_leaf(middle), middle], [root])


@pytest.mark.parametrize(
    "leaf",
    [
        issue("leaf", ROOT, ca=False, usage=False, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)),
        issue("leaf", ROOT, ca=False, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        issue("leaf", ROOT, ca=False, critical=x509.OCSPNoCheck()),
        issue(
            "leaf", ROOT, ca=False,
            critical=x509.NameConstraints(permitted_subtrees=[x509.DNSName("x")], excluded_subtrees=None),
        ),
    ],
)  # fmt: skip
def test_a_certificate_for_something_else_is_refused(leaf: Issued) -> None:
    with pytest.raises(SignatureRefused):
        key_of([leaf], [ROOT])


def test_a_weak_hash_is_refused() -> None:
    root, strong, weak = (one.encode() for one in (_ROOT_PEM, _SHA256_PEM, _SHA1_PEM))
    at = datetime(2030, 1, 1, tzinfo=UTC)

    assert signer_key(read_roots(strong), read_roots(root), at)
    with pytest.raises(SignatureRefused):
        signer_key(read_roots(weak), read_roots(root), at)


def test_identities_are_those_of_the_certificate() -> None:
    assert identities(LEAF.certificate) == {"ml@example.com"}
    assert identities(ROOT.certificate) == frozenset()


def test_files_of_certificates_are_read() -> None:
    pem = b"".join(one.certificate.public_bytes(serialization.Encoding.PEM) for one in (ROOT, OTHER))

    assert read_roots(pem) == (ROOT.certificate, OTHER.certificate)
    assert read_chain([LEAF.der, MIDDLE.der]) == (LEAF.certificate, MIDDLE.certificate)
    for broken in (b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InvalidRequest):
            read_roots(broken)
    for chain in ([], [b""], [LEAF.der + b"\0"], [b"\x30" * 70_000], [LEAF.der] * (MAX_CHAIN + 1)):
        with pytest.raises(InvalidRequest):
            read_chain(chain)


# `cryptography` warns of serial numbers that are not positive, which a change can make of a good one.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.data())
def test_a_certificate_with_one_byte_changed_is_refused(data: st.DataObject) -> None:
    raw = bytearray(LEAF.der)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        (read, middle) = read_chain([bytes(raw), MIDDLE.der])
        key = signer_key([read, middle], [ROOT.certificate], AT)
    except (InvalidRequest, SignatureRefused):
        return
    # The last bits of the signature's bit string may be spelled in two ways; nothing that is signed may be.
    assert read.tbs_certificate_bytes == LEAF.certificate.tbs_certificate_bytes
    assert key == VerifyKey(LEAF.certificate.public_key())


# Made with `openssl x509 -req -sha1`, because `cryptography` signs with nothing weak:
# a root, and one leaf twice.
_ROOT_PEM = """\
-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIUdxwPTf/79cF8U1WXhrTgKqYyTq4wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcm9vdDAgFw0yNjExMjQwMjMwMzBaGA8yMTI1MDYxODAyMzAz
MFowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGaW
O8E7NS9TvKVeJyKWjPC42puZFe4PAyUMkxrKKzIXHwrdTDJPDdbdqyTiryxRimrx
On5rVY2mKN5FxCX2YD+jYzBhMB0GA1UdDgQWBBSus/gd7tf02jR8jGsz9qSsRvBN
CzAfBgNVHSMEGDAWgBSus/gd7tf02jR8jGsz9qSsRvBNCzAPBgNVHRMBAf8EBTAD
AQH/MA4GA1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNIADBFAiAs9M2j4tRQt1Nh
eFZXd09xDFGHr7OhxztzjuuujHf9owIhAKTaLzT6OnlgXKf5h+XRLtecapiYdAmT
Q54WiLPJVsAt
-----END CERTIFICATE-----
"""
_SHA1_PEM = """\
-----BEGIN CERTIFICATE-----
MIIBXjCCAQagAwIBAgIBBzAJBgcqhkjOPQQBMA8xDTALBgNVBAMMBHJvb3QwIBcN
MjYxMTI0MDIzMDMwWhgPMjEyNTA2MTgwMjMwMzBaMA8xDTALBgNVBAMMBGxlYWYw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASvCicuMLlUpb28bLy4TMnJwe9NUeAw
kiK1mlKlaDF7gUOIkpgT/1UYZXyxetVyryeKaiQSyDYpEWN6wUwzR0Blo1IwUDAO
BgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFKvvX8luywLCKE/+5afmNs6RZCpOMB8G
A1UdIwQYMBaAFK6z+B3u1/TaNHyMazP2pKxG8E0LMAkGByqGSM49BAEDRwAwRAIg
OcAUQRYECb36io5gl5bey7nRN59/5tIG+MgIOX+NZ/cCIDrbDFAiBIb33IIfWrNN
Uh1wvaWFbrPRoWmlU2ITjQ+k
-----END CERTIFICATE-----
"""
_SHA256_PEM = """\
-----BEGIN CERTIFICATE-----
MIIBYjCCAQegAwIBAgIBBzAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARyb290MCAX
DTI2MTEyNDAyMzAzMFoYDzIxMjUwNjE4MDIzMDMwWjAPMQ0wCwYDVQQDDARsZWFm
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErwonLjC5VKW9vGy8uEzJycHvTVHg
MJIitZpSpWgxe4FDiJKYE/9VGGV8sXrVcq8nimokEsg2KRFjesFMM0dAZaNSMFAw
DgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBSr71/JbssCwihP/uWn5jbOkWQqTjAf
BgNVHSMEGDAWgBSus/gd7tf02jR8jGsz9qSsRvBNCzAKBggqhkjOPQQDAgNJADBG
AiEA338awKVSEfbBrA+lxsS6MCo2BcDu+AgCFx3pqgEj8yICIQC0sBMEHf4gi57v
tCs1GzOzDP3Engby3Do/rE3nOj/8yA==
-----END CERTIFICATE-----
"""
