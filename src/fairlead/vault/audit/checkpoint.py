"""Signed heads of the log: C2SP tlog-checkpoint in signed notes.

    fairlead.example/audit              origin: which log
    42                                  entries
    jz1fmZlmDVQxXHsp...=                root, base64
                                        an empty line
    - NAME base64(key hash[4] + signature[64])

The signature's line begins with an em dash. It is Ed25519 over everything up
to the empty line. Notes are read strictly: one spelling of numbers and base64,
no control characters, bounded. Signatures of keys that we do not know, such as
witnesses', are kept and count for nothing; a wrong one of a key that we know
refuses the note. Tools that read Go's and Rekor's notes read these.

`advance` is the client's rule: a head that was seen once is never unseen. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fairlead.errors import InvalidRequest, Tampered
from fairlead.vault.audit.merkle import HASH_BYTES, verify_consistency

MAX_NOTE_BYTES: Final = 65_536
MAX_SIGNATURES: Final = 100
_ED25519: Final = b"\x01"
_NAME: Final = re.compile(r"[^\s+]{1,256}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE: Final = re.compile(r"— ([^\s+]{1,256}) ([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A head: so many entries, under this root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """What is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(line + "\n" for line in lines)


class Verifier:
    """A log's public key under its name, as clients are given it: `NAME+HASH+KEY`."""

    __slots__ = ("_key", "key_hash", "name")

    def __init__(self, name: str, public_key: bytes) -> None:
        """Raises InvalidRequest when the name has spaces or `+`, or the key is not of 32 bytes."""
        if not _NAME.fullmatch(name) or len(public_key) != 32:
            raise InvalidRequest("a log's key is a name without spaces and `+`, and 32 bytes of Ed25519")
        self.name = name
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self.key_hash = hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The verifier of `NAME+HASH+KEY`.

        Raises:
            InvalidRequest: it is none.
        """
        name, _, rest = text.partition("+")
        digest, _, key = rest.partition("+")
        try:
            raw = base64.b64decode(key, validate=True)
        except binascii.Error:
            raw = b""
        if raw[:1] != _ED25519:
            raise InvalidRequest("a log's key is written NAME+HASH+KEY, with a key of type Ed25519")
        verifier = cls(name, raw[1:])
        if verifier.key_hash.hex() != digest:
            raise InvalidRequest("the hash of this log's key is not the key's: it was copied incompletely")
        return verifier

    def __str__(self) -> str:
        key = base64.b64encode(_ED25519 + self._key.public_bytes_raw()).decode()
        return f"{self.name}+{self.key_hash.hex()}+{key}"

    def accepts(self, text: bytes, signature: bytes) -> bool:
        """Whether this key signed the text."""
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            return False
        return True


class Signer:
    """The log's private key."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, private_key: bytes) -> None:
        """`private_key` is the 32 bytes of an Ed25519 seed."""
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Signer({self.verifier})"

    def sign(self, text: str) -> str:
        """The signed note of a text that ends with a newline."""
        signature = self.verifier.key_hash + self._key.sign(text.encode())
        return f"{text}\n— {self.verifier.name} {base64.b64encode(signature).decode()}\n"


def sign(head: Checkpoint, signer: Signer) -> str:
    """The signed note of a head."""
    return signer.sign(head.text())


def open_note(note: bytes, verifier: Verifier) -> str:
    """The text of a note that this key signed.

    Raises:
        Tampered: it is no note, or not signed by the key.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise _not_ours("is too long")
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise _not_ours("is not UTF-8") from error
    body, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or _CONTROL.search(whole):
        raise _not_ours("is not of the form of a signed note")
    text = body + "\n"
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _not_ours("has too many signatures")
    found = False
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        raw = _base64(match[2]) if match else None
        if match is None or raw is None or len(raw) < 5:
            raise _not_ours("has a malformed signature")
        if match[1] != verifier.name or raw[:4] != verifier.key_hash:
            continue
        if found or not verifier.accepts(text.encode(), raw[4:]):
            raise _not_ours("has a signature that is not of its text")
        found = True
    if not found:
        raise _not_ours(f"is not signed by {verifier.name}")
    return text


def read(note: bytes, verifier: Verifier, origin: str | None = None) -> Checkpoint:
    """The head in a note, its signature verified.

    Args:
        note: its bytes.
        verifier: the log's key.
        origin: the log that is meant; the key's name when left out.

    Raises:
        Tampered: the note, its signature, its form or its origin is not right.
    """
    lines = open_note(note, verifier)[:-1].split("\n")
    if len(lines) < 3 or any(not line for line in lines):
        raise _not_ours("is no checkpoint")
    root = _base64(lines[2])
    if not _SIZE.fullmatch(lines[1]) or root is None or len(root) != HASH_BYTES:
        raise _not_ours("is no checkpoint")
    if lines[0] != (origin or verifier.name):
        raise _not_ours("is of another log")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root, extensions=tuple(lines[3:]))


def advance(pinned: Checkpoint | None, head: Checkpoint, proof: Sequence[bytes] = ()) -> Checkpoint:
    """The head to remember from now on, after one was remembered before.

    Args:
        pinned: the head seen last; None the first time.
        head: the head that the log shows now, read with `read`.
        proof: that the one grew into the other.

    Raises:
        Tampered: the log went back, or shows another past.
    """
    if pinned is None:
        return head
    if head.origin != pinned.origin:
        raise _not_ours("is of another log")
    if head.size < pinned.size:
        raise Tampered(
            f"rollback: the audit log shows {head.size} entries and had {pinned.size} before",
            hint="an older copy of the log was put back; nothing is released until it is explained",
        )
    if not verify_consistency(pinned.size, pinned.root, head.size, head.root, proof):
        raise Tampered(
            f"fork: the audit log's {head.size} entries do not begin with the {pinned.size} seen before",
            hint="entries that were there are gone or others; nothing is released until it is explained",
        )
    return head


def _base64(text: str) -> bytes | None:
    """The bytes of base64 in its one spelling; None for any other."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _not_ours(why: str) -> Tampered:
    return Tampered(f"the audit log's checkpoint {why}", hint="it was changed, or is of another log or key")
