"""Verifies a log offline, names what is wrong with it, and makes and checks proofs for others.

Nothing here trusts the writer: every entry's spelling, number and link, every
head's signature and root are looked at, and the heads that somebody pinned
elsewhere. Only those find a rollback, since an old copy of a log is in itself
whole. It reads once, from beginning to end, and holds one record at a time.

Findings have a name: `damaged`, `changed`, `deleted`, `inserted`, `reordered`,
`unsigned`, `truncated`, `rollback`, `fork`. A tail that a crash may have left
is not among them; `Report.torn_bytes` has its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from fairlead.errors import Tampered
from fairlead.vault.audit import checkpoint, records
from fairlead.vault.audit.checkpoint import Checkpoint, Verifier
from fairlead.vault.audit.event import NO_HASH, Entry, decode
from fairlead.vault.audit.files import Folder, chunks
from fairlead.vault.audit.merkle import EMPTY_ROOT, Frontier, Tree, leaf_hash, verify_inclusion
from fairlead.vault.audit.opening import MAX_TORN_BYTES, signed_behind
from fairlead.vault.audit.records import Broken

Trouble = Literal[
    "damaged", "changed", "deleted", "inserted", "reordered", "unsigned", "truncated", "rollback", "fork"
]  # fmt: skip
MAX_FINDINGS: Final = 100


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a log."""

    trouble: Trouble
    at: int
    """The entry's number, as far as the log still tells."""
    why: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification has found."""

    size: int
    """Entries under signed heads."""
    root: str
    """Their root, in hexadecimal."""
    heads: int
    """Signed heads that were verified."""
    torn_bytes: int
    """What stands behind the last head, as after a crash or, for moments, while the log is written."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


class Inclusion(msgspec.Struct, frozen=True, kw_only=True):
    """An entry with the proof that it is in the log; verifiable with the log's public key alone."""

    seq: int
    entry: str
    """Its canonical JSON."""
    proof: tuple[bytes, ...]
    note: str
    """The signed head that it is under."""


def verify(folder: Folder, verifier: Verifier, pinned: Iterable[Checkpoint] = ()) -> Report:
    """Read a whole log and say everything that is wrong with it.

    Args:
        folder: where it lies.
        verifier: the log's public key.
        pinned: heads that it had at some time, from elsewhere.

    Raises:
        OSError: it cannot be read.
    """
    reading = _Reading(verifier, pinned)
    signed_end = end = 0
    broken: Broken | None = None
    for record in records.scan(chunks(folder)):
        if isinstance(record, Broken):
            broken = record
            break
        end = record.end
        if record.kind == "entry":
            reading.entry(record.body)
        elif reading.head(record.body):
            signed_end = end
    torn = folder.read(signed_end, MAX_TORN_BYTES + 1)
    if broken is not None and not _is_torn(torn, torn[end - signed_end :], broken, verifier):
        reading.note("damaged", f"at byte {broken.offset}, {broken.why}; what follows cannot be read")
    return reading.report(0 if not signed_end and torn == records.MAGIC else len(torn))


def _is_torn(torn: bytes, behind: bytes, broken: Broken, verifier: Verifier) -> bool:
    """Whether a crash can have left the end of a file as it is."""
    if len(torn) > MAX_TORN_BYTES or (broken.offset == 0 and not records.MAGIC.startswith(torn)):
        return False
    return not signed_behind(behind, verifier)


def entries(folder: Folder) -> Iterator[Entry]:
    """The entries of a log in order, as far as it is whole. Verifies nothing but their form.

    Raises:
        Tampered: an entry is not one that the vault writes.
    """
    for record in records.scan(chunks(folder)):
        if isinstance(record, Broken):
            return
        if record.kind == "entry":
            yield decode(record.body)


def prove(folder: Folder, verifier: Verifier, seq: int) -> Inclusion:
    """The proof that entry `seq` is under the log's last signed head.

    Raises:
        Tampered: the last head is not signed, or is of other entries.
        IndexError: the log has no such entry.
    """
    tree, wanted, note = Tree(), b"", b""
    for record in records.scan(chunks(folder)):
        if isinstance(record, Broken):
            break
        if record.kind == "checkpoint":
            note = record.body
            continue
        if tree.size == seq:
            wanted = record.body
        tree.add(leaf_hash(record.body))
    head = checkpoint.read(note, verifier)
    if not 0 <= seq < head.size:
        raise IndexError(f"the log's last signed head is of {head.size} entries: there is no entry {seq}")
    if head.size > tree.size or tree.root(head.size) != head.root:
        raise Tampered("the audit log's last signed head is of other entries")
    proof = tuple(tree.inclusion(seq, head.size))
    return Inclusion(seq=seq, entry=wanted.decode(), proof=proof, note=note.decode())


def check(inclusion: Inclusion, verifier: Verifier) -> Entry:
    """The entry of a proof that holds.

    Raises:
        Tampered: the head is not signed, or the entry is not under it.
    """
    head = checkpoint.read(inclusion.note.encode(), verifier)
    raw = inclusion.entry.encode()
    entry = decode(raw)
    under = verify_inclusion(leaf_hash(raw), inclusion.seq, head.size, head.root, inclusion.proof)
    if entry.seq != inclusion.seq or not under:
        raise Tampered(f"this is not entry {inclusion.seq} of the audit log {head.origin}")
    return entry


class _Reading:
    """What was read so far, and what is wrong with it."""

    def __init__(self, verifier: Verifier, pinned: Iterable[Checkpoint]) -> None:
        self._verifier = verifier
        self._pinned = sorted(pinned, key=lambda head: head.size)
        self._frontier = Frontier()
        self._findings: list[Finding] = []
        self._expected = 0
        self._before = NO_HASH
        self._missing: set[int] = set()
        self._heads = 0
        self._last: Checkpoint | None = None
        self._mismatched = False
        self._compared = 0
        self._compare()

    def note(self, trouble: Trouble, why: str, at: int | None = None) -> None:
        """Add a finding, until there are enough."""
        if len(self._findings) < MAX_FINDINGS:
            at = self._frontier.size if at is None else at
            self._findings.append(Finding(trouble=trouble, at=at, why=why))

    def entry(self, raw: bytes) -> None:
        """The next entry."""
        leaf = leaf_hash(raw)
        try:
            entry = decode(raw)
        except Tampered as error:
            self.note("changed", error.message)
            self._expected += 1
        else:
            self._place(entry)
        self._before = leaf.hex()
        self._frontier.add(leaf)
        self._compare()

    def _place(self, entry: Entry) -> None:
        """Tell from its number and link whether an entry stands where it was written."""
        seq = entry.seq
        if seq == self._expected:
            if entry.prev != self._before and not self._findings:
                self.note("changed", f"entry {seq} does not follow the one before it", seq)
        elif seq > self._expected:
            self._missing.update(range(self._expected, min(seq, self._expected + MAX_FINDINGS)))
        elif seq in self._missing:
            self._missing.discard(seq)
            self.note("reordered", f"entry {seq} stands behind later ones", seq)
        else:
            self.note("inserted", f"there is a second entry {seq}", seq)
        self._expected = max(self._expected, seq + 1)

    def head(self, note: bytes) -> bool:
        """The next signed head; whether it is one of the entries so far."""
        try:
            head = checkpoint.read(note, self._verifier)
        except Tampered as error:
            self.note("unsigned", error.message)
            return False
        self._heads += 1
        self._last = head
        if head.size == self._frontier.size and head.root == self._frontier.root():
            return True
        if not self._mismatched:
            # Those after it follow from this one.
            self._mismatched = True
            if head.size > self._frontier.size:
                self._missing.update(range(self._expected, min(head.size, self._expected + MAX_FINDINGS)))
            elif not self._findings and not self._missing:
                self.note("changed", f"the entries are not those that the head of {head.size} was signed for")
        return True

    def report(self, torn_bytes: int) -> Report:
        """Everything that is wrong."""
        for seq in sorted(self._missing):
            self.note("deleted", f"entry {seq} is not there", seq)
        size = self._last.size if self._last else 0
        root = self._last.root if self._last else EMPTY_ROOT
        for pinned in self._pinned:
            if pinned.size <= size:
                continue
            # Cut within a batch it ends torn; at a head it is as whole as an old copy.
            trouble: Trouble = "truncated" if torn_bytes else "rollback"
            self.note(trouble, f"the log has {size} entries and had {pinned.size} before", size)
        if self._frontier.size and self._last is None and not torn_bytes:
            self.note("unsigned", "no signed head covers these entries", 0)
        return Report(
            size=size,
            root=root.hex(),
            heads=self._heads,
            torn_bytes=torn_bytes,
            findings=tuple(self._findings),
        )

    def _compare(self) -> None:
        """Hold every pinned head of this size against the entries."""
        while self._compared < len(self._pinned):
            pinned = self._pinned[self._compared]
            if pinned.size != self._frontier.size:
                return
            self._compared += 1
            if pinned.origin != self._verifier.name:
                self.note("fork", f"the pinned head is of another log, {pinned.origin}")
            elif pinned.root != self._frontier.root():
                self.note("fork", f"the first {pinned.size} entries are not those that were seen before")
