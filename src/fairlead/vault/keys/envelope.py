"""The envelope of a version: one data key, wrapped for the key service and for offline recovery.

Kept beside the sealed data. It holds nothing secret and may be rewritten
without touching the data: `rewrap` moves it to a new version of the service's
key, `readdress` to another service or other recovery keys.

The `commitment` is an HMAC of the context under the data key. Only who knows
the key can make it, so a key from anywhere is believed only when it fits: a
service that answers with another key, and one that ignores the context, are
noticed before a byte is decrypted.

Rewrapping is not rotation of the data key: who has copied the data key still
has it. Against that, a version is sealed again under a new one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from fairlead.errors import InvalidRequest, KeyRefused, Tampered
from fairlead.vault.keys.port import Context, KeyService, Wrapped, canonical, checked_key
from fairlead.vault.keys.recovery import SERVICE as RECOVERY
from fairlead.vault.keys.recovery import Identity, Recipient

MAX_RECIPIENTS: Final = 16
_DOMAIN: Final = b"fairlead.dev/vault/commitment/v1\0"


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is kept of a data key. JSON by msgspec, bytes as base64."""

    format: Literal["fairlead-envelope/1"] = "fairlead-envelope/1"
    commitment: bytes
    recipients: tuple[Wrapped, ...]

    def __post_init__(self) -> None:
        """Bound what comes from storage."""
        if len(self.commitment) != 32 or not 0 < len(self.recipients) <= MAX_RECIPIENTS:
            raise ValueError("not an envelope")
        ids = [(each.service, each.key_id) for each in self.recipients]
        if len(set(ids)) != len(ids):
            raise ValueError("a recipient is named twice")

    def encode(self) -> bytes:
        """The envelope as JSON; the same envelope gives the same bytes."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read what `encode` wrote.

        Raises:
            Tampered: it is no envelope.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, ValueError):
            raise Tampered("the version's key envelope is damaged") from None

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the key services that can open it."""
        return tuple(each.service for each in self.recipients if each.service != RECOVERY)

    @property
    def recovery_keys(self) -> tuple[str, ...]:
        """Ids of the recovery keys that can open it."""
        return tuple(each.key_id for each in self.recipients if each.service == RECOVERY)


async def create(
    service: KeyService, recovery: Sequence[Recipient], context: Context
) -> tuple[bytes, Envelope]:
    """Make a data key for a version, wrapped for the service and each recovery key.

    Raises:
        KeyServiceUnavailable: the service cannot be asked.
        KeyRefused: the service will not.
    """
    key, wrapped = await service.generate(context)
    return key, _sealed(key, [wrapped], recovery, context)


async def open_with(envelope: Envelope, service: KeyService, context: Context) -> bytes:
    """The data key, from the service.

    Raises:
        KeyServiceUnavailable: the service cannot be asked.
        KeyRefused: the service will not, or is none of the recipients.
        Tampered: the key is not the one that the envelope was made with, or for this context.
    """
    key = await service.unwrap(_of(envelope, service), context)
    return _believed(envelope, key, context, service.name)


def recover(envelope: Envelope, identity: Identity, context: Context) -> bytes:
    """The data key, from a recovery key. Verify the version's signature as well.

    Raises:
        KeyRefused: the recovery key is none of the recipients, or the context is another.
        Tampered: the key is not the one that the envelope was made with, or for this context.
    """
    found = [
        each for each in envelope.recipients if (each.service, each.key_id) == (RECOVERY, identity.key_id)
    ]
    if not found:
        raise KeyRefused("this recovery key cannot open this version", hint="its envelope names others")
    return _believed(envelope, identity.unwrap(found[0], context), context, RECOVERY)


async def rewrap(envelope: Envelope, service: KeyService, context: Context) -> Envelope:
    """The same data key under the newest version of the service's key; other recipients stay.

    The result opens: this is tried before it is returned, since it replaces the only copy.
    """
    old = _of(envelope, service)
    new = await service.rewrap(old, context)
    key = await service.unwrap(new, context)
    _believed(envelope, key, context, service.name)
    recipients = tuple(new if each is old else each for each in envelope.recipients)
    return msgspec.structs.replace(envelope, recipients=recipients)


async def readdress(
    key: bytes, service: KeyService, recovery: Sequence[Recipient], context: Context
) -> Envelope:
    """A new envelope of a data key that was opened or recovered, for this service and these recovery keys."""
    return _sealed(key, [await service.wrap(key, context)], recovery, context)


def commitment(key: bytes, context: Context) -> bytes:
    """What binds a data key and its context to each other."""
    return hmac.new(checked_key(key), _DOMAIN + canonical(context), hashlib.sha256).digest()


def _sealed(
    key: bytes, wrapped: Sequence[Wrapped], recovery: Sequence[Recipient], context: Context
) -> Envelope:
    recipients = (*wrapped, *(each.wrap(key, context) for each in recovery))
    if len(recipients) > MAX_RECIPIENTS or len({each.key_id for each in recovery}) != len(recovery):
        raise InvalidRequest(f"an envelope has at most {MAX_RECIPIENTS} recipients, each of them once")
    return Envelope(commitment=commitment(key, context), recipients=recipients)


def _of(envelope: Envelope, service: KeyService) -> Wrapped:
    found = next((each for each in envelope.recipients if each.service == service.name), None)
    if found is None:
        raise KeyRefused(
            f"{service.name}: this version was not wrapped by this key service",
            hint=f"it can be opened by {', '.join(envelope.services) or 'recovery only'}",
        )
    return found


def _believed(envelope: Envelope, key: bytes, context: Context, service: str) -> bytes:
    if not hmac.compare_digest(commitment(key, context), envelope.commitment):
        raise Tampered(f"{service}: the key service answered with another key than this version's")
    return key
