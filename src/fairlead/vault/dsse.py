"""Signed envelopes: DSSE 1.0, with several signers and a threshold.

    {"payload": base64, "payloadType": TYPE, "signatures": [{"keyid", "sig"}]}

What is signed is `pae`: type and payload with their lengths, so that nothing is
canonicalised and nothing read before it was verified. `verify` is the only way
to the payload of an envelope from elsewhere.

- Signatures are counted by key, not by entry: one key that signed twice, or that
  is trusted under two names, counts once. A `keyid` proves nothing and is not asked.
- Envelopes are read strictly: known fields once, base64 in its one spelling.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest, SignatureRefused
from fairlead.vault.signing_keys import Signer, VerifyKey
from fairlead.vault.strict_json import base64_bytes, canonical, parse

MAX_ENVELOPE_BYTES: Final = 96 << 20
MAX_SIGNATURES: Final = 32
MAX_SIGNATURE_BYTES: Final = 1024


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature of an envelope, as JSON has it."""

    sig: Annotated[str, Meta(min_length=1, max_length=2 * MAX_SIGNATURE_BYTES)]
    keyid: Annotated[str, Meta(max_length=256)] = ""


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    payload: str
    payload_type: Annotated[str, Meta(min_length=1, max_length=256)] = msgspec.field(name="payloadType")
    signatures: Annotated[tuple[Signature, ...], Meta(min_length=1, max_length=MAX_SIGNATURES)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that nobody has verified yet, with what claims to be its signatures."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_builtins(self) -> dict[str, object]:
        """The envelope as a part of another JSON text."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": one.keyid, "sig": one.sig} for one in self.signatures],
        }


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A payload and the keys that signed it."""

    payload: bytes
    signers: tuple[VerifyKey, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signers: Sequence[Signer], *, keyids: bool = True) -> Envelope:
    """Sign a payload with every signer.

    Args:
        payload_type: a media type.
        payload: any bytes.
        signers: at least one, each key once.
        keyids: whether to name the keys by their fingerprints.

    Raises:
        InvalidRequest: there is no signer, a key twice, or too many.
    """
    keys = {signer.public for signer in signers}
    if not 0 < len(keys) <= MAX_SIGNATURES or len(keys) != len(signers):
        raise InvalidRequest(f"an envelope is signed by 1 to {MAX_SIGNATURES} keys, each once")
    message = pae(payload_type, payload)
    signatures = tuple(
        Signature(
            sig=base64.b64encode(signer.sign(message)).decode(),
            keyid=signer.public.fingerprint if keyids else "",
        )
        for signer in signers
    )
    return Envelope(payload=payload, payload_type=payload_type, signatures=signatures)


def countersign(envelope: Envelope, signer: Signer) -> Envelope:
    """The envelope with one more signature. The caller has verified what it says.

    Raises:
        InvalidRequest: it has as many as an envelope may have.
    """
    if len(envelope.signatures) >= MAX_SIGNATURES:
        raise InvalidRequest(f"an envelope has at most {MAX_SIGNATURES} signatures")
    more = sign(envelope.payload_type, envelope.payload, [signer])
    return msgspec.structs.replace(envelope, signatures=envelope.signatures + more.signatures)


def encode(envelope: Envelope) -> bytes:
    """The envelope as canonical JSON."""
    return canonical(envelope.to_builtins())


def decode(raw: bytes) -> Envelope:
    """Read an envelope; nothing of it is verified.

    Raises:
        InvalidRequest: it is not one, or could be read in two ways.
    """
    return from_builtins(parse(raw, max_bytes=MAX_ENVELOPE_BYTES, what="the envelope"))


def from_builtins(value: object) -> Envelope:
    """The envelope of a part of another JSON text, read with `strict_json.parse`.

    Raises:
        InvalidRequest: it is not one.
    """
    try:
        wire = msgspec.convert(value, _Wire)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the envelope is not one of DSSE: {error}") from None
    for one in wire.signatures:
        base64_bytes(one.sig, "a signature")
    return Envelope(
        payload=base64_bytes(wire.payload, "the payload"),
        payload_type=wire.payload_type,
        signatures=wire.signatures,
    )


def verify(
    envelope: Envelope, keys: Iterable[VerifyKey], *, payload_type: str, threshold: int = 1
) -> Verified:
    """Check the signatures against trusted keys.

    Args:
        envelope: as it was decoded.
        keys: those that are trusted; no more than a few dozen.
        payload_type: the only one that is expected.
        threshold: how many different trusted keys must have signed.

    Raises:
        SignatureRefused: too few of them did, or the payload is of another type.
        ValueError: the threshold is not at least 1.
    """
    if threshold < 1:
        raise ValueError("a threshold below 1 would verify nothing")
    if envelope.payload_type != payload_type:
        raise SignatureRefused(f"what was signed is of another type than {payload_type}")
    message = pae(envelope.payload_type, envelope.payload)
    signatures = [base64_bytes(one.sig, "a signature") for one in envelope.signatures[:MAX_SIGNATURES]]
    signers = tuple(
        key for key in dict.fromkeys(keys) if any(key.accepts(message, signature) for signature in signatures)
    )
    if len(signers) < threshold:
        raise SignatureRefused(f"{len(signers)} of the trusted keys signed this, and {threshold} must have")
    return Verified(payload=envelope.payload, signers=signers)
