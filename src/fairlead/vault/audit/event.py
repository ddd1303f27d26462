"""What an audit entry says, and its one spelling.

An `Event` is what happened. The log gives it its place: `Entry` adds the
number and the hash of the entry before. Entries are canonical JSON: sorted
keys, no spaces, no floats, UTF-8, empty fields left out; decoding one and
encoding it again gives the same bytes or it is refused.

Never in an event: tokens, keys, grants' signatures, file contents. Text that
came from a caller is bounded here, and JSON keeps it on one line. Pure.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest, Tampered

MAX_ENTRY_BYTES: Final = 65_536
NO_HASH: Final = "0" * 64
"""`prev` of the first entry."""

Kind = Literal[
    "read",  # plaintext or a data key was released, or reading ended (with what was really read)
    "grant",
    "refusal",
    "policy",  # rules were changed
    "request",  # somebody asked for a second person's approval
    "approval",
    "publish",
    "quarantine",
    "revoke",
    "rotate",
    "shred",
    "verify",
    "ingest",
    "failure",  # something that was allowed did not happen
    "recovery",  # the log itself: a torn tail was cut after a crash
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Word = Annotated[str, Meta(max_length=256)]
Line = Annotated[str, Meta(max_length=2048)]
Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
"""What every JSON reader keeps exactly."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that happened, or was refused."""

    kind: Kind
    at_ms: Count
    """Unix milliseconds."""
    outcome: Literal["allowed", "refused", "failed", "done"] = "done"
    principal: Word = ""
    """Who: `key:ID` or `sa:NAMESPACE/NAME`; empty for the vault itself and for callers who proved nothing."""
    operation: Word = ""
    tenant: Word = ""
    ref: Line = ""
    digest: Word = ""
    """The model digest of the version, or the digest of the rules that a policy change brings in."""
    rule: Word = ""
    """The rule that decided."""
    reasons: Annotated[tuple[Line, ...], Meta(max_length=16)] = ()
    policies: Word = ""
    """The digest of the rules that were in force."""
    grant: Word = ""
    approvals: Annotated[tuple[Word, ...], Meta(max_length=16)] = ()
    size_bytes: Count = 0
    """Plaintext that was released or asked for."""
    expires_at_ms: Count = 0
    recipient: Word = ""
    """Fingerprint of the key that an export was sealed to."""
    workload: Line = ""
    """What is known of the caller's workload: its pod, node and service account's uid."""
    source: Word = ""
    """The address that the request came from."""
    request_id: Word = ""
    detail: Annotated[dict[Word, Line], Meta(max_length=16)] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event at its place in the log."""

    seq: Count
    """Its number, from 0."""
    prev: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """The leaf hash of the entry before, in hexadecimal."""
    event: Event


def encode(entry: Entry) -> bytes:
    """The canonical bytes of an entry, checked as a reader will check them.

    Raises:
        InvalidRequest: a field breaks its bound; the caller decides what to leave out.
    """
    try:
        built = msgspec.to_builtins(entry)
        msgspec.convert(built, Entry)
        text = json.dumps(built, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        encoded = text.encode()
    except (msgspec.ValidationError, UnicodeEncodeError, TypeError) as error:
        raise InvalidRequest(f"this cannot be recorded: {error}") from error
    if len(encoded) > MAX_ENTRY_BYTES:
        raise InvalidRequest(f"an audit entry is at most {MAX_ENTRY_BYTES} bytes, not {len(encoded)}")
    return encoded


def decode(raw: bytes) -> Entry:
    """The entry of canonical bytes.

    Raises:
        Tampered: they are not what `encode` writes.
    """
    try:
        entry = msgspec.json.decode(raw, type=Entry)
        if encode(entry) == raw:
            return entry
    except (msgspec.MsgspecError, InvalidRequest, UnicodeDecodeError, RecursionError) as error:
        raise Tampered("an audit entry is not one that was written by the vault") from error
    raise Tampered("an audit entry is spelled otherwise than the vault writes it")


def clipped(text: str, limit: int = 256) -> str:
    """Text of unknown origin, fit for an event: printable ASCII, at most `limit` characters."""
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
