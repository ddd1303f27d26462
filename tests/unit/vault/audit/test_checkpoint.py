"""Signed notes: the published example of Go's `note` package, and notes that must not pass."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, Tampered
from fairlead.vault.audit.checkpoint import Checkpoint, Signer, Verifier, advance, open_note, read, sign
from fairlead.vault.audit.merkle import Tree, leaf_hash

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)

SIGNER = Signer("vault.test/audit", b"\x07" * 32)
HEAD = Checkpoint(origin="vault.test/audit", size=42, root=hashlib.sha256(b"root").digest())


def test_the_published_note_is_read_and_made() -> None:
    verifier = Verifier.parse(GO_KEY)

    assert str(verifier) == GO_KEY
    assert open_note(GO_NOTE.encode(), verifier) == GO_TEXT
    assert Signer("PeterNeumann", GO_SEED).sign(GO_TEXT) == GO_NOTE


def test_a_head_survives_its_note() -> None:
    assert read(sign(HEAD, SIGNER).encode(), SIGNER.verifier) == HEAD
    assert "07" * 8 not in repr(SIGNER)


def test_signatures_of_others_are_let_be() -> None:
    note = sign(HEAD, SIGNER)
    witness = Signer("witness.test", b"\x08" * 32).sign(HEAD.text()).rpartition("\n\n")[2]

    assert read((note + witness).encode(), SIGNER.verifier) == HEAD
    with pytest.raises(Tampered, match="not signed by"):
        read(f"{HEAD.text()}\n{witness}".encode(), SIGNER.verifier)


@given(st.integers(0, 8 * 400), st.data())
def test_no_bit_of_a_note_can_be_flipped(bit: int, data: st.DataObject) -> None:
    note = bytearray(sign(HEAD, SIGNER).encode())
    bit %= len(note) * 8
    note[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Tampered):
        read(bytes(note), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "vault.test/audit\n042\n{root}\n",
        "vault.test/audit\n-1\n{root}\n",
        "vault.test/audit\n٤٢\n{root}\n",
        "vault.test/audit\n42\n{short}\n",
        "vault.test/audit\n42\n",
        "vault.test/audit\n42\n{root}=\n",
        "vault.test/other\n42\n{root}\n",
        "vault.test/audit\n42\n{root}\n\nx\n",
        "vault.test/audit\n99999999999999999999\n{root}\n",
        "vault.test/audit\r\n42\n{root}\n",
    ],
)
def test_signed_text_that_is_no_head_of_this_log_is_refused(text: str) -> None:
    root = base64.b64encode(HEAD.root).decode()
    note = SIGNER.sign(text.format(root=root, short=base64.b64encode(b"short").decode()))

    with pytest.raises(Tampered):
        read(note.encode(), SIGNER.verifier)


@pytest.mark.parametrize("note", [b"", b"\n\n", b"\xff\n\n", b"x" * 70_000, GO_NOTE.encode()[:-1]])
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises(Tampered):
        read(note, SIGNER.verifier)


def test_a_note_with_two_signatures_of_one_key_is_refused() -> None:
    note = sign(HEAD, SIGNER)

    with pytest.raises(Tampered):
        read((note + note.rpartition("\n\n")[2]).encode(), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        GO_KEY[:-4],
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PeterNeumann", "Other"),
        GO_KEY.replace("+AR", "+BR"),
    ],
)
def test_a_key_that_was_miscopied_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Verifier.parse(text)


def heads() -> tuple[Tree, list[Checkpoint]]:
    tree = Tree()
    found = []
    for number in range(9):
        found.append(Checkpoint(origin="o", size=number, root=tree.root()))
        tree.add(leaf_hash(bytes([number])))
    return tree, found


def test_a_head_moves_forward_only_along_one_history() -> None:
    tree, seen = heads()
    for old in seen:
        for new in seen:
            if new.size < old.size:
                with pytest.raises(Tampered, match="rollback"):
                    advance(old, new)
            else:
                assert advance(old, new, tree.consistency(old.size, new.size)) == new
    assert advance(None, seen[3]) == seen[3]


def test_another_past_is_a_fork() -> None:
    _, seen = heads()
    other = Tree()
    for number in range(8):
        other.add(leaf_hash(bytes([number + (number == 2)])))
    head = Checkpoint(origin="o", size=8, root=other.root())

    with pytest.raises(Tampered, match="fork"):
        advance(seen[5], head, other.consistency(5))
    with pytest.raises(Tampered, match="fork"):
        advance(seen[8], head)
    assert advance(seen[2], head, other.consistency(2)) == head
    with pytest.raises(Tampered, match="another log"):
        advance(seen[2], Checkpoint(origin="p", size=8, root=other.root()))
