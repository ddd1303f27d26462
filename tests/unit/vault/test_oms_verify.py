from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.oms_cases import AT, issue, issue_leaf, vector

from fairlead.errors import InvalidRequest, SignatureRefused
from fairlead.vault import dsse
from fairlead.vault.oms import PAYLOAD_TYPE, decode_bundle, encode_bundle, encode_statement
from fairlead.vault.oms_verify import Trust, verify_bundle, verify_bundles
from fairlead.vault.signing_keys import SigningKey, VerifyKey

ALICE, BOB, EVE = SigningKey.generate("p256"), SigningKey.generate("ed25519"), SigningKey.generate("p256")
TRUST = Trust(keys=(ALICE.public, BOB.public))
STATEMENT = encode_statement("model", {"a": "0" * 64})
OTHER = encode_statement("model", {"b": "0" * 64})
BUNDLE = encode_bundle(STATEMENT, ALICE)
ROOT = issue("root")
MIDDLE = issue("middle", ROOT)
LEAF = issue_leaf(MIDDLE)
CERTIFIED = encode_bundle(STATEMENT, LEAF.signer, [LEAF.der, MIDDLE.der])


def published_issuer() -> x509.Certificate:
    """The intermediate of the published certificate bundle; its root was not published."""
    return x509.load_der_x509_certificate(
        decode_bundle(vector("valid/certificate.bundle.json")).certificates[1]
    )


def test_the_published_certificate_bundle_verifies_by_its_issuer() -> None:
    raw = vector("valid/certificate.bundle.json")

    verified = verify_bundle(raw, Trust(roots=(published_issuer(),)), AT)
    assert set(verified.statement.files) == {"signme-1", "signme-2"}
    for at in (datetime(2025, 5, 2, tzinfo=UTC), datetime(2035, 5, 1, tzinfo=UTC)):
        with pytest.raises(SignatureRefused):
            verify_bundle(raw, Trust(roots=(published_issuer(),)), at)
    with pytest.raises(SignatureRefused):
        verify_bundle(raw, Trust(roots=(ROOT.certificate,)), AT)


def test_the_published_key_bundle_verifies_by_the_key_that_its_hint_names() -> None:
    """The published certificate is for the same key, and the hint is the hash of that key's PEM."""
    raw = vector("valid/key.bundle.json")
    leaf = decode_bundle(vector("valid/certificate.bundle.json")).certificates[0]
    key = VerifyKey(x509.load_der_x509_certificate(leaf).public_key())

    assert key.hints[0] == decode_bundle(raw).hint
    assert verify_bundle(raw, Trust(keys=(key,)), AT).signers == (key,)
    with pytest.raises(SignatureRefused):
        verify_bundle(raw, TRUST, AT)


def test_the_published_sigstore_bundle_needs_a_root_that_nobody_gave() -> None:
    with pytest.raises(SignatureRefused):
        verify_bundle(vector("valid/sigstore.bundle.json"), Trust(roots=(ROOT.certificate,)), AT)


def test_the_published_bundle_with_another_predicate_is_refused() -> None:
    leaf = decode_bundle(vector("valid/certificate.bundle.json")).certificates[0]
    key = VerifyKey(x509.load_der_x509_certificate(leaf).public_key())

    with pytest.raises((InvalidRequest, SignatureRefused)):
        verify_bundle(vector("invalid-payload/wrong-predicate.bundle.json"), Trust(keys=(key,)), AT)


def test_a_trusted_key_verifies() -> None:
    verified = verify_bundle(BUNDLE, TRUST, AT)

    assert verified.signers == (ALICE.public,)
    assert list(verified.statement.files) == ["a"]


@pytest.mark.parametrize("trust", [Trust(), Trust(keys=(EVE.public,)), Trust(roots=(ROOT.certificate,))])
def test_nobody_else_verifies(trust: Trust) -> None:
    with pytest.raises(SignatureRefused):
        verify_bundle(BUNDLE, trust, AT)


@pytest.mark.parametrize("hint", [*ALICE.public.hints, ""])
def test_hints_of_the_pem_and_of_the_der_are_accepted(hint: str) -> None:
    value = json.loads(BUNDLE)
    value["verificationMaterial"]["publicKey"]["hint"] = hint

    assert verify_bundle(json.dumps(value).encode(), TRUST, AT).signers == (ALICE.public,)


def test_a_hint_proves_nothing() -> None:
    forged = json.loads(encode_bundle(STATEMENT, EVE))
    forged["verificationMaterial"]["publicKey"]["hint"] = ALICE.public.hints[0]

    with pytest.raises(SignatureRefused):
        verify_bundle(json.dumps(forged).encode(), TRUST, AT)


def test_a_changed_payload_is_refused() -> None:
    value = json.loads(BUNDLE)
    value["dsseEnvelope"]["payload"] = base64.b64encode(OTHER).decode()

    with pytest.raises(SignatureRefused):
        verify_bundle(json.dumps(value).encode(), TRUST, AT)


@given(st.data())
def test_one_byte_changed_is_refused_or_says_the_same(data: st.DataObject) -> None:
    raw = bytearray(BUNDLE)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        verified = verify_bundle(bytes(raw), TRUST, AT)
    except (InvalidRequest, SignatureRefused):
        return
    assert verified == verify_bundle(BUNDLE, TRUST, AT)


def test_what_is_signed_as_something_else_is_refused() -> None:
    envelope = dsse.sign("application/json", STATEMENT, [ALICE])
    value = {**json.loads(BUNDLE), "dsseEnvelope": envelope.to_builtins()}
    retyped = {
        **value,
        "dsseEnvelope": msgspec.structs.replace(envelope, payload_type=PAYLOAD_TYPE).to_builtins(),
    }

    for one in (value, retyped):
        with pytest.raises(SignatureRefused):
            verify_bundle(json.dumps(one).encode(), TRUST, AT)


def test_something_signed_that_is_no_statement_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        verify_bundle(encode_bundle(b"{}", ALICE), TRUST, AT)


def test_a_certificate_verifies_by_its_root_for_whom_it_is() -> None:
    trust = Trust(roots=(ROOT.certificate,), identities=frozenset({"ml@example.com"}))

    assert verify_bundle(CERTIFIED, trust, AT).signers == (LEAF.signer.public,)
    assert verify_bundle(CERTIFIED, msgspec.structs.replace(trust, identities=frozenset()), AT)
    for refused in (
        msgspec.structs.replace(trust, identities=frozenset({"ml@example.org"})),
        msgspec.structs.replace(trust, roots=(issue("root").certificate,)),
        Trust(keys=(LEAF.signer.public,)),
    ):
        with pytest.raises(SignatureRefused):
            verify_bundle(CERTIFIED, refused, AT)


def test_a_certificate_of_somebody_else_beside_a_signature_is_refused() -> None:
    stolen = encode_bundle(STATEMENT, EVE, [LEAF.der, MIDDLE.der])

    with pytest.raises(SignatureRefused):
        verify_bundle(stolen, Trust(roots=(ROOT.certificate,), keys=(EVE.public,)), AT)


def test_several_signers_must_agree() -> None:
    by_bob = encode_bundle(STATEMENT, BOB)

    verified = verify_bundles([BUNDLE, by_bob], TRUST, AT, threshold=2)
    assert verified.signers == (ALICE.public, BOB.public)
    for raws in (
        [BUNDLE],
        [BUNDLE, BUNDLE],
        [],
        [BUNDLE, encode_bundle(STATEMENT, EVE)],
        [by_bob, encode_bundle(STATEMENT, BOB)],
    ):
        with pytest.raises(SignatureRefused):
            verify_bundles(raws, TRUST, AT, threshold=2)
    with pytest.raises(SignatureRefused, match="same files"):
        verify_bundles([BUNDLE, encode_bundle(OTHER, BOB)], TRUST, AT)
    with pytest.raises(ValueError, match="threshold"):
        verify_bundles([BUNDLE], TRUST, AT, threshold=0)
