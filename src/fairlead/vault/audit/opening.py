"""What a log holds when it is opened: told from a crash what was cut, and from tampering what was changed.

A batch of entries and the signed head over them are one write, and nobody is
told before it is on the disk. A crash leaves a beginning of it. So what stands
behind the last whole head is torn, and no harm; whole entries in it are not
believed, since anybody can write those. But a signed head behind a broken
place, or of entries that are not there, was made when they were: somebody
changed the file, or its disk is damaged. Reads; writes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import Tampered
from fairlead.vault.audit import checkpoint, records
from fairlead.vault.audit.checkpoint import Checkpoint, Verifier
from fairlead.vault.audit.files import Folder, chunks
from fairlead.vault.audit.merkle import Tree, leaf_hash
from fairlead.vault.audit.records import Broken

MAX_TORN_BYTES: Final = 4 << 20
"""More than any one write."""

_HINT: Final = (
    "this is no trace of a crash; `fairlead vault audit verify` says more. "
    "Restore the log from a copy that verifies"
)


class Found(msgspec.Struct, kw_only=True):
    """What a log's file holds."""

    tree: Tree
    end: int
    """Bytes up to the end of the last signed head; 0 for a log that has not begun."""
    head: Checkpoint | None
    """The last signed head."""
    note: bytes
    torn: bytes
    """What stands behind `end`."""


def examine(folder: Folder, verifier: Verifier, pinned: Checkpoint | None) -> Found:
    """Read a log from beginning to end.

    Raises:
        Tampered: what was signed is not there, or it went back behind `pinned`.
    """
    tree = Tree()
    end = 0
    last: tuple[bytes, int] | None = None
    why = "its last entries are under no signed head"
    for found in records.scan(chunks(folder)):
        if isinstance(found, Broken):
            why = found.why
            if found.offset:
                end = end or len(records.MAGIC)
        elif found.kind == "checkpoint":
            last, end = (found.body, tree.size), found.end
        else:
            tree.add(leaf_hash(found.body))
            end = end or len(records.MAGIC)
    # The last signature covers every byte of every entry before it; heads before it are left to `verify`.
    head = _signed(last, tree, verifier)
    tree.cut(head.size if head else 0)
    torn = _torn(folder, end, why, verifier)
    if end == 0 and torn == records.MAGIC:
        end, torn = len(torn), b""
    if pinned is not None:
        _check_pinned(pinned, tree, verifier.name)
    return Found(tree=tree, end=end, head=head, note=last[0] if last else b"", torn=torn)


def _signed(notes: tuple[bytes, int] | None, tree: Tree, verifier: Verifier) -> Checkpoint | None:
    """The last head, when it is signed and the entries before it are those it was signed for."""
    if notes is None:
        return None
    note, size = notes
    head = checkpoint.read(note, verifier)
    if head.size != size or head.root != tree.root(size):
        raise Tampered(
            f"the audit log's last signed head is of {head.size} entries that are not the {size} before it",
            hint=_HINT,
        )
    return head


def _torn(folder: Folder, end: int, why: str, verifier: Verifier) -> bytes:
    """What stands behind the last whole head, when a crash can have left it there."""
    torn = folder.read(end, MAX_TORN_BYTES + 1)
    if end == 0 and not records.MAGIC.startswith(torn):
        raise Tampered("the file is no audit log", hint=_HINT)
    if len(torn) > MAX_TORN_BYTES or signed_behind(torn, verifier):
        raise Tampered(f"the audit log is damaged behind byte {end}: {why}", hint=_HINT)
    return torn


def signed_behind(torn: bytes, verifier: Verifier) -> bool:
    """Whether a whole head that was signed stands anywhere in these bytes."""
    origin = verifier.name.encode() + b"\n"
    at = torn.find(origin)
    while at >= 0:
        # Found by its body, so that a damaged length before it hides nothing.
        note = torn[at : at + checkpoint.MAX_NOTE_BYTES]
        for length in _note_ends(note):
            try:
                checkpoint.read(note[:length], verifier)
            except Tampered:
                continue
            return True
        at = torn.find(origin, at + 1)
    return False


def _note_ends(note: bytes) -> list[int]:
    """Where a note that begins here can end: behind the line after its empty line."""
    gap = note.find(b"\n\n")
    end = note.find(b"\n", gap + 2) if gap >= 0 else -1
    return [end + 1] if end >= 0 else []


def _check_pinned(pinned: Checkpoint, tree: Tree, origin: str) -> None:
    head = Checkpoint(origin=origin, size=tree.size, root=tree.root())
    proof = tree.consistency(pinned.size) if pinned.size <= tree.size else []
    checkpoint.advance(pinned, head, proof)
