from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, SignatureRefused
from fairlead.vault.dsse import MAX_SIGNATURES, countersign, decode, encode, pae, sign, verify
from fairlead.vault.signing_keys import SigningKey, VerifyKey

ALICE, BOB, EVE = SigningKey.generate("ed25519"), SigningKey.generate("p256"), SigningKey.generate("p384")
TYPE = "application/example+json"
ENVELOPE = sign(TYPE, b'{"a":1}', [ALICE, BOB])


def test_the_bytes_that_are_signed_are_those_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_published_example_verifies() -> None:
    """The example of the DSSE specification, made by its reference implementation."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    numbers = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    )
    raw = base64.b64decode(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))

    key = VerifyKey(numbers.public_key())
    assert key.accepts(pae("http://example.com/HelloWorld", b"hello world"), signature)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_no_two_envelopes_sign_the_same_bytes(kind: str, payload: bytes, tail: bytes) -> None:
    assert (pae(kind, payload) == pae(kind, payload + tail)) is (tail == b"")
    assert pae(kind + " ", payload) != pae(kind, b" " + payload)


@given(st.binary(max_size=100))
def test_an_envelope_is_the_same_after_a_file(payload: bytes) -> None:
    envelope = sign(TYPE, payload, [ALICE, BOB])

    assert decode(encode(envelope)) == envelope
    verified = verify(envelope, [ALICE.public, EVE.public, BOB.public], payload_type=TYPE, threshold=2)
    assert verified.payload == payload
    assert verified.signers == (ALICE.public, BOB.public)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(raw)


@given(st.data())
def test_an_envelope_with_one_byte_changed_is_refused_or_verifies_the_same(data: st.DataObject) -> None:
    raw = bytearray(encode(ENVELOPE))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        verified = verify(decode(bytes(raw)), [ALICE.public, BOB.public], payload_type=TYPE, threshold=2)
    except (InvalidRequest, SignatureRefused):
        return
    assert verified.payload == ENVELOPE.payload  # a keyid was changed, which proves nothing


@pytest.mark.parametrize(
    ("keys", "threshold", "good"),
    [
        ([ALICE.public], 1, True),
        ([BOB.public], 1, True),
        ([ALICE.public, BOB.public], 2, True),
        ([ALICE.public], 2, False),
        ([ALICE.public, ALICE.public], 2, False),
        ([EVE.public], 1, False),
        ([], 1, False),
        ([ALICE.public, BOB.public, EVE.public], 3, False),
    ],
)
def test_a_threshold_counts_different_trusted_keys(keys: list[VerifyKey], threshold: int, good: bool) -> None:
    if good:
        assert len(verify(ENVELOPE, keys, payload_type=TYPE, threshold=threshold).signers) >= threshold
    else:
        with pytest.raises(SignatureRefused):
            verify(ENVELOPE, keys, payload_type=TYPE, threshold=threshold)


def test_one_key_that_signs_twice_counts_once() -> None:
    twice = countersign(sign(TYPE, b"x", [BOB]), BOB)

    assert len(twice.signatures) == 2
    with pytest.raises(SignatureRefused):
        verify(twice, [BOB.public, ALICE.public], payload_type=TYPE, threshold=2)


def test_a_keyid_that_lies_is_not_believed() -> None:
    forged = sign(TYPE, b"x", [EVE])
    signature = msgspec.structs.replace(forged.signatures[0], keyid=ALICE.public.fingerprint)

    with pytest.raises(SignatureRefused):
        verify(msgspec.structs.replace(forged, signatures=(signature,)), [ALICE.public], payload_type=TYPE)


def test_a_payload_of_another_type_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        verify(ENVELOPE, [ALICE.public], payload_type="application/other")
    retyped = msgspec.structs.replace(ENVELOPE, payload_type="application/other")
    with pytest.raises(SignatureRefused):
        verify(retyped, [ALICE.public], payload_type="application/other")


def test_a_threshold_of_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="threshold"):
        verify(ENVELOPE, [ALICE.public], payload_type=TYPE, threshold=0)


def test_a_countersignature_is_added_to_those_before() -> None:
    envelope = countersign(sign(TYPE, b"x", [ALICE]), BOB)

    verified = verify(envelope, [ALICE.public, BOB.public], payload_type=TYPE, threshold=2)
    assert verified.signers == (ALICE.public, BOB.public)


@pytest.mark.parametrize("signers", [[], [ALICE, ALICE]])
def test_signing_with_nobody_or_twice_is_refused(signers: list[SigningKey]) -> None:
    with pytest.raises(InvalidRequest):
        sign(TYPE, b"x", signers)


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"signatures": [{"sig": "QQ=="}] * (MAX_SIGNATURES + 1)},
        {"signatures": [{"sig": ""}]},
        {"signatures": [{"sig": "QQ==\n"}]},
        {"signatures": [{"keyid": ""}]},
        {"signatures": [{"sig": "QQ==", "cert": "x"}]},
        {"payload": "QR=="},
        {"payload": "_w=="},
        {"payload": None},
        {"payloadType": ""},
        {"more": 1},
    ],
)
def test_other_shapes_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        decode(json.dumps({**ENVELOPE.to_builtins(), **change}).encode())
