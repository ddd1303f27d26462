"""A version's manifest as it is stored: signed in the inside, sealed on the outside.

    FLOE(version key, Context(purpose=manifest), DSSE envelope of the canonical manifest)

The signature is inside the seal, so that storage shows neither names nor sizes
nor who signed, and a signature cannot be taken off and replaced. Opening asks,
in this order: that the seal is of this version's place and key, that enough
trusted keys signed, that the manifest is canonical and of this version. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fairlead.errors import InvalidRequest, Tampered
from fairlead.vault import dsse, manifest
from fairlead.vault.context import Context, Purpose
from fairlead.vault.floe import Buffer
from fairlead.vault.manifest import Manifest
from fairlead.vault.opening import open_bytes
from fairlead.vault.ref import Ref
from fairlead.vault.sealing import seal_bytes
from fairlead.vault.signing_keys import Signer, VerifyKey

PAYLOAD_TYPE: Final = "application/vnd.fairlead.vault.manifest.v1+json"
MAX_SEALED_BYTES: Final = dsse.MAX_ENVELOPE_BYTES + (1 << 20)


class OpenedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that was authenticated, and by whom."""

    manifest: Manifest
    signers: tuple[str, ...]
    """Fingerprints of the trusted keys that signed it."""
    sha256: str
    """Of the manifest's canonical bytes."""
    envelope: dsse.Envelope
    """To countersign, or to keep beside an export."""


def sign(content: Manifest, signers: Sequence[Signer]) -> dsse.Envelope:
    """Sign a manifest with every signer.

    Raises:
        InvalidRequest: the manifest is not valid, or there is no signer.
    """
    raw = manifest.encode(content)
    manifest.decode(raw)
    return dsse.sign(PAYLOAD_TYPE, raw, signers)


def seal(envelope: dsse.Envelope, ref: Ref, key: bytes) -> bytes:
    """Seal a signed manifest under the version's key, for its place alone."""
    return seal_bytes(key, Context.of(ref, purpose=Purpose.MANIFEST), dsse.encode(envelope))


def open_sealed(
    sealed: Buffer, ref: Ref, key: bytes, trusted: Iterable[VerifyKey], *, threshold: int = 1
) -> OpenedManifest:
    """Open a sealed manifest.

    Args:
        sealed: as it lies in storage.
        ref: the version that is meant.
        key: the version's key.
        trusted: the keys that may sign for it.
        threshold: how many different ones must have.

    Raises:
        Tampered: it is not what was sealed for this version, or what was sealed is no manifest of it.
        SignatureRefused: too few trusted keys signed it.
    """
    context = Context.of(ref, purpose=Purpose.MANIFEST)
    plain = open_bytes(key, context, sealed, max_bytes=MAX_SEALED_BYTES)
    try:
        envelope = dsse.decode(plain)
        verified = dsse.verify(envelope, trusted, payload_type=PAYLOAD_TYPE, threshold=threshold)
        content = manifest.decode(verified.payload)
    except InvalidRequest as error:
        raise Tampered(f"the manifest of {ref}: {error.message}") from None
    if content.ref != ref:
        raise Tampered(f"the manifest of {ref} was signed for {content.ref}")
    return OpenedManifest(
        manifest=content,
        signers=tuple(signer.fingerprint for signer in verified.signers),
        sha256=hashlib.sha256(verified.payload).hexdigest(),
        envelope=envelope,
    )
