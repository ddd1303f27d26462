"""Offline verification: what can be done to a log is found, and called by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from tests.unit.vault.audit.crashing import CrashingFolder
from tests.unit.vault.audit.test_log import SIGNER, event, opened, write

from fairlead.errors import Tampered
from fairlead.vault.audit import checkpoint, records
from fairlead.vault.audit.checkpoint import Checkpoint, Signer
from fairlead.vault.audit.event import NO_HASH, decode, encode
from fairlead.vault.audit.merkle import leaf_hash
from fairlead.vault.audit.records import MAGIC, Record, frame
from fairlead.vault.audit.verify import Inclusion, check, entries, prove, verify

Lines = list[tuple[bytes, bytes]]
VERIFIER = SIGNER.verifier


@pytest.fixture(scope="module")
def lines() -> Lines:
    """The records of a log of six entries, each with its head."""
    folder = CrashingFolder()
    asyncio.run(write(folder, *range(6)))
    return [
        (one.kind[0].upper().encode(), one.body)
        for one in records.scan([folder.seen])
        if isinstance(one, Record)
    ]


def log_of(lines: Lines) -> CrashingFolder:
    return CrashingFolder(MAGIC + b"".join(frame(kind, body) for kind, body in lines))


def head_of(lines: Lines) -> Checkpoint:
    return checkpoint.read([body for kind, body in lines if kind == b"C"][-1], VERIFIER)


def names(folder: CrashingFolder, *pinned: Checkpoint) -> set[str]:
    return {finding.trouble for finding in verify(folder, VERIFIER, pinned).findings}


def place(lines: Lines, seq: int) -> int:
    """Where entry `seq` is among the records."""
    return next(at for at, (kind, body) in enumerate(lines) if kind == b"E" and decode(body).seq == seq)


def deleted(lines: Lines) -> Lines:
    at = place(lines, 3)
    return lines[:at] + lines[at + 1 :]


def deleted_with_its_head(lines: Lines) -> Lines:
    at = place(lines, 3)
    return lines[:at] + lines[at + 2 :]


def inserted(lines: Lines) -> Lines:
    at = place(lines, 3)
    forged = msgspec.structs.replace(decode(lines[at][1]), event=event(77))
    return [*lines[:at], (b"E", encode(forged)), *lines[at:]]


def reordered(lines: Lines) -> Lines:
    first, second = place(lines, 2), place(lines, 3)
    changed = lines.copy()
    changed[first], changed[second] = changed[second], changed[first]
    return changed


def reordered_with_heads(lines: Lines) -> Lines:
    first, second = place(lines, 2), place(lines, 3)
    return [*lines[:first], *lines[second : second + 2], *lines[first:second], *lines[second + 2 :]]


def changed(lines: Lines) -> Lines:
    at = place(lines, 3)
    other = msgspec.structs.replace(decode(lines[at][1]), event=event(77))
    return [*lines[:at], (b"E", encode(other)), *lines[at + 1 :]]


def respelled(lines: Lines) -> Lines:
    at = place(lines, 3)
    return [*lines[:at], (b"E", lines[at][1] + b" "), *lines[at + 1 :]]


def rewritten(lines: Lines) -> Lines:
    """Everything renumbered and linked afresh; only the signatures cannot be made."""
    return relinked(lines, {3})


def relinked(lines: Lines, without: set[int], signer: Signer | None = None) -> Lines:
    made: Lines = []
    before, seq, heads = NO_HASH, 0, []
    for kind, body in lines:
        if kind == b"C":
            heads.append((kind, body))
            made.append((kind, body))
            continue
        entry = decode(body)
        if entry.seq in without:
            continue
        raw = encode(msgspec.structs.replace(entry, seq=seq, prev=before))
        before, seq = leaf_hash(raw).hex(), seq + 1
        made.append((b"E", raw))
    return made


def unsigned(lines: Lines) -> Lines:
    """Heads of the same name, signed by somebody else."""
    thief = Signer(VERIFIER.name, b"\x09" * 32)
    return [
        (kind, checkpoint.sign(checkpoint.read(body, VERIFIER), thief).encode() if kind == b"C" else body)
        for kind, body in lines
    ]


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (deleted, "deleted"),
        (deleted_with_its_head, "deleted"),
        (inserted, "inserted"),
        (reordered, "reordered"),
        (reordered_with_heads, "reordered"),
        (changed, "changed"),
        (respelled, "changed"),
        (rewritten, "deleted"),
        (unsigned, "unsigned"),
    ],
)
def test_an_attack_is_called_by_its_name(lines: Lines, attack: Callable[[Lines], Lines], name: str) -> None:
    assert names(log_of(lines)) == set()
    assert name in names(log_of(attack(lines)))


@pytest.mark.parametrize("attack", [deleted, inserted, reordered, changed, respelled, rewritten, unsigned])
def test_an_attacked_log_does_not_open(lines: Lines, attack: Callable[[Lines], Lines]) -> None:
    with pytest.raises(Tampered):
        asyncio.run(opened(log_of(attack(lines))))


def test_an_older_copy_is_a_rollback(lines: Lines) -> None:
    pinned = head_of(lines)
    older = log_of(lines[:-2])

    assert names(older) == set(), "an older copy is whole in itself"
    assert names(older, pinned) == {"rollback"}
    assert names(CrashingFolder(), pinned) == {"rollback"}
    assert names(log_of(lines), pinned, head_of(lines[:5])) == set()


def test_a_cut_file_is_truncated(lines: Lines) -> None:
    pinned = head_of(lines)
    cut = CrashingFolder(log_of(lines).seen[:-5])

    assert names(cut) == set(), "a crash leaves the same"
    assert verify(cut, VERIFIER).torn_bytes > 0
    assert names(cut, pinned) == {"truncated"}


def test_another_history_under_the_right_key_is_a_fork(lines: Lines) -> None:
    other = CrashingFolder()
    asyncio.run(write(other, 0, 1, 2, 33, 4, 5, 6))

    assert names(other) == set()
    assert names(other, head_of(lines)) == {"fork"}
    assert names(log_of(lines), Checkpoint(origin="another", size=0, root=b"")) == {"fork"}


def test_every_changed_byte_is_found(lines: Lines) -> None:
    raw = log_of(lines).seen
    pinned = head_of(lines)
    for at in range(len(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        assert names(CrashingFolder(bytes(damaged)), pinned), at


def test_every_cut_is_found(lines: Lines) -> None:
    raw = log_of(lines).seen
    pinned = head_of(lines)
    for size in range(len(raw)):
        assert names(CrashingFolder(raw[:size]), pinned) & {"truncated", "rollback"}, size


def test_what_is_no_log_is_damaged() -> None:
    assert names(CrashingFolder(b"something else entirely, and long enough")) == {"damaged"}
    assert names(CrashingFolder()) == set()


def test_an_entry_is_proved_to_who_has_the_public_key_alone(lines: Lines) -> None:
    folder = log_of(lines)
    for seq, entry in enumerate(entries(folder)):
        proof = prove(folder, VERIFIER, seq)
        sent = msgspec.json.decode(msgspec.json.encode(proof), type=Inclusion)
        assert check(sent, VERIFIER) == entry
        other = msgspec.structs.replace(sent, seq=(seq + 1) % 6)
        forged = msgspec.structs.replace(sent, entry=sent.entry.replace("key:", "yek:"))
        for wrong in (other, forged, msgspec.structs.replace(sent, proof=())):
            with pytest.raises(Tampered):
                check(wrong, VERIFIER)
        with pytest.raises(Tampered):
            check(sent, Signer(VERIFIER.name, b"\x09" * 32).verifier)
    for seq in (-1, 6):
        with pytest.raises(IndexError):
            prove(folder, VERIFIER, seq)
    with pytest.raises(Tampered):
        prove(log_of(deleted(lines)), VERIFIER, 0)
