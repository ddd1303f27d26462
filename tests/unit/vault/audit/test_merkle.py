"""The tree: Certificate Transparency's published vectors, and RFC 6962's recursive definitions."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.vault.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots of the first 0 to 8 leaves, from the Certificate Transparency project's Merkle tree tests."""

INCLUSION: list[tuple[int, int, list[str]]] = [
    (0, 1, []),
    (0, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (5, 8, [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip

CONSISTENCY: list[tuple[int, int, list[str]]] = [
    (1, 1, []),
    (1, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (6, 8, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 5, [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip


def tree_of(entries: list[bytes]) -> Tree:
    tree = Tree()
    for entry in entries:
        tree.add(leaf_hash(entry))
    return tree


def recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + recursive_root(leaves[:k]) + recursive_root(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    tree, frontier = tree_of(LEAVES), Frontier()
    for leaf in LEAVES[:size]:
        frontier.add(leaf_hash(leaf))

    assert tree.root(size).hex() == ROOTS[size]
    assert frontier.root().hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    assert [step.hex() for step in tree_of(LEAVES).inclusion(index, size)] == proof


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    assert [step.hex() for step in tree_of(LEAVES).consistency(old, new)] == proof


def test_every_proof_of_every_small_tree_verifies_there_and_nowhere_else() -> None:
    entries = [bytes([number]) for number in range(20)]
    tree = tree_of(entries)
    for size in range(21):
        root = tree.root(size)
        assert root == recursive_root(entries[:size])
        for index in range(size):
            proof, leaf = tree.inclusion(index, size), leaf_hash(entries[index])
            assert verify_inclusion(leaf, index, size, root, proof)
            assert not verify_inclusion(leaf, index + 1, size, root, proof)
            assert not verify_inclusion(leaf_hash(b"other"), index, size, root, proof)
            assert not verify_inclusion(leaf, index, size, root, [*proof, root])
            assert not verify_inclusion(leaf, index, size, root, proof[:-1]) or not proof
        for old in range(size + 1):
            proof = tree.consistency(old, size)
            assert verify_consistency(old, tree.root(old), size, root, proof)
            assert not verify_consistency(old, hashlib.sha256(b"x").digest(), size, root, proof)
            assert not verify_consistency(
                old, tree.root(old), size, hashlib.sha256(b"x").digest(), proof
            ) or (
                old == 0  # anything grew from nothing
            )
            assert not verify_consistency(old, tree.root(old), size, root, [*proof, root])


@given(st.lists(st.binary(max_size=8), max_size=40), st.data())
def test_a_cut_tree_is_the_one_before(entries: list[bytes], data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(entries)))
    tree = tree_of(entries)
    tree.cut(size)

    assert tree.size == size
    assert tree.root() == tree_of(entries[:size]).root()
    for entry in entries[size:]:
        tree.add(leaf_hash(entry))
    assert tree.root() == recursive_root(entries)


@given(st.integers(1, 30), st.integers(0, 29), st.integers(0, 255), st.integers(0, 31), st.data())
def test_a_changed_proof_proves_nothing(
    size: int, index: int, mask: int, at: int, data: st.DataObject
) -> None:
    tree = tree_of([bytes([number]) for number in range(size)])
    index %= size
    proof = tree.inclusion(index)
    if not proof or not mask:
        return
    which = data.draw(st.integers(0, len(proof) - 1))
    changed = bytearray(proof[which])
    changed[at] ^= mask
    proof[which] = bytes(changed)

    assert not verify_inclusion(tree.leaf(index), index, size, tree.root(), proof)


def test_what_does_not_exist_has_no_proof() -> None:
    tree = tree_of(LEAVES)
    for ask in (
        lambda: tree.inclusion(8),
        lambda: tree.inclusion(-1),
        lambda: tree.inclusion(3, 3),
        lambda: tree.consistency(9),
        lambda: tree.consistency(5, 3),
        lambda: tree.root(9),
        lambda: tree.leaf(8),
    ):
        with pytest.raises(ValueError):
            ask()
    assert Tree().root() == EMPTY_ROOT
    assert not verify_inclusion(b"\0" * 32, 0, 0, EMPTY_ROOT, [])
    assert not verify_inclusion(leaf_hash(b""), 0, 2, tree.root(2), [b"short"])
    assert not verify_consistency(3, tree.root(3), 8, tree.root(), [])
