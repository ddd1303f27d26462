"""Whether to believe a model signing bundle: keys and roots that are trusted, and how many must agree.

Offline. A transparency log and time stamps in a bundle are not looked at: a
certificate counts only if it is valid at the time that the caller names. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509

from fairlead.errors import SignatureRefused
from fairlead.vault import certificates, dsse
from fairlead.vault.oms import PAYLOAD_TYPE, Bundle, Statement, decode_bundle, decode_statement
from fairlead.vault.signing_keys import VerifyKey


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Who may sign."""

    keys: tuple[VerifyKey, ...] = ()
    roots: tuple[x509.Certificate, ...] = ()
    """Any certificate below one of these may sign, if `identities` has it."""
    identities: frozenset[str] = frozenset()
    """Mail addresses, URIs or DNS names of certificates; empty for all below the roots."""


class VerifiedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A statement and the keys that signed it. It says nothing yet about any folder."""

    statement: Statement
    signers: tuple[VerifyKey, ...]


def verify_bundle(raw: bytes, trust: Trust, at: datetime) -> VerifiedModel:
    """Verify one bundle.

    Args:
        raw: its bytes.
        trust: who may sign.
        at: when certificates must be valid; aware.

    Raises:
        InvalidRequest: it is not a bundle, or what was signed is not a statement of model signing.
        SignatureRefused: nobody who is trusted signed it.
    """
    bundle = decode_bundle(raw)
    key = _signer(bundle, trust, at)
    keys = trust.keys if key is None else (key,)
    verified = dsse.verify(bundle.envelope, keys, payload_type=PAYLOAD_TYPE)
    return VerifiedModel(statement=decode_statement(verified.payload), signers=verified.signers)


def verify_bundles(raws: Sequence[bytes], trust: Trust, at: datetime, *, threshold: int = 1) -> VerifiedModel:
    """Verify the bundles of several signers, which must all be good and say the same.

    Args:
        raws: one bundle a signer.
        trust: who may sign.
        at: when certificates must be valid; aware.
        threshold: how many different keys must have signed.

    Raises:
        InvalidRequest: one is not a bundle of model signing.
        SignatureRefused: one is not by a trusted signer, they differ, or there are too few keys.
    """
    if threshold < 1:
        raise ValueError("a threshold below 1 would verify nothing")
    verified = [verify_bundle(raw, trust, at) for raw in raws]
    signers = tuple(dict.fromkeys(key for one in verified for key in one.signers))
    if len(signers) < threshold:
        raise SignatureRefused(f"{len(signers)} of the trusted keys signed this, and {threshold} must have")
    first = verified[0].statement
    for one in verified[1:]:
        if dict(one.statement.files) != dict(first.files) or not _same_hashing(one.statement, first):
            raise SignatureRefused("the signers did not sign the same files")
    return VerifiedModel(statement=first, signers=signers)


def _signer(bundle: Bundle, trust: Trust, at: datetime) -> VerifyKey | None:
    """The one key that may have signed; None for any of the trusted ones."""
    if not bundle.certificates:
        if bundle.hint and not any(bundle.hint in key.hints for key in trust.keys):
            raise SignatureRefused(f"signed with a key that is not trusted: {ascii(bundle.hint)[:80]}")
        return None
    chain = certificates.read_chain(bundle.certificates)
    if not trust.roots:
        raise SignatureRefused("signed with a certificate, and no root is trusted")
    key = certificates.signer_key(chain, trust.roots, at)
    if trust.identities and not trust.identities & certificates.identities(chain[0]):
        raise SignatureRefused("the signer's certificate is for nobody who may sign")
    return key


def _same_hashing(one: Statement, other: Statement) -> bool:
    mine, theirs = one.serialization, other.serialization
    return (mine.hash_type, mine.method, mine.shard_size) == (
        theirs.hash_type,
        theirs.method,
        theirs.shard_size,
    )
