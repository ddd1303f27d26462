from __future__ import annotations

import pytest
from tests.unit.vault.manifest_cases import REF, example

from fairlead.errors import InvalidRequest, SignatureRefused, Tampered
from fairlead.vault import dsse, manifest
from fairlead.vault.context import Context, Purpose
from fairlead.vault.ref import Ref
from fairlead.vault.sealed_manifest import PAYLOAD_TYPE, open_sealed, seal, sign
from fairlead.vault.sealing import seal_bytes
from fairlead.vault.signing_keys import SigningKey

KEY = bytes(range(32))
ALICE, BOB, EVE = SigningKey.generate("ed25519"), SigningKey.generate("p256"), SigningKey.generate("p256")
TRUSTED = (ALICE.public, BOB.public)
ENVELOPE = sign(example(), [ALICE, BOB])
SEALED = seal(ENVELOPE, REF, KEY)


def test_a_manifest_opens_with_its_key_and_trusted_signers() -> None:
    opened = open_sealed(SEALED, REF, KEY, TRUSTED, threshold=2)

    assert opened.manifest == example()
    assert opened.signers == (ALICE.public.fingerprint, BOB.public.fingerprint)
    assert opened.envelope == ENVELOPE


def test_names_sizes_and_signers_do_not_show() -> None:
    for secret in (b"config.json", b"safetensors", b"payload", ALICE.public.fingerprint.encode()):
        assert secret not in SEALED


def test_every_flipped_byte_and_every_cut_is_refused() -> None:
    for at in range(len(SEALED)):
        flipped = bytearray(SEALED)
        flipped[at] ^= 1 << (at % 8)
        with pytest.raises(Tampered):
            open_sealed(flipped, REF, KEY, TRUSTED)
    for length in (*range(0, len(SEALED), 7), len(SEALED) - 1):
        with pytest.raises(Tampered):
            open_sealed(SEALED[:length], REF, KEY, TRUSTED)
    with pytest.raises(Tampered):
        open_sealed(SEALED + b"\0", REF, KEY, TRUSTED)


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"name": "fraud"}, {"version": "8"}])
def test_another_place_is_refused(change: dict[str, str]) -> None:
    other = Ref(**{"tenant": REF.tenant, "name": REF.name, "version": REF.version, **change})

    with pytest.raises(Tampered):
        open_sealed(SEALED, other, KEY, TRUSTED)
    # Somebody who has the other version's key seals this one's manifest there.
    with pytest.raises(Tampered, match="signed for"):
        open_sealed(seal(ENVELOPE, other, KEY), other, KEY, TRUSTED)


def test_another_key_is_refused() -> None:
    with pytest.raises(Tampered):
        open_sealed(SEALED, REF, bytes(32), TRUSTED)


def test_too_few_or_other_signers_are_refused() -> None:
    by_eve = seal(sign(example(), [EVE]), REF, KEY)
    with pytest.raises(SignatureRefused):
        open_sealed(by_eve, REF, KEY, TRUSTED)
    with pytest.raises(SignatureRefused):
        open_sealed(seal(sign(example(), [ALICE, EVE]), REF, KEY), REF, KEY, TRUSTED, threshold=2)
    with pytest.raises(SignatureRefused):
        open_sealed(SEALED, REF, KEY, ())


def test_what_is_sealed_for_another_purpose_is_refused() -> None:
    plain = dsse.encode(ENVELOPE)

    with pytest.raises(Tampered):
        open_sealed(seal_bytes(KEY, Context.of(REF, "manifest"), plain), REF, KEY, TRUSTED)
    with pytest.raises(Tampered):
        open_sealed(seal_bytes(KEY, Context.of(REF, purpose=Purpose.KEY), plain), REF, KEY, TRUSTED)


def test_signed_bytes_that_are_no_manifest_are_refused() -> None:
    context = Context.of(REF, purpose=Purpose.MANIFEST)
    padded = dsse.sign(PAYLOAD_TYPE, manifest.encode(example()) + b" ", [ALICE])
    other_type = dsse.sign("application/json", manifest.encode(example()), [ALICE])

    with pytest.raises(Tampered, match="spelling"):
        open_sealed(seal(padded, REF, KEY), REF, KEY, TRUSTED)
    with pytest.raises(SignatureRefused):
        open_sealed(seal(other_type, REF, KEY), REF, KEY, TRUSTED)
    with pytest.raises(Tampered):
        open_sealed(seal_bytes(KEY, context, b"{}"), REF, KEY, TRUSTED)


def test_signing_needs_a_signer() -> None:
    with pytest.raises(InvalidRequest):
        sign(example(), [])
